"""A study file becomes the cells and settings it asks for; overrides, comparison and writing back."""

import subprocess
import sys
import time
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path
from typing import Any

import pytest

from models.cell import Cell, cell_id
from models.evaluation.settings import Evaluation
from sweeper.errors import StudyError
from sweeper.machine import Machine
from sweeper.planning import make_plan
from sweeper.study import Study, load_study

FOLDER = Path(__file__).parents[2] / "studies"
STUDIES = sorted([*FOLDER.glob("*.yaml"), *FOLDER.glob("paper/*.yaml")])

BASE = """\
name: s
cells:
  data: digits
  latents: 10-10
  objective: ou
  rho: [0.8, 1]
  seed: [0, 1]
train: {steps: 100}
"""


def load(folder: Path, text: str = BASE, *overrides: str) -> Study:
    path = folder / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return load_study(path, overrides)


def test_the_cells_are_the_product_of_the_grids_each_canonical(tmp_path: Path) -> None:
    study = load(tmp_path)
    smooth: dict[str, Any] = {"data": "digits", "latents": "10-10", "objective": "ou", "rho": 0.8}
    plain: dict[str, Any] = {"data": "digits", "latents": "10-10", "objective": "vae", "rho": 1.0}
    assert study.cells == tuple(Cell(**values, seed=seed) for values in (smooth, plain) for seed in (0, 1))
    assert study.steps == 100
    assert [cell_id(cell) for cell in study.cells] == [cell_id(Cell.from_json(cell.to_json())) for cell in study.cells]


def test_a_copied_seed_is_what_cell_would_have_made_of_it(tmp_path: Path) -> None:
    """Seeds are filled in without Cell's checks: every cell must equal one that went through them."""
    for cell in load(tmp_path, BASE, "cells.seed={from: 0, to: 5, step: 1}", "cells.hidden=[64, 200-200/32]").cells:
        fresh = Cell(**asdict(cell))
        assert fresh.canonical() == cell == cell.canonical() and type(cell.canonical()) is Cell
        assert fresh.shape() == cell.shape() and cell_id(fresh) == cell_id(cell) and fresh.depth == cell.depth
        assert type(cell.seed) is int


def test_sections_have_the_documented_defaults(tmp_path: Path) -> None:
    study = load(tmp_path)
    assert study.evaluation_settings("digits") == Evaluation()  # 2,000 would be all of its images
    assert study.evaluation_settings("mnist") == Evaluation(importance_images=2000)
    some = load(tmp_path, BASE, "evaluation.images=2000")
    assert some.evaluation_settings("mnist") == Evaluation(images=2000, image_choice="spread")
    assert some.evaluation_settings("digits") == Evaluation(images=2000)  # all that there are
    assert load(tmp_path, BASE, "evaluation.images=2000", "evaluation.image_choice=first").evaluation_settings(
        "mnist"
    ) == Evaluation(images=2000)
    assert (study.evaluation.every, study.evaluation.validation_images) == (1000, 1000)
    assert (study.train.checkpoint_s, study.train.keep) == (60.0, "full")
    assert (study.analysis.rho_ref, study.analysis.order_parameter) == (0.8, "kl_top")
    assert study.run.model_dump() == {
        "executor": "ray", "workers": 0, "threads": 1, "device": "auto", "max_stack": 0, "memory_gb": 0.0,
        "hang_s": 1800.0, "start_s": 120.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "analysis",
    [
        "{control: kl_weight, reference: 0.5, order_parameter: relative_activity_1}",
        "{control: learning_rate, collapsed: low, reference: 0.01}",
        "{rho_ref: 0.7, order_parameter: kl_per_unit_2}",
    ],
)
def test_another_control_parameter_survives_being_written(tmp_path: Path, analysis: str) -> None:
    """What is written to a store asks for the same, and keeps no key that would have no effect."""
    study = load(tmp_path, f"{BASE}\nanalysis: {analysis}\n")
    (tmp_path / "again.yaml").write_text(study.to_yaml(), encoding="utf-8")
    assert load_study(tmp_path / "again.yaml") == study
    assert study.analysis.uncollapsed in (0.5, 0.01, 0.7)
    assert study.analysis.axis.name == study.analysis.control


def test_a_study_is_frozen(tmp_path: Path) -> None:
    study = load(tmp_path)
    with pytest.raises(FrozenInstanceError):
        study.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        study.train.steps = 1


def test_depth_times_width_is_written_as_latents(tmp_path: Path) -> None:
    text = BASE.replace("latents: 10-10", "depth: [2, 3]\n  width: [20, 40]").replace("[0, 1]", "0")
    latents = [cell.latents for cell in load(tmp_path, text).cells]
    assert list(dict.fromkeys(latents)) == ["20-20", "40-40", "20-20-20", "40-40-40"]


