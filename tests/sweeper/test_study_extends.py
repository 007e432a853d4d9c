"""`extends`: a study that begins from another is the study that one would have written out."""

import json
import os
import re
from itertools import pairwise
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import numpy as np
import pytest

from sweeper.errors import StudyError
from sweeper.study import json_schema, load_study, study_from
from sweeper.study.extends import MAX_FILES
from sweeper.study.source import MAX_BYTES

BASE = """\
name: base
question: Where?
cells:
  data: digits
  latents: [3-2, 4-3]
  objective: ou
  rho: {from: 0.7, to: 0.9, step: 0.1}
  seed: [0, 1]
train: {steps: 60, checkpoint_s: 5}
refine: {half_width: 0.1, cells: 30}
"""


def written(folder: Path, **files: str) -> Path:
    """Write `<name>.yaml` for each; the path of the first."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder / f"{next(iter(files))}.yaml"


def faults(path: Path) -> list[str]:
    with pytest.raises(StudyError) as error:
        load_study(path)
    return [fault.replace(f"{path.parent}/", "") for fault in error.value.faults]


def test_sections_merge_and_values_lists_and_ranges_replace(tmp_path: Path) -> None:
    own = "extends: base.yaml\nname: own\ncells: {latents: 5-4, rho: {from: 0.9, to: 0.99, points: 3}}\n"
    own += "train: {steps: 80}\nevaluation: {every: 20}\nrefine:\n"
    alone = """\
name: own
question: Where?
cells: {data: digits, latents: 5-4, objective: ou, rho: {from: 0.9, to: 0.99, points: 3}, seed: [0, 1]}
train: {steps: 80, checkpoint_s: 5}
evaluation: {every: 20}
"""
    path = written(tmp_path, own=own, base=BASE, alone=alone)
    study = load_study(path)
    assert study == load_study(tmp_path / "alone.yaml") and len(study.cells) == 6
    text = study.to_yaml()
    assert "extends" not in text and load_study(written(tmp_path / ".", copy=text)) == study


def test_a_list_of_blocks_replaces_the_cells(tmp_path: Path) -> None:
    own = "extends: base.yaml\nname: own\ncells:\n- {data: digits, latents: 4, seed: 3}\n"
    study = load_study(written(tmp_path, own=own, base=BASE))
    assert [(cell.latents, cell.seed, cell.objective) for cell in study.cells] == [("4", 3, "vae")]


def test_a_chain_is_relative_to_each_of_its_files_and_overrides_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "below"
    folder.mkdir()
    written(folder, own="extends: ../middle.yaml\ntrain: {steps: 3}\n")
    written(tmp_path, middle="extends: elsewhere/base.yaml\nname: middle\ntrain: {steps: 2, keep: weights}\n")
    (tmp_path / "elsewhere").mkdir()
    written(tmp_path / "elsewhere", base=BASE)
    monkeypatch.chdir("/")
    study = load_study(folder / "own.yaml", ["train.checkpoint_s=9"])
    train = study.train
    assert (study.name, train.steps, train.keep, train.checkpoint_s) == ("middle", 3, "weights", 9)


def test_what_an_alias_shares_is_not_changed_by_another_file(tmp_path: Path) -> None:
    """Two sections of the base are one node: what the extending file says of one is not said of the other."""
    base = BASE.replace("train: {", "train: &t {").replace("checkpoint_s: 5", "steps: 60").replace("steps: 60, ", "")
    base = base.replace("refine: {half_width: 0.1, cells: 30}", "run: *t")
    own = "extends: base.yaml\ntrain: {keep: none}\n"
    assert [fault.split(":")[:4] for fault in faults(written(tmp_path, own=own, base=base))] == [
        ["base.yaml", "9", "12", " run.steps"]  # and no run.keep
    ]


def test_a_fault_is_placed_in_the_file_that_says_it(tmp_path: Path) -> None:
    """File by file; what is missing is missing from the extending file, or from the section that somebody wrote."""
    own = "extends: base.yaml\ncells:\n  rho: 1.5\n  objectiv: ou\ntrain: {keep: all}\n"
    base = BASE.replace("steps: 60, ", "").replace("data: digits", "data: digitz").replace("name: base\n", "")
    found = faults(written(tmp_path, own=own, base=base))
    assert [re.sub(r"; .*| \(.*|, did.*|, got.*", "", fault) for fault in found] == [
        "base.yaml:3:9: cells.data: no 'digitz' here",
        "own.yaml:1:1: name: missing",
        "own.yaml:3:8: cells.rho: rho should be in [0, 1]",
        "own.yaml:4:3: cells.objectiv: unknown key",
        "own.yaml:5:8: train.steps: missing",
        "own.yaml:5:15: train.keep: keep should be one of full, weights, none",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("own", "fault"),
    [
        ("name: x\nextends: bass.yaml", "own.yaml:2:10: extends: bass.yaml: no such file, did you mean"),
        ("extends: own.yaml", "own.yaml:1:10: extends: a study cannot extend itself: own.yaml → own.yaml"),
        ("extends: link.yaml", "own.yaml:1:10: extends: a study cannot extend itself: own.yaml → link.yaml"),
        ("extends: loop.yaml", "loop.yaml:1:10: extends: a study cannot extend itself: own.yaml → loop.yaml → own"),
        ("extends: [base.yaml]", "own.yaml:1:10: extends: should be the path of a study file"),
        ("extends:", "own.yaml:1:9: extends: should be the path of a study file"),
        ("extends: .", "own.yaml:1:10: extends: /"),
        ("extends: pipe", "own.yaml:1:10: extends: pipe is no file"),
        ("extends: torn.yaml", "torn.yaml:2:1: not valid YAML"),
        ("extends: list.yaml", "list.yaml:1:1: a study is a mapping"),
        ("extends: large.yaml", "own.yaml:1:10: extends: large.yaml: larger than 250,000 bytes"),
        ("extends: half.yaml\n#" + "x" * (MAX_BYTES // 2), "own.yaml:1:10: extends: larger than 250,000 bytes with"),
        ("extends: wide.yaml\ncells: {x: [" + "*a, " * 30 + "]}", "own.yaml:2:13: alias *a names no anchor"),
        (f"extends: wide.yaml\nb: &a [{'1, ' * 900}]\nc: [{'*a, ' * 99}]", "own.yaml:1:1: more than 100,000 values"),
    ],
)  # fmt: skip
def test_a_chain_that_cannot_be_is_refused_where_it_is_named(tmp_path: Path, own: str, fault: str) -> None:
    path = written(
        tmp_path,
        own=own,
        base=BASE,
        loop="extends: ./own.yaml",
        torn="name: x\n]",
        list="[1]",
        large="#" * (MAX_BYTES + 1),
        half="name: h\n#" + "x" * (MAX_BYTES // 2),
        wide="a: &a [" + "1, " * 900 + "]\nd: [" + "*a, " * 99 + "]",
    )
    (tmp_path / "link.yaml").symlink_to("own.yaml")
    os.mkfifo(tmp_path / "pipe")
    found = faults(path)
    assert len(found) == 1 and found[0].startswith(fault), found


def test_a_chain_has_an_end(tmp_path: Path) -> None:
    names = [f"s{i}" for i in range(MAX_FILES + 1)]
    files = {name: f"extends: {after}.yaml\n" for name, after in pairwise(names)} | {names[-1]: BASE}
    assert load_study(written(tmp_path, **{k: files[k] for k in names[1:]})).name == "base"
    assert faults(written(tmp_path, **files)) == [
        f"s{MAX_FILES - 1}.yaml:1:10: extends: more than {MAX_FILES} files that extend each other"
    ]


def test_an_override_extends_nothing(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"^--set extends=x: extends: only a study file can extend another$"):
        load_study(written(tmp_path, base=BASE), ["extends=x"])


def test_the_store_keeps_a_complete_study(tiny) -> None:
    """A run of an extending study leaves a study.yaml that needs no other file, and its base's cells are its own."""
    base = tiny()
    base.run()
    base.path.with_name("own.yaml").write_text(
        f"extends: {json.dumps(base.path.name)}\ncells: {{rho: [0.8, 0.9, 1]}}\n", encoding="utf-8"
    )
    own = type(base)(base.path.with_name("own.yaml"), base.store, base.shelf)
    outcome = own.run()
    assert outcome.before.counts == {"done": 4, "train": 2} and not outcome.after.missing
    base.path.unlink()
    kept = load_study(own.store / "study.yaml")
    assert "extends" not in (own.store / "study.yaml").read_text() and len(kept.cells) == 6


