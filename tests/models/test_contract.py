"""What every registered part promises, whichever it is: a new one is tried here as soon as it has a line in `EXAMPLES`.

Known answers of each stand in tests of its own.
"""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.cell import REGISTRIES, Cell, cell_size, find
from models.cell.image_shape import ImageShape
from models.cell.registry import LIKELIHOODS, NETWORKS, OBJECTIVES, POSTERIORS, PRIORS, PROCEDURES
from models.cell.sequence_shape import SequenceShape
from models.data.dataset import Dataset
from models.data.sequences import Sequences
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.stack.stack import Stack

# A small cell of each part; what it needs beside its name.
EXAMPLES: dict[str, dict[str, dict[str, object]]] = {
    "network": {
        "mlp": {"latents": "5-3", "hidden": "13-9/11"},
        "null_mlp": {"latents": "5-3", "hidden": "13-9/11"},
        "mlp_decoder": {"latents": "3", "hidden": "13-9", "decoder_layers": 3, "skip": "all"},
        "ladder": {"latents": "5-3", "hidden": "13-9/11"},
        "two_level": {"latents": "5-3", "hidden": "13-9/11-8"},
        "resnet": {"latents": "2x4x4-3x2x2", "maps": 4},
        "ladder_resnet": {"latents": "2x4x4-3x2x2", "maps": 4},
        "biva": {"latents": "2x4x4-3x2x2", "maps": 4, "bottom_up_maps": "1"},
        "pixelcnn": {
            "latents": "3",
            "hidden": "11",
            "maps": 4,
            "decoder_layers": 3,
            "kernel": "5-3-3",
            "latent_maps": 2,
            "skip": "all",
        },
        "pixelcnn_alone": {"maps": 4, "decoder_layers": 2},
        "lstm": {
            "data": "synthetic_text",
            "likelihood": "categorical",
            "latents": "3",
            "hidden": "9",
            "embedding": 7,
            "initial_range": 0.1,
            "skip": "all",
            "initial_state": "hidden",
        },
    },
    "prior": {"normal": {}, "vamp": {"pseudo_inputs": 7}},
    "posterior": {"gaussian": {}, "planar": {"flow_steps": 3}},
    "likelihood": {
        "bernoulli": {},
        "gaussian": {"decoder_variance": 0.3},
        "logistic": {"data": "cifar10"},
        "logistic_mixture": {"data": "cifar10", "components": 3},
    },
    "objective": {
        "vae": {"chains": 2},
        "ou": {"rho": 0.8, "smoothing_samples": 3},
        "iwae": {"chains": 3, "gradient_estimator": "dreg"},
        "ou_iwae": {"chains": 3, "rho": 0.8, "smoothing_samples": 2},
    },
    "procedure": {
        "joint": {},
        "semi_amortized": {"svi_steps": 3, "svi_rate": 0.05},
        "aggressive": {"inner_updates": 3, "aggressive_steps": 5, "mi_stop": "first_fall", "validate_every": 2},
        "continue": {"procedure": "continue 1 > 0.9, 5 steps each", "objective": "ou", "rho": 0.8},
    },
    "optimizer": {
        "sgd": {
            "gradient_clip": 0.5,
            "clip_norm": "group",
            "halve_after": 1,
            "validate_every": 2,
            "learning_rate": 0.1,
        },
        "adam": {"gradient_clip": 0.5, "learning_rate": 0.01},
    },
}
EXAMPLES["network"]["lstm_lm"] = {
    name: value
    for name, value in EXAMPLES["network"]["lstm"].items()
    if name not in ("latents", "skip", "initial_state")
} | {"output_bias": "none"}
WITHOUT_LATENTS = ("lstm_lm", "pixelcnn_alone")
EXAMPLES["likelihood"]["categorical"] = EXAMPLES["network"]["lstm"] | {"network": "lstm"}
TRAINABLE = [  # networks with the objectives that train them
    (network, objective)
    for network, entry in NETWORKS.items()
    for objective, each in OBJECTIVES.items()
    if not (entry.unsmoothable and each.smooths) and not (network in WITHOUT_LATENTS and objective == "iwae")
]
USUAL = ("ladder", "ladder_resnet", "biva")  # networks with the usual prior and posterior alone
TOP_DOWN = ("ladder", "two_level", "ladder_resnet")  # networks whose q draws the top layer first
CONVOLUTIONAL = ("resnet", "ladder_resnet", "biva")  # networks whose layers lie on grids, which an image has to fit
PARTS = [(role, name) for role, parts in REGISTRIES.items() if role != "data" for name in parts]


