"""A cell's identity: what it depends on, what it does not, and that it never changes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from models.cell import FIELDS, RANGES, REGISTRIES, Cell, CellError, canonical_json, cell_id, nine_digits, registry
from models.cell.registry import UnknownName

FROZEN = Path(__file__).parents[1] / "fixtures" / "cell_ids_0.1.0.json"


def cell(**given):
    """A smoothed two-layer cell, so that most fields have an effect, with what is given."""
    smooth = {} if given.get("objective") == "vae" else dict(objective="ou", rho=0.9)
    return Cell(**(dict(data="digits", latents="10-5", seed=0) | smooth | given))


RESNET = {"network": "resnet", "latents": "2x4x4-2x2x2"}
LSTM = {
    "network": "lstm", "latents": "3", "hidden": "9", "data": "synthetic_text", "likelihood": "categorical",
    "objective": "vae",
}  # fmt: skip
TEXT = LSTM | {"data": "text", "corpus": "a", "vocabulary": 9}
PIXELCNN = {"network": "pixelcnn", "latents": "3", "objective": "vae"}
# Another value for each field, and what else must be set for the field to have an effect.
OTHER = {
    "data": ("mnist", {}),
    "corpus": ("b", TEXT),
    "corpus_digest": ("0" * 16, TEXT),
    "max_tokens": (9, TEXT),
    "vocabulary": (10, TEXT),
    "label_before_tab": ("yes", TEXT),
    "latents": ("10-6", {}),
    "seed": (1, {}),
    "likelihood": ("gaussian", {}),
    "decoder_variance": (0.5, {"likelihood": "gaussian"}),
    "components": (5, {"data": "cifar10", "likelihood": "logistic_mixture"}),
    "network": ("null_mlp", {}),
    "hidden": ("64-32", {}),
    "activation": ("elu", {}),
    "embedding": (7, LSTM),
    "dropout": (0.1, LSTM),
    "initial_range": (0.1, LSTM),
    "initial_state": ("hidden", LSTM),
    "output_bias": ("none", LSTM),
    "maps": (8, RESNET),
    "blocks": (2, RESNET),
    "skip": ("all", RESNET),
    "normalization": ("weight", RESNET),
    "decoder_layers": (5, PIXELCNN),
    "kernel": ("5", PIXELCNN),
    "latent_maps": (2, PIXELCNN),
    "encoder": ("mlp", PIXELCNN),
    "shared_top_down": ("no", {"network": "ladder", "objective": "vae"}),
    "merge": ("features", RESNET | {"network": "ladder_resnet", "objective": "vae"}),
    "bottom_up_maps": ("3", RESNET | {"network": "biva", "objective": "vae"}),
    "objective": ("vae", {}),
    "rho": (0.90001, {}),
    "smoothing_samples": (6, {}),
    "smoothing": ("ratio", {}),
    "kl_weight": (0.5, {}),
    "smooth_posterior": ("yes", {}),
    "smooth_output": ("yes", {}),
    "kl_delay_steps": (10, {}),
    "free_bits_group": ("unit", {"free_bits": 0.1}),
    "gradient_estimator": ("dreg", {"objective": "ou_iwae"}),
    "kl_weight_start": (0.1, {"kl_warmup_steps": 10}),
    "kl_warmup_steps": (10, {}),
    "free_bits": (0.1, {}),
    "chains": (3, {"objective": "vae"}),
    "prior": ("vamp", {}),
    "pseudo_inputs": (7, {"prior": "vamp"}),
    "posterior": ("planar", {"objective": "vae"}),
    "flow_steps": (3, {"objective": "vae", "posterior": "planar"}),
    "flow_parameters": ("global", {"objective": "vae", "posterior": "planar"}),
    "procedure": ("continue 1 > 0.95, 100 steps each", {}),
    "batch_size": (65, {}),
    "inner_updates": (5, {"procedure": "aggressive"}),
    "inner_rule": ("yes", {"procedure": "aggressive"}),
    "aggressive_steps": (9, {"procedure": "aggressive", "inner_updates": 5}),
    "mi_stop": ("first_fall", {"procedure": "aggressive", "inner_updates": 5}),
    "svi_steps": (5, {"procedure": "semi_amortized"}),
    "svi_rate": (0.1, {"procedure": "semi_amortized"}),
    "svi_momentum": (0.1, {"procedure": "semi_amortized"}),
    "svi_gradient": ("first_order", {"procedure": "semi_amortized"}),
    "halve_after": (2, {}),
    "halve_rule": ("best", {"halve_after": 2}),
    "halve_from": (9, {"halve_after": 2}),
    "halvings": (2, {"halve_after": 2}),
    "validate_every": (9, {"halve_after": 2}),
    "validate_images": (50, {"halve_after": 2}),
    "optimizer": ("sgd", {}),
    "clip_norm": ("group", {"gradient_clip": 1.0}),
    "learning_rate": (2e-3, {}),
    "learning_rate_end": (1e-5, {"learning_rate_decay_steps": 10}),
    "learning_rate_decay_steps": (10, {}),
    "adam_beta1": (0.8, {}),
    "adam_beta2": (0.99, {}),
    "adam_epsilon": (1e-7, {}),
    "gradient_clip": (1.0, {}),
    "precision": ("float64", {}),
}


def test_ids_of_this_release_never_change():
    """Every id that 0.1.0 gave is given still: results filed under it are found again."""
    frozen = json.loads(FROZEN.read_text())
    assert len(frozen) >= 25 and len({entry["id"] for entry in frozen}) == len(frozen)
    for entry in frozen:
        assert cell_id(Cell(**entry["cell"])) == entry["id"], entry["cell"]


def test_the_frozen_cells_vary_every_field():
    """Among them every field that there was takes a value that is not its default and has an effect, and every data set
    occurs."""
    cells = [Cell(**entry["cell"]).canonical() for entry in json.loads(FROZEN.read_text())]
    for name, field in FIELDS.items():
        assert field.since > 2 or len({getattr(c, name) for c in cells}) > 1, name
    assert {c.data for c in cells} >= {"digits", "mnist", "mnist_static", "omniglot"}


@pytest.mark.parametrize("name", OTHER)
def test_each_field_that_decides_training_decides_the_id(name):
    """Another value, another id."""
    value, needed = OTHER[name]
    assert cell_id(cell(**needed)) != cell_id(cell(**needed | {name: value}))


def test_the_list_of_fields_above_is_complete():
    """A new field needs a line there; some roles have one registered name so far."""
    assert set(OTHER) | {role for role, parts in REGISTRIES.items() if len(parts) == 1} == set(FIELDS)


def test_digest_and_semantics_decide_the_id():
    """Other images under the same name, or another meaning of the same fields, are other cells."""
    semantics = {"network": 1, "objective": 1, "procedure": 1}
    ids = {cell().id("a", semantics), cell().id("b", semantics), cell().id("a", semantics | {"network": 2})}
    assert len(ids) == 3


def test_an_id_is_that_of_all_fields_written_at_once():
    """Also of a replicate, and of one with another field between: the text is put together around the seed."""
    semantics = {"network": 1, "objective": 1, "procedure": 1, "prior": 2}
    known = [Cell(**entry["cell"]) for entry in json.loads(FROZEN.read_text())]
    for each in [*known, *(c.canonical().replicate(2**63 - 1) for c in known), cell(hidden="5-6").replicate(0)]:
        values = vars(each.canonical())
        chosen = {n: values[n] for n, f in FIELDS.items() if values[n] is not None and values[n] != f.default}
        whole = canonical_json({"cell": chosen, "data": 'a "digest"', "semantics": semantics})
        assert each.id('a "digest"', semantics) == hashlib.sha256(whole.encode()).hexdigest()[:24]


def test_an_id_is_24_hexadecimal_digits_whatever_the_order_of_fields():
    """And the same for equal cells."""
    one = cell_id(Cell(data="digits", latents="10-5", seed=3, rho=0.8, objective="ou"))
    assert one == cell_id(Cell(objective="ou", rho=0.8, seed=3, latents="10-5", data="digits"))
    assert len(one) == 24 and int(one, 16) >= 0


def test_no_field_is_a_number_of_steps_or_a_place():
    """More steps, another device, host or evaluation keep the id: they are no fields of a cell."""
    names = {field.name for field in fields(Cell)}
    assert not names & {"steps", "device", "threads", "host", "evaluation", "path", "stack", "study"}


def test_equal_numbers_are_one_number():
    """1 is 1.0, NumPy's numbers are Python's, and digits beyond the ninth are nothing."""
    assert cell(kl_weight=2) == cell(kl_weight=2.0) and cell_id(cell(kl_weight=2)) == cell_id(cell(kl_weight=2.0))
    assert cell(seed=2.0) == cell(seed=np.int64(2)) and isinstance(cell(seed=np.int64(2)).seed, int)
    assert cell(rho=0.1 + 0.2) == cell(rho=0.3) == cell(rho=np.float64(0.3))
    assert cell(rho=0.9000000001) == cell(rho=0.9) and cell(rho=0.900000001) != cell(rho=0.9)
    assert cell(latents=10, hidden=64) == cell(latents="10", hidden="64")
    assert nine_digits(1 / 3) == 0.333333333


def test_ou_at_rho_one_is_vae():
    """One cell, one id: with any number of samples, and where ρ rounds to 1."""
    plain = Cell(data="digits", latents="10-5", seed=0)
    for smooth in (cell(rho=1), cell(rho=1.0, smoothing_samples=9, smoothing="ratio"), cell(rho=1 - 1e-10)):
        assert smooth.canonical() == plain and cell_id(smooth) == cell_id(plain)
        assert smooth.shape() == plain.shape()


def test_vae_ignores_what_only_smoothing_uses():
    """ρ and S of a grid's other cells are left out of its fields; said of it alone, they are refused."""
    given = dict(data="digits", latents="10-5", seed=0, objective="vae", rho=0.5, smoothing_samples=2)
    assert cell_id(Cell.of(given)) == cell_id(Cell(data="digits", latents="10-5", seed=0))
    with pytest.raises(CellError, match="rho is an option of objective ou or ou_iwae: objective vae has none"):
        Cell(**given)


