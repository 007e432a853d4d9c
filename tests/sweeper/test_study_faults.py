"""Every fault of a study file is found, at once, and placed where an editor can jump to it."""

import re
import time
from pathlib import Path

import pytest

from models.cell import RANGES
from sweeper.errors import StudyError
from sweeper.study import load_study

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


def faults(folder: Path, text: str) -> list[str]:
    path = folder / "s.yaml"
    path.write_bytes(text.encode())
    with pytest.raises(StudyError) as error:
        load_study(path)
    assert error.value.exit_code == 2
    assert str(error.value) == "\n".join(error.value.faults)
    return [fault.removeprefix(f"{folder}/") for fault in error.value.faults]


# (line of BASE that is replaced; 0: appended), its new text, the place, what the fault says
CORPUS = [
    # keys
    (8, "train: {stepz: 100}", "8:9", "train.stepz: unknown key, did you mean 'steps'?"),
    (8, "train: {stepz: 100}", "8:8", "train.steps: missing; training steps of every cell"),
    (8, "trian: {steps: 100}", "8:1", "trian: unknown key, did you mean 'train'?"),
    (8, "trian: {steps: 100}", "1:1", "train: missing"),
    (1, "", "2:1", "name: missing"),
    (5, "  objectiv: ou", "5:3", "cells.objectiv: unknown key, did you mean 'objective'?"),
    (3, "  dta: digits", "3:3", "cells.data: missing"),
    (7, "  steps: 3", "7:3", "cells.steps: unknown key; it belongs in train"),
    (7, "  <<: 3", "7:3", "<< takes over the keys of a mapping or of a list of such"),
    (7, "  1: 3", "7:3", "cells.1: unknown key"),
    (7, "  ? [1, 2]\n  : 3", "7:5", "a key should be text"),
    (7, "  rho: 0.5", "7:3", "rho: key given twice (first at"),
    (4, "  hidden: 64", "3:3", "cells: latents is missing; give latents (as in 40-40-40), or depth and width"),
    (4, "  depth: 3", "3:3", "cells: depth without width; give latents"),
    (4, "  depth: 3\n  width: 4\n  latents: 4", "4:10", "cells.depth: give latents, or depth and width, not both"),
    (0, "run: {foo: 3}", "9:7", "run.foo: unknown key; known here: executor, workers, threads"),
    # types
    (8, "train: {steps: many}", "8:16", "train.steps: steps should be a whole number, got the text 'many'"),
    (8, "train: {steps: true}", "8:16", "train.steps: steps should be a whole number, got true (true or false)"),
    (8, "train: {steps: 1.5}", "8:16", "train.steps: steps should be a whole number, got 1.5"),
    (8, "train: {steps: '100'}", "8:16", "train.steps: steps should be a whole number, got the text '100'"),
    (8, "train: {steps: }", "8:15", "train.steps: steps should be a whole number, got nothing (null)"),
    (8, "train: {steps: [1]}", "8:16", "train.steps: steps should be a whole number, got a list"),
    (8, "train: {steps: 0}", "8:16", "train.steps: steps should be at least 1 and at most 1000000000, got 0"),
    (8, "train: {steps: 1e400}", "8:16", "train.steps: steps should be a whole number, got inf"),
    (8, "train: 100", "8:8", "train: train should be a mapping (key: value), got 100"),
    (2, "cells: 3\nrun:", "2:8", "cells: cells should be a mapping (key: value) or a list of such, got 3"),
    (6, "  rho: '0.8'", "6:8", "cells.rho: rho should be a number, got the text '0.8'"),
    (6, "  rho: [0.8, '1e-3']", "6:14", "cells.rho: rho should be a number, got the text '1e-3'"),
    (6, "  rho: [0.8, true]", "6:14", "cells.rho: rho should be a number, got true"),
    (6, "  rho: [0.8, .nan]", "6:14", "cells.rho: rho should be a finite number, got nan"),
    (6, "  rho: [0.8, -.inf]", "6:14", "cells.rho: rho should be a finite number, got -inf"),
    (6, "  rho: [0.8, [1]]", "6:14", "cells.rho: rho should be a number, got a list"),
    (6, "  rho: ~", "6:8", "cells.rho: rho should be a number, got nothing (null)"),
    (3, "  data: 3", "3:9", "cells.data: data should be text, got 3"),
    (1, "name: 3", "1:7", "name: name should be text, got 3"),
    # values
    (6, "  rho: [0.8,\n    1.2]", "7:5", "cells.rho: rho should be in [0, 1], got 1.2"),
    (6, "  rho: -0.1", "6:8", "cells.rho: rho should be in [0, 1], got -0.1"),
    (7, "  seed: -1", "7:9", "cells.seed: seed should be a whole number in [0, 2^63 - 1], got -1"),
    (7, "  seed: 0\n  learning_rate: 0", "8:18", "learning_rate should be in [1e-12, 1000], got 0"),
    (7, "  seed: 0\n  learning_rate: 1000000", "8:18", "learning_rate should be in [1e-12, 1000], got 1000000"),
    (0, "analysis: {same_within: 101}", "9:25", "same_within should be above 1 and at most 100, got 101"),
    (0, "evaluation: {pictures: 65}", "9:24", "pictures should be at least 0 and at most 64, got 65"),
    (7, "  seed: 0\n  hidden: [200, 200]", "8:17", "the sizes of one network are joined by '-', as in 40-20"),
    (7, "  seed: 0\n  beta: 2", "8:3", "cells.beta: unknown key; docs/study.md has all that are known here"),
    (7, "  seed: 0\n  precision: float16", "8:14", "one of float32, float64, tf32, bfloat16, got the text"),
    (3, "  data: digit", "3:9", "cells.data: no 'digit' here, did you mean 'digits'?"),
    (5, "  objective: [ou, vea]", "5:19", "cells.objective: no 'vea' here, did you mean 'vae'?"),
    (4, "  latents: 10-", "4:12", "sizes are whole numbers in [1, 9999999] joined by '-', as in 40"),
    (4, "  latents: 10-10\n  hidden: 64/64/64", "5:11", "hidden '64/64/64' describes 3 layers, latents 2"),
    (1, "name: ../x", "1:7", "name should be 1 to 64 letters, digits, '.', '_' or '-'"),
    (1, "name: " + "x" * 300, "1:7", "name should be 1 to 64 letters"),
    (1, "name: a/b", "1:7", "name should be 1 to 64 letters"),
    (1, "name: ''", "1:7", "name should be 1 to 64 letters"),
    (0, "run: {executor: rai}", "9:17", "one of ray, inline, got the text 'rai', did you mean 'ray'?"),
    (0, "run: {threads: 0}", "9:16", "run.threads: threads should be at least 1 and at most 1000000000"),
    (0, "evaluation: {split: train}", "9:21", "split should be one of test, validation"),
    (0, "evaluation: {importance_samples: 0}", "9:34", "should be at least 1 and at most 1000000000, got 0"),
    (0, "evaluation: {active_threshold: 0}", "9:32", "active_threshold should be above 0, got 0"),
    (0, "analysis: {rho_ref: 1}", "9:21", "analysis.rho_ref: rho_ref should be at least 0 and below 1, got 1"),
    (0, "analysis: {control: kl_weigth}", "9:21", "steps; got 'kl_weigth': did you mean 'kl_weight'?"),
    (0, "analysis: {control: seed}", "9:21", "control should be a numeric field of a cell, or steps; got 'seed'"),
    (0, "analysis: {control: learning_rate}", "9:21", "which end of learning_rate collapses is not known"),
    (0, "analysis: {control: kl_weight}", "9:21", "control kl_weight needs a reference: its value that counts as 100"),
    (0, "analysis: {control: kl_weight, reference: 0}", "9:43", "β = 0 has no place on the scale of log β"),
    (0, "analysis: {control: kl_weight, reference: -1}", "9:43", "reference should be at least 0, got -1"),
    (0, "analysis: {control: kl_weight, reference: 1, rho_ref: 0.8}", "9:55", "rho_ref has no effect with control kl"),
    (0, "analysis: {reference: 0.8}", "9:23", "analysis.reference: for control rho it is called rho_ref"),
    (0, "analysis: {order_parameter: kl_tip}", "9:29", "order_parameter should be kl_top, kl_total or a quantity ("),
    (0, "analysis: {order_parameter: kl_tip}", "9:29", "got 'kl_tip', did you mean 'kl_top'?"),
    (0, "analysis: {order_parameter: kl_0}", "9:29", "got 'kl_0'"),
    (0, "analysis: {order_parameter: kl_3}", "9:29", "kl_3: no network of this study has more than 2 layers"),
    (0, "analysis: {control: steps, reference: 9, order_parameter: active_units_top}", "9:59", "not measured along"),
    (0, "analysis: {order_parameter: validation_active_units_1}", "9:29", "is not measured on validation images"),
    (0, "analysis: {order_parameter: validation_kl_top}", "9:29", "evaluation.every (1000) should divide train.steps"),
    (0, "analysis: {order_parameter: kl_1}\nrefine: {half_width: 0.1, cells: 9}", "9:29", "refines follows kl_top or"),
    # grids
    (6, "  rho: []", "6:8", "cells.rho: empty; give at least one value"),
    (2, "cells: []\nx:", "2:8", "cells: empty; give at least one value"),
    (7, "  seed: [0, 1, 0]", "7:16", "cells.seed: 0 is given twice"),
    (6, "  rho: [0.8, 1, 1.0]", "6:17", "cells.rho: 1 is given twice"),
    (4, "  latents: [40, '40']", "4:17", "cells.latents: 40 is given twice"),
    (6, "  rho: [1, {from: 0.8, to: 1, step: 0.1}]", "6:12", "cells.rho: 1 is given twice"),
    (6, "  rho: [1, {from: 0.8, too: 1, step: 0.1}]", "6:24", "cells.rho.too: unknown key, did you mean 'to'?"),
    (6, "  rho: [1, {from: 0.8, step: 0.1}]", "6:12", "cells.rho.to: missing; a range is {from, to, step}"),
    (6, "  rho: {from: 0.8, to: 1.1, step: 0.1}", "6:24", "cells.rho.to: to should be in [0, 1], got 1.1"),
    (6, "  rho: {from: 0.8, to: 0.9, step: 0}", "6:35", "cells.rho.step: step should be above 0, got 0"),
    (6, "  rho: {from: 0.8, to: 0.9, points: 1}", "6:37", "points should be at least 2 and at most 100000"),
    (6, "  rho: {from: 0.9, to: 0.8, step: 0.1}", "6:8", "cells.rho: from should be below to, got from 0.9 to 0.8"),
    (6, "  rho: {from: 0.8, to: 0.9}", "6:8", "cells.rho: a range has either step or points"),
    (6, "  rho: {from: 0.8, to: 1, points: 3, spacing: geometric}", "6:8", "geometric in 1 - rho needs to below 1"),
    (3, "  data: {from: a, to: b}", "3:9", "cells.data: data should be text, got a mapping"),
    (5, "  objective: vae", "6:8", "cells.rho: rho has no effect with objective vae: use objective: ou"),
    (4, "  latents: 10", "6:8", "cells.rho: rho has no effect on a single layer: p(x|z₁) is never smoothed"),
    (7, "  seed: 0\n  kl_weight_start: [0, 0.5]", "8:20", "the 2 values of kl_weight_start have no effect"),
    (7, "  seed: {from: 1, to: 90000, step: 1}\n  batch_size: {from: 1, to: 6, step: 1}", "3:3",
     "cells: 1,080,000 cells (90,000 seed × 2 rho × 6 batch_size); the most is 1,000,000"),
    # not YAML, or not a study
    (8, "train: {steps: 100", "9:1", "not valid YAML"),
    (8, "train: {steps: 100}}", "8:20", "not valid YAML"),
    (3, "\tdata: digits", "3:1", "not valid YAML"),
    (8, "train: *anchor", "8:8", "alias *anchor names no anchor before it"),
    (1, "name: !!python/object:os.system x", "1:7", "tags are not allowed"),
    (1, "name: !secret x", "1:7", "tags are not allowed"),
    (0, "---\nname: t", "9:1", "a second document starts here"),
    (8, "train: {steps: 1\0}", "8:17", r"control character '\x00'"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "text", "place", "fault"), CORPUS, ids=[f"{n}-{c[2]}" for n, c in enumerate(CORPUS)])