def of_symbols(name: object) -> bool:
    """Whether it is a network or a likelihood of sequences of symbols."""
    return any("tokens" in parts[name].kinds for parts in (NETWORKS, LIKELIHOODS) if name in parts)


def blank(cell: Cell) -> Dataset:
    """Of the shape of the cell's data, with nothing in it."""
    shape = find("data", cell.data).shape
    zeros = np.zeros((20, shape.features), np.uint8)
    if isinstance(shape, SequenceShape):
        return Sequences("zeros", zeros, zeros, zeros, 0, shape, symbols=("a",) * (shape.vocabulary - 1))
    return Dataset("zeros", zeros, zeros, zeros, 16, shape)


@pytest.fixture
def images(request: pytest.FixtureRequest, images: Dataset, colour: Dataset, sentences: Sequences) -> Dataset:
    """Grey; in colour for likelihoods of 256 levels, 8×8 where a network's layers lie on grids, or sentences."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if any(of_symbols(name) for name in params.values()):
        return sentences
    if params.get("role") == "likelihood" and LIKELIHOODS[params["name"]].kinds == ("levels",):
        return colour
    if not {params.get("network"), params.get("name")} & set(CONVOLUTIONAL):
        return images
    grey = [np.resize(split, (len(split), 64)) for _, split in images.splits()]
    return Dataset("grey", *grey, images.levels, ImageShape(1, 8, 8))


def seen(network: str, images: Dataset, count: int) -> torch.Tensor:
    """Numbers as a network sees them, (1, 1, count, features): of sentences the first ones, else of any images."""
    rows = torch.rand(count, images.features) if not of_symbols(network) else torch.tensor(images.train[:count])
    return rows.double()[None, None]


def cells_of(role: str, name: str, count: int = 3, **more: object) -> list[Cell]:
    """Cells that name the part, of several seeds."""
    base: dict[str, object] = {"data": "digits", "batch_size": 10} | EXAMPLES["network"]["mlp"]
    if {name, more.get("network")} & set(WITHOUT_LATENTS):
        del base["latents"]
    return [Cell.of(base | {role: name} | EXAMPLES[role][name] | {"seed": i} | more) for i in range(count)]


def test_every_part_has_its_example():
    """So that a part that is registered is a part that is tried."""
    assert {role: set(parts) for role, parts in EXAMPLES.items()} == {
        role: set(parts) for role, parts in REGISTRIES.items() if role != "data"
    }


@pytest.mark.parametrize(("role", "name"), PARTS)
def test_every_parameter_gets_a_gradient_and_has_a_group(role, name, images):
    """Of one step; every number of every tensor, but those that a hidden unit of an idle kind switches off."""
    stack = Stack(cells_of(role, name), images)
    stack.train(1)
    groups = {"inference", "generative"} if stack.network.latents else {"generative"}
    assert {parameter.group for parameter in stack.network.parameters()} >= groups
    gradients = stack.optimizer.moments().get("adam.m", stack.block.gradient)
    for tensor, gradient in stack.block.views(gradients).items():
        assert (gradient != 0).any(-1).all(), tensor
    columns = sorted((cut.start, cut.stop) for cuts in stack.block.ranges.values() for cut in cuts)
    ends = [0, *itertools.accumulate(stop - start for start, stop in columns)]
    assert [start for start, _ in columns] == ends[:-1] and ends[-1] == stack.block.values.shape[1]


@pytest.mark.parametrize("group", ["inference", "generative"])
def test_a_group_is_updated_alone_and_has_its_own_count(group, images):
    """The other group keeps every bit, and both then go on by their own counts, in both forms of the optimiser."""
    for form in ("update_each", "update_all"):
        stack = Stack(cells_of("network", "mlp", precision="float64"), images)
        stack.optimizer.update_each = getattr(stack.optimizer, form)
        before = {name: param.detach().clone() for name, param in stack.params.items()}
        gradient, on = torch.randn_like(stack.block.values), torch.tensor([True, False, True])
        for _ in range(3):
            norm = torch.linalg.vector_norm(gradient, dim=1)
            stack.optimizer.update(gradient.clone(), 0, on, norm, groups=[group])
        moved = {name.split(".")[0] for name, param in stack.params.items() if not torch.equal(param, before[name])}
        assert moved == {group}
        assert all(torch.equal(param[1], before[name][1]) for name, param in stack.params.items())
        place = stack.optimizer.groups.index(group)
        assert stack.optimizer.updates[:, place].tolist() == [3, 0, 3] and stack.optimizer.updates.sum() == 6


@pytest.mark.parametrize(("role", "name"), PARTS)
def test_neighbours_do_not_matter(role, name, images):
    """Three cells together train as each alone, to the last bit, on one thread."""
    assert_neighbours_do_not_matter(cells_of(role, name), images)


@pytest.mark.parametrize("name", ["mlp", "ladder", "mlp_decoder", "pixelcnn"])
def test_neighbours_of_a_cell_with_one_latent_variable_do_not_matter(name, images):
    """Of a layer of one unit products have one column, which libraries compute in another way alone."""
    latents = "1" if name in ("mlp_decoder", "pixelcnn") else "4-1"
    wide = {"mlp": {"hidden": "200"}, "ladder": {"hidden": "200"}, "mlp_decoder": {"hidden": "200"}}.get(name, {})
    assert_neighbours_do_not_matter(cells_of("network", name, latents=latents, **wide), images)


@pytest.mark.parametrize("name", NETWORKS)
def test_neighbours_do_not_matter_in_bfloat16(name, images):
    """Whether this processor multiplies such numbers or imitates that."""
    assert_neighbours_do_not_matter(cells_of("network", name, precision="bfloat16"), images)


def assert_neighbours_do_not_matter(cells, images):
    """Train the cells on one thread as a stack and each alone, and compare all that training goes on from."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        together = Stack(cells, images)
        together.train(6)
        for place, cell in enumerate(cells):
            alone = Stack([cell], images)
            alone.train(6)
            theirs = together.tensors()
            assert all(torch.equal(tensor[0], theirs[key][place]) for key, tensor in alone.tensors().items())
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("role", "name"), PARTS)
def test_a_checkpoint_brings_everything_back(role, name, images):
    """Written at one step and loaded into a fresh stack, or cut down to some of its cells, training goes on as if
    nothing had been."""
    cells = cells_of(role, name)
    straight, cut = Stack(cells, images), Stack(cells, images)
    straight.train(8)
    cut.train(4)
    fresh = Stack(cells, images)
    fresh.load({name: tensor.clone() for name, tensor in cut.tensors().items()}, 4)
    fresh.train(8)
    theirs = fresh.tensors()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in straight.tensors().items())
    cut.select([2, 0])
    cut.train(8)
    theirs = cut.tensors()
    assert all(torch.equal(tensor[[2, 0]], theirs[key]) for key, tensor in straight.tensors().items())


