"""What the pages of docs/ say is so: their code runs, and nothing they should name is missing."""

from __future__ import annotations

import pkgutil
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib.pyplot
import numpy as np
import pandas
import pytest
import torch
from matplotlib.image import imread

import models.data
import sweeper
from models.cell import Cell, cell_size, registry
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.objectives.spec import VaeOptions
from models.stack.stack import Stack
from sweeper.analysis.curves import curves, select
from sweeper.analysis.tables import critical_table, write_table
from sweeper.study import load_study
from sweeper.study.cell_block import CellBlock
from sweeper.study.field_table import field_table
from sweeper.study.reference import load_reference
from sweeper.study.schema import SECTIONS, StudyFile
from tests.models.planted import THREE, TWO, stack_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors are no faster in two threads, which wait for each other where others compute too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def added(monkeypatch) -> list[str]:
    """The page's code as if it had been added: its modules can be imported, its lines stand in the registries."""
    names = []
    for block in blocks("adding.md", "python"):
        path = re.match(r"# (models/[\w/]+)\.py(?:, in (\w+))?\n", block)
        assert path, f"a block of adding.md says first where it goes, got {block[:40]!r}"
        if path[2]:
            entries = eval("{" + block + "}", vars(registry) | {"VaeOptions": VaeOptions})
            for name, entry in entries.items():
                monkeypatch.setitem(getattr(registry, path[2]), name, entry)
            names += entries
        else:
            module = ModuleType(path[1].replace("/", "."))
            monkeypatch.setitem(sys.modules, module.__name__, module)
            exec(compile(block, f"docs/adding.md: {path[1]}.py", "exec"), module.__dict__)
    return names


def test_what_the_page_adds_trains_and_is_evaluated(added, tmp_path):
    """Its study plans, and a few steps of each objective raise the evaluated bound from where it started."""
    assert added == ["bars", "renyi"]
    (block,) = blocks("adding.md", "yaml")
    (tmp_path / "bars.yaml").write_text(block, encoding="utf-8")
    study = load_study(tmp_path / "bars.yaml")
    assert len(study.cells) == 9
    settings = Evaluation(importance_samples=10, images=100)
    for chains in (1, 5):
        stack = Stack([c for c in study.cells if c.chains == chains], models.data.load("bars"))
        before = evaluate(stack, settings, quick=True)
        stack.train(60)
        after = evaluate(stack, settings, quick=True)
        assert all(b["iw_bound"] + 0.5 < a["iw_bound"] <= 0 for b, a in zip(before, after, strict=True))


@pytest.mark.parametrize("model", [TWO.exact(), THREE.exact()])
def test_the_added_bound_is_log_p_under_the_exact_posterior(added, model):
    """All weights are then equal, whatever K and whatever the noise."""
    images = torch.tensor([[0.3], [1.3]])
    rng = np.random.default_rng(0)
    expected = sum(model.log_p(float(x)) for x in images) / 2
    for k in (1, 5):
        stack = stack_of(model, images.numpy(), objective="renyi", chains=k)
        noise = [torch.from_numpy(rng.standard_normal((1, k, 2, 1))) for _ in model.b]
        x = images.double().view(1, 1, 2, 1)
        terms = stack.network.terms(stack.params, x, noise)
        assert stack.objective.value(terms, 0).item() == pytest.approx(expected, abs=1e-5)


def test_the_added_objective_keeps_cells_apart_bitwise(added):
    """Three cells together train as each alone."""
    cells = [
        Cell(data="bars", latents="5-3", hidden="13", objective="renyi", chains=5, seed=i, batch_size=10)
        for i in range(3)
    ]
    whole = Stack(cells, models.data.load("bars"))
    whole.train(5)
    for i, cell in enumerate(cells):
        alone = Stack([cell], models.data.load("bars"))
        alone.train(5)
        assert all(torch.equal(whole.params[k][i], alone.params[k][0]) for k in whole.params)