def test_an_editor_asks_an_extending_file_for_nothing_more() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"extends": "a.yaml", "cells": {"rho": 0.9}, "train": {"keep": "none"}, "refine": None}, schema)
    for wrong in ({"cells": [{"rho": 0.9}]}, {"train": {"stepz": 1}}, {"extends": 3}, {"extends": None}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"extends": "a.yaml", **wrong}, schema)
    alone = {"name": "s", "cells": {"data": "digits", "latents": "5", "seed": 0}, "train": {"steps": 1}}
    for wrong in ({"cells": {"latents": "5"}}, {"train": {"keep": "none"}}, {"refine": {"cells": 3}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**alone, **wrong}, schema)


def test_a_mapping_or_a_text_is_a_study_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They say the same as the file, extend files of the current folder, and their faults name the key."""
    path = written(tmp_path, base=BASE)
    study = load_study(path)
    monkeypatch.chdir(tmp_path)
    given = {"extends": "base.yaml", "name": "own", "cells": {"rho": np.array([0.8, 0.9]), "seed": range(2)}}
    for each in (
        given,
        "extends: base.yaml\nname: own\ncells: {rho: [0.8, 0.9], seed: [0, 1]}",
        study,
        path,
        str(path),
    ):
        assert study_from(each).name == ("base" if each in (study, path, str(path)) else "own")
    assert study_from(given) == study_from("{extends: base.yaml, name: own, cells: {rho: [0.8, 0.9], seed: [0, 1]}}")
    assert study_from(given, ["train.steps=7"]).steps == 7
    for wrong, fault in (
        ({"extends": "base.yaml", "train": {"stepz": 3}}, "the study given: train.stepz: unknown key, did you mean"),
        ({"extends": "base.yaml", "cells": {"rho": object()}}, "the study given: <object object"),
        ({"extends": "base.yaml", 3: 4}, "the study given: a key should be text, got 3"),
        (
            "extends: base.yaml\ntrain: {steps: no}\n",
            "the study given:2:16: train.steps: steps should be a whole number",
        ),
    ):
        with pytest.raises(StudyError) as error:
            study_from(wrong)  # type: ignore[arg-type]
        assert error.value.faults[0].startswith(fault)
    loop: dict = {}
    loop["a"] = loop
    with pytest.raises(StudyError, match="nested more than 50 levels"):
        study_from(loop)