@pytest.mark.parametrize(
    "idle",
    [
        dict(kl_weight_start=0.7),
        dict(learning_rate_end=0.5),
        dict(hidden="200-200/200-200"),
    ],
)
def test_fields_without_effect_do_not_decide_the_id(idle):
    """A start without warm-up, an end without decay, hidden sizes spelt out."""
    assert cell(**idle).canonical() == cell() and cell_id(cell(**idle)) == cell_id(cell())


def test_canonical_is_idempotent_and_keeps_what_has_an_effect():
    """All fields that `OTHER` sets survive."""
    for name, (value, needed) in OTHER.items():
        one = cell(**needed | {name: value}).canonical()
        assert one.canonical() == one and getattr(one, name) == value


def test_cells_of_one_stack_share_shapes_not_numbers():
    """ρ, seed, learning rate and weights may differ in a stack; sizes, S and precision may not."""
    same = [cell(rho=0.5), cell(seed=9), cell(learning_rate=0.1), cell(kl_weight=3, free_bits=1, gradient_clip=2)]
    assert {c.shape() for c in same} == {cell().shape()}
    others = [cell(latents="10-6"), cell(smoothing_samples=2), cell(smoothing="ratio"), cell(precision="float64")]
    others += [
        cell(objective="vae"),
        cell(objective="vae", chains=2),
        cell(batch_size=2),
        cell(data="mnist"),
        cell(hidden="9"),
        cell(activation="elu"),
    ]
    assert len({c.shape() for c in others} | {cell().shape()}) == len(others) + 1