def test_a_checkpoint_from_before_updates_were_counted_goes_on(images):
    """Every parameter had then been updated at each step."""
    cells = cells_of("network", "mlp")
    straight, old = Stack(cells, images), Stack(cells, images)
    straight.train(8)
    old.train(4)
    tensors = {name: tensor.clone() for name, tensor in old.tensors().items() if name != "adam.updates"}
    fresh = Stack(cells, images)
    fresh.load(tensors, 4)
    fresh.train(8)
    theirs = fresh.tensors()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in straight.tensors().items())


@pytest.mark.parametrize(("network", "objective"), TRAINABLE)
@pytest.mark.usefixtures("one_by_one")
def test_the_size_is_what_torch_counts(network, objective):
    """Operations of a training step, and parameters."""
    more = EXAMPLES["network"][network]
    if network in (*TOP_DOWN, *USUAL) and objective == "iwae":
        more = more | {"gradient_estimator": "plain"}  # the only one that they have
    (cell,) = cells_of("objective", objective, 1, network=network, **more)
    stack = Stack([cell], blank(cell))
    with FlopCounterMode(display=False) as counted:
        stack.train(1)
    assert cell_size(cell).flops == counted.get_total_flops()
    assert cell_size(cell).parameters == stack.parameters_per_cell


@pytest.mark.parametrize(
    "more",
    [{"procedure": "aggressive", "inner_updates": 4}]
    + [{"procedure": "semi_amortized", "svi_steps": 4, "svi_gradient": each} for each in ("full", "first_order")],
)
def test_the_size_of_a_procedure_is_near_what_torch_counts(more):
    """Operations of a step with all that lies inside it, to a tenth: they are for planning."""
    (cell,) = cells_of("network", "mlp", 1, latents="10-10", hidden="64-64", **more)
    blank = np.zeros((20, 64), np.uint8)
    stack = Stack([cell], Dataset("zeros", blank, blank, blank, 16, ImageShape(1, 8, 8)))
    with FlopCounterMode(display=False) as counted:
        stack.train(1)
    assert cell_size(cell).flops == pytest.approx(counted.get_total_flops(), rel=0.1)