def test_a_fault_is_named_with_its_place(tmp_path: Path, line: int, text: str, place: str, fault: str) -> None:
    lines = BASE.splitlines()
    if line:
        lines[line - 1] = text
    else:
        lines.append(text)
    found = faults(tmp_path, "\n".join(lines) + "\n")
    assert any(one.startswith(f"s.yaml:{place}: ") and fault in one for one in found), found


def test_all_faults_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = BASE.replace("name: s", "name: a/b").replace("ou", "uo").replace("1]", "1.5]", 1)
    text = text.replace("100}", "0, kep: full}") + "runn: {}\n"
    assert [fault.split(" ")[:2] for fault in faults(tmp_path, text)] == [
        ["s.yaml:1:7:", "name:"],
        ["s.yaml:5:14:", "cells.objective:"],
        ["s.yaml:6:14:", "cells.rho:"],
        ["s.yaml:8:16:", "train.steps:"],
        ["s.yaml:8:19:", "train.kep:"],
        ["s.yaml:9:1:", "runn:"],
    ]


def test_faults_of_the_file_and_of_overrides_come_together(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(BASE.replace("steps", "stepz"), encoding="utf-8")
    with pytest.raises(StudyError) as error:
        load_study(path, ["run.workers=-1", "nonsense"])
    assert [fault.removeprefix(f"{tmp_path}/") for fault in error.value.faults] == [
        "s.yaml:8:8: train.steps: missing; training steps of every cell",
        "s.yaml:8:9: train.stepz: unknown key, did you mean 'steps'?",
        "--set run.workers=-1: run.workers: workers should be at least 0 and at most 1000000000, got -1",
        "--set nonsense: should be key=value or section.key=value, as in train.steps=1000",
    ]


def test_a_fault_in_one_of_several_blocks_is_placed_in_that_block(tmp_path: Path) -> None:
    text = BASE.replace("  data", "- data").replace("train", "- {data: digits, latents: 5, seed: 0, rho: 2}\ntrain")
    assert faults(tmp_path, text) == ["s.yaml:8:44: cells.rho: rho should be in [0, 1], got 2"]


def test_many_blocks_are_counted_together(tmp_path: Path) -> None:
    """… and refused before the first is formed."""
    block = "{data: digits, latents: 5, seed: {from: 1, to: 900, step: 1}, batch_size: {from: 1, to: 100, step: 1}}"
    text = "name: s\ntrain: {steps: 1}\ncells:\n- &b " + block + "\n" + "- *b\n" * 20
    start = time.process_time()
    assert faults(tmp_path, text) == [
        "s.yaml:4:3: cells: 90,000 cells (900 seed × 100 batch_size), 1,080,000 with the grids before; "
        "the most is 1,000,000"
    ]
    assert time.process_time() - start < 3


def test_faults_of_several_blocks_come_together(tmp_path: Path) -> None:
    blocks = "- {data: digits, latents: 5, seed: 0, rho: 0.5}\n- {data: digits, latents: 5, seed: 0, hidden: 6/6}\n"
    assert faults(tmp_path, "name: s\ntrain: {steps: 0}\ncells:\n" + blocks) == [
        "s.yaml:2:16: train.steps: steps should be at least 1 and at most 1000000000, got 0",
        "s.yaml:4:44: cells.rho: rho has no effect with objective vae: use objective: ou",
        "s.yaml:5:47: cells.hidden: hidden '6/6' describes 2 layers, latents 1",
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]", "3", "just words"])
def test_what_is_no_mapping_is_no_study(tmp_path: Path, text: str) -> None:
    assert "a study is a mapping of name, cells, train" in faults(tmp_path, text)[0]


def test_a_missing_file_names_the_nearest_there(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(BASE, encoding="utf-8")
    with pytest.raises(StudyError, match=r"quikstart\.yaml: no such file, did you mean '.*/quickstart\.yaml'\?"):
        load_study(tmp_path / "quikstart.yaml")
    with pytest.raises(StudyError, match=r"quickstart: no such file, did you mean '.*/quickstart\.yaml'\?"):
        load_study(tmp_path / "quickstart")
    with pytest.raises(StudyError, match="no such file, nor a folder"):
        load_study(tmp_path / "nowhere" / "quickstart.yaml")
    with pytest.raises(StudyError, match="cannot be read"):
        load_study(tmp_path)


@pytest.mark.parametrize("name", RANGES)
def test_the_range_that_a_fault_says_is_the_one_that_holds(tmp_path: Path, name: str) -> None:
    """Both ends of it: a value above the upper one is refused with the words in which the upper one stands."""
    low, high, words = RANGES[name]
    ends = re.fullmatch(r"(?:a whole number )?in \[(.*), (.*)\](?: \(.*\))?", words)
    assert ends and float(ends[1]) == low and float(ends[2].replace("2^63 - 1", str(2**63 - 1))) == float(high)
    beyond = high + 1 if isinstance(high, int) else high * 2
    lines = [line for line in BASE.splitlines() if not line.startswith(f"  {name}:")]
    lines.insert(2, f"  {name}: {beyond!r}")
    text = "\n".join(lines) + "\n"
    found = faults(tmp_path, text)
    assert any(f"{name} should be {words}, got " in fault for fault in found), found