def test_json_brings_the_cell_back():
    """Canonical JSON: sorted, without white space, equal for equal cells; an unknown field is refused."""
    one = cell(kl_weight=0.25, learning_rate=3e-7, seed=2**62)
    assert Cell.from_json(one.to_json()) == one and cell_id(Cell.from_json(one.to_json())) == cell_id(one)
    assert " " not in one.to_json() and list(json.loads(one.to_json())) == sorted(json.loads(one.to_json()))
    with pytest.raises(TypeError, match="flow_depth"):
        Cell.from_json(one.to_json()[:-1] + ',"flow_depth":3}')
    assert canonical_json({"b": 1.0, "a": [0.1, 2.5e-9]}) == '{"a":[0.1,2.5e-09],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_sizes_are_read_from_the_data_up():
    """One description for all layers, or one per layer."""
    one = cell(latents="64-32-16", hidden="512-256/256-128/128-64")
    assert one.depth == 3 and one.latent_sizes == (64, 32, 16)
    assert one.hidden_sizes == ((512, 256), (256, 128), (128, 64))
    assert cell(latents="4-4", hidden="7").hidden_sizes == ((7,), (7,))
    assert one.architecture == "mlp 64-32-16 (512-256/256-128/128-64)"
    assert cell(activation="elu").architecture == "mlp 10-5 (200-200) elu"