@pytest.mark.parametrize("objective", [name for name, each in OBJECTIVES.items() if each.smooths])
@pytest.mark.parametrize("network", [name for name, each in NETWORKS.items() if each.unsmoothable])
def test_what_cannot_be_smoothed_is_refused_when_the_cell_is_made(network, objective):
    """With the network's reason, at ρ = 1 too."""
    for rho in (0.8, 1.0):
        example = EXAMPLES["network"][network]
        with pytest.raises(ValueError, match=re.escape(NETWORKS[network].unsmoothable)) as refused:
            cells_of("objective", objective, 1, network=network, **example | {"rho": rho})
        assert set(refused.value.faults) == {"objective"}


@pytest.mark.parametrize("network", [name for name in NETWORKS if name not in USUAL])
@pytest.mark.parametrize(
    ("role", "name"), [("prior", name) for name in PRIORS] + [("posterior", name) for name in POSTERIORS]
)
@pytest.mark.usefixtures("one_by_one")
def test_the_size_counts_prior_and_posterior(network, role, name):
    """In every network, with several chains; under a mixture also of the one layer whose q is given images."""
    if (network, name) == ("lstm", "vamp") or (network in WITHOUT_LATENTS and name in ("vamp", "planar")):
        pytest.skip("refused")
    if network in CONVOLUTIONAL and name == "planar":
        with pytest.raises(ValueError, match="no outputs for a flow"):
            cells_of(role, name, 1, network=network, **EXAMPLES["network"][network])
        return
    example = EXAMPLES["network"][network]
    alone = {"mlp": {"latents": "5", "hidden": "13-9"}, "resnet": {"latents": "3x4x4"}}
    for sizes in [example] + [example | alone.get(network, {})] * (network in alone):
        (cell,) = cells_of(role, name, 1, network=network, chains=3, **sizes)
        stack = Stack([cell], blank(cell))
        with FlopCounterMode(display=False) as counted:
            stack.train(1)
        assert cell_size(cell).flops == counted.get_total_flops()
        assert cell_size(cell).parameters == stack.parameters_per_cell