def test_the_planner_counts_the_chains_of_the_added_objective(added):
    """Fifty chains: fifty times the operations, but for the first map, which sees the image once."""
    few, many = (
        cell_size(Cell(data="bars", latents="8-4", hidden="32", seed=0, batch_size=512, objective="renyi", chains=k))
        for k in (1, 50)
    )
    assert 25 < many.flops / few.flops < 50 and many.memory_bytes > 5 * few.memory_bytes


def test_what_the_added_objective_cannot_take_is_refused(added):
    """Free bits; and a ρ, which would have filed the same training under many ids."""
    with pytest.raises(ValueError, match="free_bits should be 0"):
        Stack([Cell(data="bars", latents="4", seed=0, objective="renyi", free_bits=0.1)], models.data.load("bars"))
    with pytest.raises(ValueError, match="rho is an option of objective ou"):
        Cell(data="bars", latents="4", seed=0, objective="renyi", rho=0.9)


def rows(page: str, heading: str) -> dict[str, str]:
    """First and second column of the tables under a heading, without backticks."""
    text = (DOCS / page).read_text(encoding="utf-8")
    section = re.split(r"^#+ .*$", text.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    cells = (line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `"))
    return {first.strip(" `"): second.strip() for first, second, *_ in cells}


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("# The study file", StudyFile),
        ("## cells", CellBlock),
        *((f"## {name}", each) for name, each in SECTIONS.items()),
    ],
)
def test_every_field_of_a_study_is_explained_with_its_default(heading, model):
    """No field is missing, and no other is there."""
    explained = rows("study.md", heading)
    assert explained.keys() == model.model_fields.keys()
    for name, field in model.model_fields.items():
        if name in ("depth", "width"):
            assert explained[name] == "–"
        elif field.is_required() or name == "latents":
            assert explained[name] == "required"
        else:
            default = "all defaults" if name in SECTIONS else str(field.default) or "empty"
            default = "–" if field.default is None else default
            assert explained[name] == default


def test_the_table_of_a_cells_fields_is_what_they_declare():
    """If not, put what `sweeper.study.field_table` makes in its place."""
    assert field_table() in (DOCS / "study.md").read_text(encoding="utf-8")


def test_the_studies_shown_are_studies(tmp_path):
    """They load, and the first asks for as many cells as the page says."""
    counts = []
    shutil.copy(ROOT / "studies/quickstart.yaml", tmp_path)  # which one of them extends
    for block in blocks("study.md", "yaml"):
        (tmp_path / "shown.yaml").write_text(block, encoding="utf-8")
        counts.append(len(load_study(tmp_path / "shown.yaml").cells))
    assert counts == [36, 12, 15, 18, 5, 27]


def test_the_tutorials_ten_lines_draw_the_transition(tmp_path, monkeypatch, capsys):
    """On the store that the repository ships, with the tables that a report writes."""
    store = Path("results/reference/phase_cpu")
    shutil.copytree(ROOT / store / "cells", tmp_path / store / "cells")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    rows = select(pandas.read_parquet(store / "cells"))
    (tmp_path / store / "analysis").mkdir()
    write_table(critical_table(curves(rows)), store / "analysis", "critical")
    block, *_ = blocks("tutorial.md", "python")
    assert sum(bool(line.strip()) for line in block.splitlines()) == 10
    drawn: dict = {}
    exec(compile(block, "docs/tutorial.md", "exec"), drawn)
    here = rows[(rows["rho"] == 0.95) & (rows["data"] == "mnist")]
    assert drawn["kl"]["mean", "mnist"].loc[0.95] == pytest.approx(here["kl_top"].mean())
    onset = curves(rows)[0].transition.onset
    shown = [patch.get_extents().transformed(drawn["axes"].transData.inverted()) for patch in drawn["axes"].patches]
    assert any(span.x0 < onset.value < span.x1 for span in shown) and f"{onset.value:.6f}" in capsys.readouterr().out
    assert imread("transition.png")[..., :3].min(axis=-1).mean() < 0.99
    matplotlib.pyplot.close("all")