def test_blocks_are_joined_and_cells_they_share_appear_once(tmp_path: Path) -> None:
    text = BASE.replace("  data", "- data").replace("[0.8, 1]", "[0.8, 1, 0.9]")
    second = "- {data: digits, latents: 10-10, objective: [vae, ou], rho: [0.9, 0.95], seed: [1, 2]}\n"
    study = load(tmp_path, text.replace("train:", second + "train:"))
    assert len(study.cells) == len(set(study.cells)) == 6 + 6 - 2  # both have ρ = 0.9 and 1 with seed 1


def test_ou_at_rho_1_with_several_s_is_one_cell(tmp_path: Path) -> None:
    study = load(tmp_path, BASE, "cells.smoothing_samples=[2, 5]")
    assert [(cell.objective, cell.rho, cell.smoothing_samples, cell.seed) for cell in study.cells] == [
        ("ou", 0.8, 2, 0), ("ou", 0.8, 2, 1), ("ou", 0.8, 5, 0), ("ou", 0.8, 5, 1),
        ("vae", 1.0, 5, 0), ("vae", 1.0, 5, 1),
    ]  # fmt: skip


def test_the_order_of_keys_changes_nothing(tmp_path: Path) -> None:
    lines = BASE.splitlines()
    shuffled = [lines[7], *lines[1:2], *reversed(lines[2:7]), lines[0]]
    assert load(tmp_path, "\n".join(shuffled)) == load(tmp_path)


@pytest.mark.parametrize(
    ("field", "grid", "limit"),
    [
        ("rho", ", ".join(f"0.{100 + i}" for i in range(300)), "10,000 values"),
        ("hidden", ", ".join("-".join(["8"] * (500 + i)) for i in range(8)), "250,000 bytes"),
    ],
)
def test_aliases_that_the_stores_copy_could_not_hold_are_refused(
    tmp_path: Path, field: str, grid: str, limit: str
) -> None:
    """Written out they pass the limits of a file, and the copy could not be read back."""
    rest = "data: digits, objective: ou, seed: 0" + (", rho: 0.9" if field == "hidden" else "")
    blocks = "".join(f"- {{{rest}, latents: {i}-2, {field}: *grid}}\n" for i in range(3, 43))
    text = f"name: a\ncells:\n- {{{rest}, latents: 2-2, {field}: &grid [{grid}]}}\n{blocks}train: {{steps: 1}}\n"
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(StudyError, match=rf"a.yaml:3:1: .*{limit}.*with aliases written out"):
        load_study(tmp_path / "a.yaml")


def test_aliases_share_a_grid_between_blocks(tmp_path: Path) -> None:
    text = "name: s\ntrain: {steps: 1}\ncells:\n"
    text += "- {data: digits, latents: 10-4, objective: ou, rho: &r [0.8, 1], seed: 0}\n"
    study = load(tmp_path, text + "- {data: mnist, latents: 10-4, objective: ou, rho: *r, seed: 0}\n")
    assert [(cell.data, cell.rho) for cell in study.cells] == [
        ("digits", 0.8), ("digits", 1.0), ("mnist", 0.8), ("mnist", 1.0),
    ]  # fmt: skip


def test_an_override_is_typed_and_recorded(tmp_path: Path) -> None:
    study = load(tmp_path, BASE, "train.steps=1e3", "cells.rho=[0.9, {from: 0.5, to: 0.7, step: 0.1}]", "run.workers=2")
    assert (study.steps, study.run.workers) == (1000, 2)
    assert type(study.steps) is int
    assert list(dict.fromkeys(cell.rho for cell in study.cells)) == [0.9, 0.5, 0.6, 0.7]
    assert "steps: 1000" in study.to_yaml()
    assert load(tmp_path, study.to_yaml()) == study


def test_an_override_of_cells_holds_for_every_block(tmp_path: Path) -> None:
    text = BASE.replace("  data", "- data").replace("train", "- {data: mnist, latents: 5, seed: 0}\ntrain")
    assert {cell.seed for cell in load(tmp_path, text, "cells.seed=7").cells} == {7}


def test_the_last_of_two_overrides_holds(tmp_path: Path) -> None:
    assert load(tmp_path, BASE, "train.steps=5", "train.steps=6").steps == 6