@pytest.mark.parametrize("network", NETWORKS)
def test_terms_of_a_batch_are_those_of_its_images_and_given_numbers_take_the_place_of_qs(network, images):
    """Alone and in company an image has the same terms; with q's own numbers given to it, the network computes the
    same, and with others, others."""
    stack = Stack(cells_of("network", network, 2, precision="float64"), images)
    stack.train(3)
    x = seen(network, images, 6).expand(2, -1, -1, -1)
    noise = [torch.randn(2, 3, 6, units, dtype=torch.float64) for units in stack.network.latents]
    with torch.no_grad():
        terms = stack.network.terms(stack.params, x, noise)
        alone = stack.network.terms(stack.params, x[:, :, 2:3], [each[:, :, 2:3] for each in noise])
        numbers = [(layer.q_mean, layer.q_deviation) for layer in terms.layers]
        again = stack.network.terms(stack.params, x, noise, given=numbers)
        moved = []
        for place, (mean, deviation) in enumerate(numbers):
            given = [(mean + 1, deviation) if i == place else None for i in range(len(numbers))]
            moved.append(stack.network.terms(stack.params, x, noise, given=given))
    torch.testing.assert_close(alone.log_px, terms.log_px[:, :, 2:3])
    for layer, whole in zip(alone.layers, terms.layers, strict=True):
        torch.testing.assert_close(layer.log_q, whole.log_q[:, :, 2:3])
    assert torch.equal(again.log_px, terms.log_px)
    assert all(
        torch.equal(a.z, b.z) and torch.equal(a.log_p, b.log_p) for a, b in zip(again.layers, terms.layers, strict=True)
    )
    for place, others in enumerate(moved):
        torch.testing.assert_close(others.layers[place].z, terms.layers[place].z + 1)
    # Bottom-up a layer's q depends on the layer below, top-down on the layer above.
    if len(terms.layers) > 1:
        followed = [not torch.allclose(moved[i].layers[1 - i].log_q, terms.layers[1 - i].log_q) for i in (0, 1)]
        assert followed == ([False, True] if network in TOP_DOWN else [True, False])
    analytic = {place for place, layer in enumerate(terms.layers, start=1) if layer.kl is not None}
    assert analytic <= stack.network.analytic_kl


