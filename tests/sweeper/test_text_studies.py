"""A user's own text from the study to rows, reports and models: refused until its digest is said, then as any data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import same, table
from ruamel.yaml import YAML

import models.data
import sweeper
from models.cell import DATASETS, cell_id
from models.data import data_of
from sweeper.analysis.curves import select
from sweeper.analysis.report import analyse
from sweeper.cli.words.doctor import doctor_lines
from sweeper.cli.words.plan import plan_table
from sweeper.doctor import examine
from sweeper.errors import DataMissing, StudyError
from sweeper.merge import merge
from sweeper.parameters.control import axis_of
from sweeper.planning import make_plan
from sweeper.refine.lines import lines_of
from tests.sweeper.faulty_procedure import planted
from tests.sweeper.test_resume import Killed, killed_at

SIZES = {"train": 40, "validation": 8, "test": 8}
CELLS = {
    "data": "text", "corpus": "letters", "corpus_digest": None, "max_tokens": 5, "vocabulary": 5, "network": "lstm",
    "likelihood": "categorical", "latents": "2", "hidden": "4", "embedding": 3, "objective": "vae", "rho": None,
    "smoothing_samples": None, "kl_weight": [0.5, 1], "batch_size": 8, "seed": 0,
}  # fmt: skip
EVALUATION = {"images": 0, "importance_samples": 3, "validation_images": 8}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a corpus of random sentences of these letters, and returns its digest as `sweeper doctor` finds it."""
    from models.data.own_text import read_corpus

    monkeypatch.setenv("SWEEPER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))

    def write(corpus="letters", letters="abcd", seed=0):
        random, folder = np.random.default_rng(seed), tmp_path / "data" / "text" / corpus
        folder.mkdir(parents=True, exist_ok=True)
        for split, count in SIZES.items():
            lines = [" ".join(random.choice(list(letters), random.integers(1, 6))) for _ in range(count)]
            (folder / f"{split}.txt").write_text(" ".join(letters) + "\n" + "\n".join(lines) + "\n")
        models.data._load.cache_clear()  # as in another process
        return read_corpus(corpus).digest

    return write


@pytest.fixture
def text(tiny):
    """A tiny study of texts."""

    def make(name="text", store="", cells=CELLS):
        return tiny(name, store, cells=CELLS | cells, train={"steps": 12}, evaluation=EVALUATION)

    return make


def test_a_study_is_planned_without_files_and_runs_with_the_digest_that_its_first_run_says(text, write):
    """The line to paste is the one that a study takes; rows say which data it was."""
    study = text()
    (item, *_) = make_plan(study.load(), None).items
    assert plan_table([item]) == [["text letters", "lstm 2 (3-4)", "vae", "to train", "1", "new"]]
    with pytest.raises(DataMissing, match=r"no text/letters/train\.txt"):
        study.run()
    digest = write()
    with pytest.raises(DataMissing) as fault:
        study.run()
    line = str(fault.value).split("write ")[1].split(" for")[0]
    assert YAML(typ="safe").load(line) == {"corpus_digest": digest}
    ready = text("ready", cells={"corpus_digest": digest})
    assert ready.run().after.missing == ()
    rows = ready.opened().cells()
    dataset = data_of(ready.load().cells[0])
    assert set(rows["data"]) == {"text"} and set(rows["data_digest"]) == {dataset.digest()}
    assert set(rows["corpus"]) == {"letters"} and set(rows["vocabulary"]) == {5} and set(rows["images"]) == {9}
    assert rows["perplexity"].notna().all() and not rows.columns.duplicated().any()
    assert sorted(rows["cell_id"]) == sorted(map(cell_id, ready.load().cells))


def test_it_is_resumed_with_the_files_it_began_with_alone(text, write, tmp_path):
    """A kill and a changed file in between: refused, and with the files put back the numbers of a straight run."""
    digest = write()
    study, straight = (text(store=store, cells={"corpus_digest": digest}) for store in ("killed", "straight"))
    straight.run()
    with killed_at(7), pytest.raises(Killed):
        study.run("train.checkpoint_s=1e-9")
    assert study.opened().running()
    other = write(seed=1)
    with pytest.raises(DataMissing, match=f'have the digest "{other}", asked for is "{digest}"'):
        study.run()
    write()
    steps = []
    with planted(lambda stack: steps.append(stack.step)):
        study.run()
    assert min(steps) > 0 and same(study.store, straight.store)


def test_two_texts_in_a_study_are_two_data_sets_everywhere(text, write, tmp_path):
    """Of equal shapes: in stacks, lines and curves; a merged store, another evaluation and a kept model know which."""
    digests = write(), write("others", "wxyz")
    study = text()
    blocks = json.loads(study.path.read_text())
    one = {name: value for name, value in blocks["cells"].items() if value is not None}
    named = [{"corpus": "letters", "corpus_digest": digests[0]}, {"corpus": "others", "corpus_digest": digests[1]}]
    blocks["cells"] = [one | each for each in named]
    study.path.write_text(json.dumps(blocks))
    plan = make_plan(study.load(), None)
    assert [{cell.corpus for cell in job.cells} for job in plan.jobs] in (
        [{"letters"}, {"others"}], [{"others"}, {"letters"}],
    )  # fmt: skip
    assert [row[:2] for row in plan_table(plan.items)] == [
        ["text letters", "lstm 2 (3-4)"], ["text others", "lstm 2 (3-4)"],
    ]  # fmt: skip
    study.run()
    alone = text("alone", cells={"corpus": "others", "corpus_digest": digests[1]})
    alone.run()
    rows = {row["cell_id"]: row for row in table(study.store)}
    for row in table(alone.store):
        assert rows[row["cell_id"]] == row | {"study": "text"}

    axis = axis_of("kl_weight", None)
    lines = lines_of(study.load().cells, axis)
    assert [line.label for line in lines] == ["text letters · lstm 2 (3-4)", "text others · lstm 2 (3-4)"]
    cells = select(study.opened().cells())
    assert sorted(set(cells["data"])) == ["text letters", "text others"] and cells.equals(select(cells))
    found = sweeper.critical(sweeper.load(study.store), control="kl_weight", reference=0.5)
    assert set(found["data"]) == {"text letters", "text others"} and set(found["variant"]) == {""}

    merged = merge(tmp_path / "merged", [study.store])
    assert [(each.added, each.states) for each in merged.sources] == [(4, 4)] and len(rows) == 4
    study.run("evaluation.seed=1")
    assert len(study.opened().cells()) == len(rows)
    for corpus, letters in (("letters", "abcd"), ("others", "wxyz")):
        model = sweeper.load_model(tmp_path / "merged", next(n for n in rows if rows[n]["corpus"] == corpus))
        assert set(model.dataset.symbols) == set(letters) and model.data("test").shape == (9, 6)
    report = analyse(study.opened().cells(), study.opened().history(), study_name="two", axis=axis, reference=0.5)
    assert {curve.label for curve in report.curves} == {line.label for line in lines} and report.methods is not None
    assert sorted(set(report.methods["data"])) == ["text letters", "text others"]


def test_what_a_run_leaves_out_is_said_and_a_batch_larger_than_the_text_refused(text, write, monkeypatch):
    """Before training; sentences left out count."""
    from sweeper import run

    study, said = text(cells={"corpus_digest": write(), "max_tokens": 4}), []
    plan = make_plan(study.load("cells.seed=0"), None)
    run.fetch_data(plan, said.append)
    left = 41 - len(data_of(plan.items[0].cell).train)
    assert left > 0 and said[0].startswith(f"data set text letters: of training / validation / test, {left} / ")
    with pytest.raises(StudyError, match=f"batch_size 41: text letters has {41 - left} training sentences"):
        study.run("cells.batch_size=41")
    assert table(study.store) == []


def test_the_doctor_lists_the_texts_that_are_there(write, monkeypatch, tmp_path):
    """With the digest to paste; one that cannot be read is a problem; none at all are said with their place."""
    monkeypatch.setattr("models.cell.registry.DATASETS", {"text": DATASETS["text"]})
    (none,) = [line for line in doctor_lines(examine(None)) if line.startswith("data set text")]
    assert none.startswith("data set text: missing: put train.txt, validation.txt, test.txt")
    monkeypatch.setenv("SWEEPER_DATA", str(tmp_path / "data"))
    digest = write()
    (tmp_path / "data" / "text" / "broken").mkdir()
    write("broken")
    (tmp_path / "data" / "text" / "broken" / "train.txt").write_text("a\n\nb\n")
    lines = doctor_lines(examine(None))
    assert any(
        line.startswith(f'data set text letters: found: corpus_digest: "{digest}"; 41 / 9 / 9') for line in lines
    )
    assert any("problem: data set text broken: " in line and "line 2: is empty" in line for line in lines)