def test_an_override_replaces_what_was_wrong_in_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, BASE.replace("100", "many"), "train.steps=5").steps == 5


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("train.stepz=3", "--set train.stepz=3: train.stepz: unknown key, did you mean 'steps'?"),
        ("trian.steps=3", "--set trian.steps=3: trian: unknown key, did you mean 'train'?"),
        ("cells.rho=[0.9, 1.2]", "--set cells.rho=[0.9, 1.2]: cells.rho: rho should be in [0, 1], got 1.2"),
        ("train.steps=no", "--set train.steps=no: train.steps: steps should be a whole number, got the text 'no'"),
        ("train.steps", "--set train.steps: should be key=value or section.key=value, as in train.steps=1000"),
        ("a.b.c=1", "--set a.b.c=1: should be key=value or section.key=value, as in train.steps=1000"),
        ("name=@s", "--set name=@s: not valid YAML: while scanning for the next token; "
         "found character '@' that cannot start any token"),
        ("cells.depth=3", "--set cells.depth=3: cells.depth: give latents, or depth and width, not both"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_placed_at_the_option(tmp_path: Path, override: str, fault: str) -> None:
    with pytest.raises(StudyError) as error:
        load(tmp_path, BASE, override)
    assert error.value.faults == [fault]


def test_diff_says_what_changed_in_the_words_of_the_file(tmp_path: Path) -> None:
    before = load(tmp_path)
    after = load(tmp_path, BASE, "train.steps=200", "cells.rho=[0.8, 0.9]", "cells.batch_size=32", "question=why?")
    assert before.diff(after) == [
        'question: "" → "why?"',
        "cells.rho: [0.8, 1] → [0.8, 0.9]",
        "cells.batch_size: (not given) → 32",
        "cells: 4 → 4 (4 added, 4 removed)",
        "train.steps: 100 → 200",
    ]
    assert before.diff(load(tmp_path)) == []


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_loads_and_survives_being_written(path: Path, tmp_path: Path) -> None:
    study = load_study(path)
    assert study.name == path.stem
    assert load(tmp_path, study.to_yaml()) == study
    first = path.read_text(encoding="utf-8").splitlines()[0]
    up = "" if path.parent == FOLDER else "../"
    assert first == f"# yaml-language-server: $schema={up}study.schema.json"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_can_be_planned(path: Path) -> None:
    """Every cell has a size and is to be trained; a study for two cores has at most a tenth of the other's steps."""
    study = load_study(path)
    plan = make_plan(study, None, Machine(cores=2, memory_bytes=64 << 30, gpu_memory_bytes=()))
    assert len(plan.missing) == len(study.cells) > 0 and plan.jobs  # a cell that continues from another waits for it
    if path.stem.endswith("_cpu") and path.parent.name == "paper":
        assert study.steps <= load_study(path.with_name(path.name.replace("_cpu", ""))).steps / 10


def test_every_study_of_the_paper_has_one_for_two_cores() -> None:
    names = {path.stem for path in FOLDER.glob("paper/*.yaml")}
    paper = {f"table{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 10)} | {f"figure{n}" for n in (2, 3, 5)}
    others = {"lagging_table2", "skip_table2", "skip_table3"}  # of other papers: in kind, studies/decoder_depth.yaml
    assert names == paper | {f"{name}_cpu" for name in paper} | others


def test_the_shipped_studies_ask_for_what_their_headers_say() -> None:
    quickstart, paper, cpu, grid = (
        load_study(FOLDER / f"{name}.yaml") for name in ("quickstart", "phase_mnist", "phase_cpu", "activity_grid")
    )
    curve = {(1 - cell.rho).__round__(9) for cell in quickstart.cells}
    assert curve == {0.2, 0.13, 0.1, 0.07, 0.05, 0.04, 0.028, 0.02, 0.014, 0.01, 0.007, 0.005, 0.0}
    assert len(quickstart.cells) == 13 * 3
    curve = {(1 - cell.rho).__round__(9) for cell in cpu.cells}
    assert curve == {0.2, 0.16, 0.13, 0.11, 0.095, 0.08, 0.07, 0.06, 0.05, 0.04, 0.02, 0.0}
    assert len(cpu.cells) == 2 * 12 * 3
    assert {cell.depth for cell in paper.cells} == {3, 4, 5}
    assert {cell.data for cell in paper.cells} == {"mnist", "omniglot"}
    assert "40-40-40-40" in {cell.latents for cell in paper.cells}
    assert paper.steps == 100_000
    assert {(cell.objective, cell.rho) for cell in grid.cells} == {("ou", 0.9), ("vae", 1.0)}


def test_ten_thousand_cells_take_seconds_at_most(tmp_path: Path) -> None:
    """0.25 s when measured (1,000 values of ρ × 10 seeds, one core); the bound leaves room for a busy machine."""
    start = time.process_time()
    study = load(tmp_path, BASE, "cells.rho={from: 0, to: 0.999, step: 0.001}", "cells.seed={from: 0, to: 9, step: 1}")
    assert len(study.cells) == 10_000
    assert time.process_time() - start < 3


def test_loading_a_study_imports_no_torch() -> None:
    code = "import sys; from sweeper.study import load_study; load_study(sys.argv[1]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(STUDIES[0])], check=False).returncode == 0


def test_free_bits_of_importance_weights_are_refused_with_the_reason_and_left_out_beside_others(tmp_path):
    """A grid of both objectives has them where they are; a switch may be said as true and false."""
    path = tmp_path / "study.yaml"
    cells = "{data: digits, latents: 3-2, objective: iwae, chains: 5, free_bits: 0.5, seed: 0}"
    path.write_text(f"name: s\ncells: {cells}\ntrain: {{steps: 1}}\n")
    with pytest.raises(StudyError, match=r"no cell of this grid has \(inside an importance weight a layer has"):
        load_study(path)
    cells = load_study(path, ["cells.objective=[vae, iwae]"]).cells
    assert [(cell.objective, cell.free_bits, cell.chains) for cell in cells] == [("vae", 0.5, 5), ("iwae", 0.0, 5)]
    ou = ["cells.objective=ou", "cells.rho=0.9"]
    for said in ("[true, false]", "[yes, no]"):
        found = load_study(path, [*ou, f"cells.smooth_output={said}"]).cells
        assert [cell.smooth_output for cell in found] == ["yes", "no"]
    with pytest.raises(StudyError, match="smooth_output"):
        load_study(path, [*ou, "cells.smooth_output=maybe"])


def test_an_option_that_no_cell_has_is_refused_with_its_owner_but_not_in_the_study_of_a_store(tmp_path):
    """A grid over several parts may give it, a default changes nothing, and earlier versions ignored it."""
    path, owner = tmp_path / "study.yaml", "smoothing_samples is an option of objective ou or ou_iwae, which no cell of"
    cells = "{data: digits, latents: 3-2, objective: vae, smoothing_samples: 2, seed: 0}"
    path.write_text(f"name: s\ncells: {cells}\ntrain: {{steps: 1}}\n")
    with pytest.raises(StudyError, match=owner):
        load_study(path)
    assert len(load_study(path, ["cells.smoothing_samples=5"]).cells) == 1
    assert len(load_study(path, ["cells.objective=[vae, ou]", "cells.rho=0.9"]).cells) == 2
    (tmp_path / "store.json").write_text("{}")
    assert len(load_study(path).cells) == 1


def test_what_is_measured_on_request_is_off_and_asks_for_what_it_needs(tmp_path):
    """An order parameter that nobody measures, a variance of one number, a curve without points: refused beforehand."""
    usual = load(tmp_path, BASE)
    assert usual.evaluation_settings("digits") == Evaluation()
    asked = load(tmp_path, BASE, "evaluation.mutual_information=2000", "analysis.order_parameter=mi_top")
    assert asked.evaluation_settings("digits").mutual_information == 300  # all that there are
    assert asked.evaluation_settings("mnist").mutual_information == 2000
    assert asked.analysis.order_parameter == "mutual_information_top"
    along = load(tmp_path, BASE, "evaluation.validation_gradient_variance=100")
    assert along.evaluation_settings("mnist").id() == usual.evaluation_settings("mnist").id()
    for key, fault in (
        ("analysis.order_parameter=mi_1", "evaluation.mutual_information should not be 0"),
        ("analysis.second_order_parameter=mi_top", "evaluation.mutual_information should not be 0"),
        ("analysis.order_parameter=validation_mi_top", "mutual_information is not measured on validation images"),
        ("evaluation.mutual_information=1", "at least 2 images"),
        ("evaluation.gradient_variance=1", "at least 2 draws"),
    ):
        with pytest.raises(StudyError, match=fault):
            load(tmp_path, BASE, key)
    scalar = BASE.replace("latents: 10-10\n  objective: ou\n  rho: [0.8, 1]", "latents: 1\n  objective: vae")
    for name, value in (("gradient_variance", 10), ("mutual_information", 10), ("posterior_mean", 10)):
        with pytest.raises(StudyError, match="no evaluation along the way"):
            load(tmp_path, scalar, f"evaluation.validation_{name}={value}", "evaluation.every=0")
    assert load(tmp_path, scalar, "evaluation.posterior_mean=500").evaluation_settings("digits").posterior_mean == 300
    with pytest.raises(StudyError, match="500"):
        load(tmp_path, scalar, "evaluation.posterior_mean=501")
    for name in ("posterior_mean", "validation_posterior_mean"):
        with pytest.raises(StudyError, match=f"{name}: no cell of this study has one latent variable"):
            load(tmp_path, BASE, f"evaluation.{name}=10")