@pytest.mark.parametrize("network", NETWORKS)
def test_where_a_kl_is_analytic_it_is_the_mean_of_the_sampled_term(network, images):
    """Over many chains of one image, layer by layer, given the same layers below."""
    stack = Stack(cells_of("network", network, 1, precision="float64"), images)
    stack.train(20)
    x = seen(network, images, 1)
    chains = 2500 if network in (*CONVOLUTIONAL, "pixelcnn") else 20_000
    noise = [torch.randn(1, chains, 1, units, dtype=torch.float64) for units in stack.network.latents]
    with torch.no_grad():
        for layer in stack.network.terms(stack.params, x, noise).layers:
            if layer.kl is not None:
                difference = (layer.log_q - layer.log_p - layer.kl.sum(-1)).flatten()
                assert abs(difference.mean()) < 4 * difference.std() / chains**0.5


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_likelihood_sums_to_one_and_starts_at_the_mean_image(likelihood):
    """Over all images of two pixels, or a grid of values where they are real; its first bias gives the mean pixel."""
    cells = cells_of("likelihood", likelihood, 2)
    like = torch.empty((), dtype=torch.float64)
    if of_symbols(likelihood):
        pytest.skip("of sequences, not of images: see test_lstm.py")
    made = find("likelihood", likelihood).load()(cells, ImageShape(1, 1, 2), like)
    discrete = {"binary": torch.tensor([0.0, 1.0]), "levels": torch.arange(256, dtype=torch.float64) / 255}
    kind = LIKELIHOODS[likelihood].kinds[0]
    density = LIKELIHOODS[likelihood].density
    values = torch.linspace(-8, 8, 801, dtype=torch.float64) if density else discrete[kind]
    step = float(values[1] - values[0]) if density else 1.0
    grid = torch.cartesian_prod(values, values).double()
    out = torch.tensor([0.7, -0.4], dtype=torch.float64).repeat(made.maps).expand(2, 1, len(grid), -1)
    total = made.log_prob(grid.expand(2, 1, *grid.shape), out).exp().sum(-1) * step**2
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-6, atol=0)
    pixel = np.array([0.25, 0.5])
    first = torch.from_numpy(np.asarray(made.first_bias(pixel))).expand(2, 1, 1, -1)
    torch.testing.assert_close(made.mean(first)[0, 0, 0], torch.from_numpy(pixel))


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_posterior_integrates_to_one(posterior):
    """In one dimension: ∫ exp(log q) dz over the z that a grid of noise is mapped to, at the top layer and below it."""
    cells, like = cells_of("posterior", posterior, 1), torch.empty((), dtype=torch.float64)
    made = find("posterior", posterior).load()(cells, like)
    noise = torch.linspace(-9, 9, 20_001, dtype=torch.float64).view(1, 1, -1, 1)
    below = made.draw(torch.full_like(noise, 0.3), torch.full_like(noise, 0.7), noise)
    draws = torch.Generator().manual_seed(0)
    outputs = torch.randn(1, 1, 1, made.outputs(1), generator=draws, dtype=torch.float64)
    params = {
        each.name: torch.randn(1, *each.shape, generator=draws, dtype=torch.float64) for each in made.parameters(1)
    }
    for drawn in (below, made.transform(params, below, outputs if made.outputs(1) else None)):
        total = torch.trapezoid(made.log_prob(drawn).exp().flatten(), drawn.z.flatten())
        assert float(total) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("prior", PRIORS)
def test_a_prior_integrates_to_one(prior, images):
    """In one dimension, with the parameters that a stack begins with."""
    (cell,) = cells_of("prior", prior, 1, latents="4-1", precision="float64")
    stack = Stack([cell], images)
    z = torch.linspace(-12, 12, 20_001, dtype=torch.float64).view(1, 1, -1, 1)
    noise = [torch.zeros(1, 1, z.shape[2], 4, dtype=torch.float64), z]
    zeros, ones = torch.zeros_like(z), torch.ones_like(z)
    given = [None, (zeros, ones)]  # q of the top layer is N(0, 1), so that its sample is the grid
    x = torch.zeros(1, 1, 1, 35, dtype=torch.float64)
    with torch.no_grad():
        terms = stack.network.terms(stack.params, x, noise, given=given)
    assert float(torch.trapezoid(terms.layers[-1].log_p.exp().flatten(), z.flatten())) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("role", "name"), PARTS)
def test_the_bounds_are_in_order(role, name, images):
    """The ELBO lies below the importance-weighted bound, and more chains raise it, within the noise."""
    stack = Stack(cells_of(role, name, 1), images)
    stack.train(10)
    rows = [evaluate(stack, Evaluation(importance_samples=k), quick=True)[0] for k in (2, 50)]
    if not stack.network.latents:  # both are log p(x)
        assert [row[name] for row in rows for name in ("elbo", "iw_bound")] == pytest.approx([rows[0]["elbo"]] * 4)
        return
    assert rows[0]["elbo"] < rows[0]["iw_bound"] < rows[1]["iw_bound"] + 3 * rows[1]["iw_se_mc"]
    assert rows[0]["elbo"] < rows[1]["iw_bound"]


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_what_a_procedure_remembers_belongs_to_the_cells(procedure, images):
    """Every tensor of the state has the axis of cells first, under a name that a checkpoint can hold."""
    stack = Stack(cells_of("procedure", procedure), images)
    assert all(len(tensor) == 3 and "/" not in key for key, tensor in stack.state.items())
    assert set(stack.procedure.state(stack.cells, stack.device)) <= set(stack.tensors())