@pytest.mark.parametrize(
    ("given", "name", "says"),
    [
        (dict(rho=1.2), "rho", "rho should be in [0, 1], got 1.2"),
        (dict(rho=-0.1), "rho", "got -0.1"),
        (dict(rho=float("nan")), "rho", "finite number, got nan"),
        (dict(rho="0.9"), "rho", "should be a number, got '0.9'"),
        (dict(rho=True), "rho", "should be a number, got True"),
        (dict(kl_weight=None), "kl_weight", "should be a number, got None"),
        (dict(seed=-1), "seed", "got -1"),
        (dict(seed=0.5), "seed", "whole number, got 0.5"),
        (dict(seed=2**63), "seed", f"got {2**63}"),
        (dict(smoothing_samples=0), "smoothing_samples", "got 0"),
        (dict(batch_size=float("inf")), "batch_size", "got inf"),
        (dict(adam_beta1=1.0), "adam_beta1", "got 1.0"),
        (dict(decoder_variance=0.3), "decoder_variance", "an option of likelihood gaussian: likelihood bernoulli has"),
        (dict(precision="float16"), "precision", "got 'float16'"),
        (dict(data=5), "data", "should be a name, got 5"),
        (dict(latents="10-0"), "latents", "got '10-0'"),
        (dict(latents=""), "latents", "got ''"),
        (dict(latents="10-5 "), "latents", "got '10-5 '"),
        (dict(hidden="200-"), "hidden", "got '200-'"),
        (dict(hidden="8/8/8"), "hidden", "'8/8/8' describes 3 layers, latents 2"),
    ],
)
def test_a_fault_names_its_field_and_the_value(given, name, says):
    """One sentence each, filed under the field's name."""
    with pytest.raises(CellError) as caught:
        cell(**given)
    assert list(caught.value.faults) == [name]
    assert name in str(caught.value) and says in str(caught.value)


def test_all_faults_are_told_at_once():
    """Not only the first."""
    with pytest.raises(CellError) as caught:
        cell(rho=2, latents="x", batch_size=0, smoothing="both", free_bits="some")
    assert set(caught.value.faults) == {"rho", "latents", "batch_size", "smoothing", "free_bits"}


def test_the_ends_of_every_range_are_allowed():
    """And what lies beyond is not."""
    parts = {"decoder_variance": {"likelihood": "gaussian"}, "chains": {"objective": "vae"}}
    parts |= {"components": {"data": "cifar10", "likelihood": "logistic_mixture"}}
    parts |= dict.fromkeys(("maps", "blocks"), RESNET)
    parts |= dict.fromkeys(("decoder_layers", "latent_maps"), PIXELCNN)
    parts |= {"pseudo_inputs": {"prior": "vamp"}, "flow_steps": {"objective": "vae", "posterior": "planar"}}
    parts |= {name: {"procedure": "aggressive"} for name in ("inner_updates", "aggressive_steps")}
    parts |= {name: {"procedure": "semi_amortized"} for name in ("svi_steps", "svi_rate", "svi_momentum")}
    parts |= {name: LSTM for name in ("embedding", "dropout", "initial_range")}
    parts |= dict.fromkeys(("max_tokens", "vocabulary"), TEXT)
    for name, (low, high, _) in RANGES.items():
        for value in (low, high):
            assert getattr(cell(**parts.get(name, {}) | {name: value}), name) == value
        with pytest.raises(CellError, match=name):
            cell(**parts.get(name, {}) | {name: low - 1})


def test_an_unknown_name_suggests_the_nearest():
    """Data set, network, objective or procedure: where it was looked for, and what there is."""
    for field, name, near in (("data", "mnst", "mnist"), ("objective", "vea", "vae"), ("procedure", "joined", "joint")):
        with pytest.raises(UnknownName, match=f"{field}: no '{name}' here, did you mean '{near}'"):
            cell_id(cell(**{field: name}))
    with pytest.raises(UnknownName, match=r"data: no 'qqqq' here \(there are digits"):
        registry.find("data", "qqqq")


def test_ou_of_one_layer_smooths_nothing_and_is_vae():
    """p(x|z₁) is never smoothed, so with a single layer `ou` is the plain VAE at any ρ."""
    alone = Cell(data="digits", latents="4", seed=0, objective="ou", rho=0.9)
    assert alone.canonical() == Cell(data="digits", latents="4", seed=0)
