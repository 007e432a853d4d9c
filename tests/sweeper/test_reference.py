"""Reference files: typed, every fault placed, and the cells that are meant."""

from dataclasses import asdict
from pathlib import Path

import pytest

from models.cell import Cell
from sweeper.errors import StudyError
from sweeper.study import load_study
from sweeper.study.reference import Published, load_reference

PAPER = Path(__file__).parents[2] / "studies" / "paper"
PRINTED = PAPER / "printed"
BASE = """\
name: r
source: Somebody, somewhere, Table 1
cells: {data: mnist, latents: 40-40}
conditions: {steps: 1000, iw_samples: 100}
entries:
  - name: free bits
    cells: {free_bits: some}
    conditions: {steps: 2e3}
    printed:
      - {quantity: iw_bound, value: -86, margin: 1}
      - {quantity: active_units, value: [40, 15], margin: 3}
  - name: onset
    cells: {objective: ou}
    printed: [{quantity: onset, interval: [0.9, 0.95], margin: 0}]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_entries_add_to_what_holds_for_the_whole_file(tmp_path):
    reference = load_reference(written(tmp_path, BASE))
    assert (reference.name, len(reference.published)) == ("r", 3)
    bound, units, place = reference.published
    assert bound.value == (-86.0,) and units.value == (40.0, 15.0) and place.interval == (0.9, 0.95)
    assert bound.cells == {"data": "mnist", "latents": "40-40", "free_bits": "some"}
    assert bound.conditions == {"steps": 2000, "iw_samples": 100} and place.conditions["steps"] == 1000


# (line of BASE that is replaced; 0: appended), its new text, the place, what the fault says
CORPUS = [
    (1, "", "2:1", "name: missing; names the reference"),
    (2, "sauce: x", "2:1", "sauce: unknown key, did you mean 'source'?"),
    (3, "cells: {data: mnist, latent: 40}", "3:22", "cells.latent: unknown key, did you mean 'latents'?"),
    (3, "cells: {data: mnist, latents: 4-}", "3:31", "sizes are whole numbers in [1, 9999999] joined by '-'"),
    (3, "cells: {latents: 40-40}", "6:5", "entries.cells.data: missing; which cells are meant?"),
    (4, "conditions: {stepz: 1000}", "4:14", "conditions.stepz: unknown key, did you mean 'steps'?"),
    (4, "conditions: {steps: many}", "4:21", "conditions.steps: steps should be a whole number, got the text 'many'"),
    (4, "conditions: {free_bits: some}", "4:25", "free_bits should be a number, got the text 'some'"),
    (7, "    cells: {free_bits: none}", "7:24", "free_bits should be a number, got the text 'none'"),
    (7, "    cells: {steps: 3}", "7:13", "entries.cells.steps: unknown key"),
    (10, "      - {quantity: iw_bond, value: -86, margin: 1}", "10:20", "did you mean 'iw_bound'?"),
    (10, "      - {quantity: iw_bound, value: -86}", "10:9", "entries.printed.margin: missing; how far off"),
    (10, "      - {quantity: iw_bound, value: x, margin: 1}", "10:37", "value should be a number, got the text 'x'"),
    (10, "      - {quantity: iw_bound, value: -86, margin: -1}", "10:50", "margin should be at least 0, got -1"),
    (10, "      - {quantity: iw_bound, margin: 1}", "10:9", "give a value, or an interval where no value is printed"),
    (10, "      - {quantity: iw_bound, value: [1, 2], margin: 1}", "10:9", "iw_bound is one number, got 2"),
    (11, "      - {quantity: active_units, value: 40, margin: 3}", "6:5", "active_units should have 2 numbers"),
    (13, "    cells: {objective: ou, rho: 0.9}", "12:5", "onset is looked for over all ρ; leave it out"),
    (14, "    printed: [{quantity: onset, interval: [2, 1], margin: 0}]", "14:15", "interval should be [low, high]"),
    (14, "    printed: []", "14:14", "empty; give at least one value"),
    (14, "    printed: 3", "14:14", "printed should be a mapping (key: value) or a list of such, got 3"),
]


@pytest.mark.parametrize(("line", "text", "place", "said"), CORPUS)
def test_every_fault_has_its_place(tmp_path, line, text, place, said):
    lines = BASE.splitlines()
    lines[line - 1] = text
    path = written(tmp_path, "\n".join(lines))
    with pytest.raises(StudyError) as error:
        load_reference(path)
    assert error.value.exit_code == 2
    assert any(fault.startswith(f"{path}:{place}: ") and said in fault for fault in error.value.faults), error.value


def test_a_study_is_no_reference_and_a_list_is_none(tmp_path):
    study = PAPER.parent / "quickstart.yaml"
    with pytest.raises(StudyError, match="train: unknown key"):
        load_reference(study)
    with pytest.raises(StudyError, match="a reference is a mapping"):
        load_reference(written(tmp_path, "- 1"))


def meant(cells: dict, **fields) -> bool:
    """Whether a cell with these fields is meant by a reference that says `cells`."""
    published = Published("", "kl_top", (1.0,), None, 1.0, {"data": "mnist", "latents": "40-40", **cells}, {})
    cell = Cell(**{"data": "mnist", "latents": "40-40", "seed": 3, **fields}).canonical()
    return published.fits(asdict(cell))


def test_what_is_not_said_is_the_plain_method_in_any_optimisation():
    """A free-bits cell is not a plain one; a batch size or S that is not printed may be any."""
    assert meant({}) and meant({}, batch_size=128, learning_rate=3e-4, hidden="64")
    assert (
        not meant({}, free_bits=0.5) and not meant({}, kl_warmup_steps=100) and not meant({}, objective="ou", rho=0.9)
    )
    assert not meant({}, data="omniglot") and not meant({}, latents="40")
    smoothed = {"objective": "ou", "rho": 0.9}
    assert meant(smoothed, objective="ou", rho=0.9, smoothing_samples=2)
    assert not meant(smoothed, objective="ou", rho=0.95) and not meant(smoothed)
    assert not meant({"batch_size": 128}) and meant({"batch_size": 128}, batch_size=128)


def test_some_is_any_value_but_the_default():
    assert meant({"free_bits": "some"}, free_bits=0.5) and not meant({"free_bits": "some"})
    assert not meant({"kl_warmup_steps": "some"}, kl_warmup_steps=100, free_bits=0.5)


def test_any_is_any_value():
    assert meant({"kl_warmup_steps": "any"}, kl_warmup_steps=100) and meant({"kl_warmup_steps": "any"})
    assert meant({"latents": "any", "data": "any"}) and not meant({"latents": "any"}, free_bits=0.5)
    assert meant({"objective": "any", "rho": "any"}, objective="ou", rho=0.9)


def test_a_study_of_a_table_stands_for_its_printed_numbers(tmp_path):
    """`studies/paper/table6.yaml` was the file of numbers once; so was `figure1.yaml`, where there is no study now."""
    (tmp_path / "printed").mkdir()
    written(tmp_path / "printed", BASE)
    assert load_reference(tmp_path / "r.yaml").name == "r"  # no such file but in the folder beside
    (tmp_path / "r.yaml").write_text("name: r\ncells: {data: digits, latents: 3, seed: 0}\ntrain: {steps: 1}\n")
    assert load_reference(tmp_path / "r.yaml") == load_reference(tmp_path / "printed" / "r.yaml")


NUMBERS = {
    "table1": 23,
    "table2": 5,
    "table3": 1,
    "table4": 12,
    "table5": 2,
    "table10": 12,
    "table6": 14,
    "table7": 4,
    "table8": 5,
    "figure1": 2,
    "figure6": 1,
    "lagging_table2": 31,
    "skip_table2": 32,
    "skip_table3": 12,
}
SOURCES = {"lagging": "He, Spokoyny", "skip": "Dieng, Kim"}  # of the others: Pervez & Gavves


def test_every_file_of_printed_numbers_is_counted_here():
    assert {path.stem for path in PRINTED.glob("*.yaml")} == set(NUMBERS)


@pytest.mark.parametrize("name", NUMBERS)
def test_the_papers_numbers_load(name):
    numbers = NUMBERS[name]
    reference = load_reference(PAPER / f"{name}.yaml")
    assert reference.name == name and SOURCES.get(name.partition("_")[0], "Pervez & Gavves") in reference.source
    assert len(reference.published) == numbers


def test_active_units_of_table_1_fit_their_layers():
    """Listed from the data up, no layer has more active units than units; from the top down, some would."""
    for published in load_reference(PRINTED / "table1.yaml").published:
        if published.quantity.startswith("active_units"):
            units = [int(size) for size in published.cells["latents"].split("-")]
            assert all(active <= size for active, size in zip(published.value, units, strict=True))


@pytest.mark.parametrize("name", ["lagging_table2", "skip_table2", "skip_table3"])
def test_each_printed_line_of_other_papers_means_one_cell_of_its_study_per_seed(name):
    """No field of the study is forgotten in the file of printed numbers, which would leave its lines without cells."""
    cells = [cell.canonical() for cell in load_study(PAPER / f"{name}.yaml").cells if cell.seed == 0]
    for published in load_reference(PRINTED / f"{name}.yaml").published:
        assert sum(published.fits(asdict(cell)) for cell in cells) == 1, published.name