def test_the_tutorial_finds_critical_values_trains_and_loads_a_network(tmp_path, monkeypatch, capsys):
    """Block after block, as a reader would: what it prints is what the page says of it."""
    shutil.copytree(ROOT / "results/reference/phase_cpu", tmp_path / "results/reference/phase_cpu")
    monkeypatch.chdir(tmp_path)
    shown: dict[str, Any] = {}
    for block in blocks("tutorial.md", "python")[1:]:
        exec(compile(block, "docs/tutorial.md", "exec"), shown)
    printed = capsys.readouterr().out
    assert shown["critical"].equals(sweeper.critical(sweeper.load("results/reference/phase_cpu")))
    assert shown["result"].done == 6 and "6 of 6 cells done, 6 of them by this run" in printed
    assert "fewer than 3 usable seeds" in printed and "my VAE" in printed
    assert shown["terms"].elbo.shape == (10, 300) and shown["reconstructed"].shape == (10, 300, 64)
    assert shown["encoded"].mean[0].shape == (10, 300, 10) and shown["drawn"].shape == (16, 8, 8)
    found, row = re.search(r"ELBO (\S+), in the row (\S+)", printed).groups()
    assert found == row
    onset = sweeper.critical(shown["measured"])["value"][0]
    assert 0.93 < onset < 0.96


def test_the_reference_shown_is_a_reference(tmp_path):
    """It loads, with each of its printed numbers."""
    (block,) = (each for each in blocks("analysis.md", "yaml") if "entries:" in each)
    (tmp_path / "shown.yaml").write_text(block, encoding="utf-8")
    shown = load_reference(tmp_path / "shown.yaml").published
    assert [each.quantity for each in shown] == ["iw_bound", "active_units_one_pass", "onset"]


def test_the_examples_of_refinement_run(tmp_path, monkeypatch):
    """The study loads and refines; the sampler, asked and told, finds the onset that the page plants."""
    (study,) = blocks("refinement.md", "yaml")
    (tmp_path / "shown.yaml").write_text(study, encoding="utf-8")
    assert load_study(tmp_path / "shown.yaml").refine is not None
    (example,) = blocks("refinement.md", "python")
    shown: dict[str, Any] = {}
    exec(compile(example, "docs/refinement.md", "exec"), shown)
    found = shown["found"]
    assert found.low_wide < 0.9443 < found.high_wide and len(shown["study"].trials) <= 40


def test_the_map_names_every_module_and_no_other():
    """Module by module, folder by folder."""
    for folder in ("models", "sweeper"):
        for package in [path.parent for path in (ROOT / folder).rglob("__init__.py")]:
            modules = {path.name for path in package.glob("*.py")} - {"__init__.py"}
            place = package.relative_to(ROOT).as_posix() + "/"
            assert rows("map.md", f"# {place}").keys() == modules, place


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_names_of_code_and_files_in_the_pages_exist(page):
    """Dotted names can be imported; paths and links lead somewhere."""
    text = re.sub(r"^```.*?^```", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for name in re.findall(r"`((?:models|sweeper)(?:\.\w+)+)[`(]", text):
        pkgutil.resolve_name(name)
    for name in re.findall(r"`((?:models|sweeper|tests|studies|benchmarks|docs)/[\w./]*)`", text):
        assert (ROOT / name).exists(), name


def test_the_tests_that_the_promises_name_exist():
    """Every promise has some: each row of a table whose last column says by which it is tested."""
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)", tests, re.MULTILINE))
    tables = re.findall(r"^\|.* tested by \|\n\|[-|]+\n((?:\|.*\n)+)", (DOCS / "promises.md").read_text(), re.MULTILINE)
    promised = [line for table in tables for line in table.splitlines()]
    assert len(tables) == 2 and len(promised) > 10
    for line in promised:
        named = set(re.findall(r"`(test_\w+)`", line))
        assert named and named <= there, line
