"""YAML 1.2 scalars, and text that would blow up or mislead a naive reader."""

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.errors import StudyError
from sweeper.study import load_study
from sweeper.study.source import MAX_BYTES
from sweeper.study.tree import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("y", "y"), ("off", "off"),  # YAML 1.1: False, True, …
        ("1e-3", 0.001), ("1E3", 1000.0), ("1.", 1.0), (".5", 0.5), ("-.5e+1", -5.0),  # 1.1: the text '1e-3'
        ("012", 12), ("0o17", 15), ("0x1F", 31), ("+3", 3),  # 1.1: 10
        ("22:30", "22:30"), ("1_000", "1_000"),  # 1.1: 1350, 1000
        ("2000-10-10", "2000-10-10"),  # 1.1: a date
        ("true", True), ("False", False), ("~", None), ("null", None), ("", None), ("none", "none"),
        ("'true'", "true"), ('"3"', "3"), ("10-10-10", "10-10-10"), ("200-200/100", "200-200/100"),
        ("-.inf", float("-inf")), ("nan", "nan"), ("1e400", float("inf")), ("9" * 30, int("9" * 30)),
    ],
)  # fmt: skip
def test_a_scalar_is_what_yaml_1_2_says(text: str, value: Any) -> None:
    found = parse(f"key: {text}\n", "s.yaml").value["key"].value
    assert found == value
    assert type(found) is type(value)


def test_places_count_from_one() -> None:
    tree = parse("a:\n  - 1\n  - {b: 2}\n", "s.yaml")
    assert (tree.keys["a"], tree.value["a"].place) == ("s.yaml:1:1", "s.yaml:2:3")
    assert tree.value["a"].value[1].value["b"].place == "s.yaml:3:9"
    assert tree.plain() == {"a": [1, {"b": 2}]}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\n? [1]\n: 2\nb: [", "s.yaml:2:3: a key should be text"),  # of two faults the first in the text
        ("a: &a 1\n? *a\n: 2\n", "s.yaml:2:3: a key should be text"),  # where the alias stands, not what it names
        ("<<: 1\nb: [", "s.yaml:1:1: << takes over the keys of a mapping"),
        ("a: 1\nb: 2\na: 3\nb: 4\n", "s.yaml:3:1: a: key given twice (first at s.yaml:1:1)"),
        ("a: !!int 3\n", "s.yaml:1:4: tag 'tag:yaml.org,2002:int': tags are not allowed"),
        ("a: ! 3\n", "s.yaml:1:4: tag '!': tags are not allowed"),
        ("a: [1,\nb: 2\n", "s.yaml:3:1: not valid YAML: while parsing a flow sequence"),
        ("a: &a [x]\n---\nb: *a\n", "s.yaml:2:1: a second document starts here"),
    ],
)
def test_faults_stand_where_they_are_written(text: str, fault: str) -> None:
    with pytest.raises(StudyError) as error:
        parse(text, "s.yaml")
    assert error.value.faults[0].startswith(fault)


def test_an_anchor_is_known_once_its_node_has_ended() -> None:
    """So a name that is given twice means the earlier value inside the later one, and no node holds itself."""
    tree = parse("a: &a 1\nb: &a [*a]\nc: *a\nkey: *a\n", "s.yaml")
    assert tree.plain() == {"a": 1, "b": [1], "c": [1], "key": [1]}
    assert parse("x: &k key\n*k : 2\n", "s.yaml").plain() == {"x": "key", "key": 2}
    assert (tree.value["c"].size, tree.value["c"].depth, tree.size, tree.depth) == (2, 2, 8, 3)


def bomb(levels: int = 9) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (bomb(), "more than 100,000 values once aliases are expanded"),
        ("a: &a [" + "x, " * 2000 + "]\nb: [" + "*a, " * 60 + "]", "more than 100,000 values once aliases"),
        ("a: &a 1\nb: [" + "*a, " * 101 + "]", "more than 100 aliases"),
        ("a: &a [*a]", "names no anchor before it"),
        ("[" * 5000, "nested more than 50 levels deep"),
        ("[\n" * 5000, "nested more than 50 levels deep"),
        ("- " * 5000, "nested more than 50 levels deep"),
        ("{a: " * 5000, "nested more than 50 levels deep"),
        ("\n".join(f"{' ' * n}a:" for n in range(300)), "nested more than 50 levels deep"),
        ("a: &a " + "[" * 30 + "]" * 30 + "\nb: " + "[" * 30 + "*a" + "]" * 30, "nested more than 50 levels deep"),
        ("a: [" + "1, " * 20_000 + "]", "more than 10,000 values"),
        ("#" * (MAX_BYTES + 1), "larger than 250,000 bytes"),
        ("a: " + "x " * 499_000, "larger than 250,000 bytes"),
        ("a: 1\n---\nb: 2\n", "a second document starts here"),
        ("%TAG ! tag:evil,2000:\n---\na: 1\n", "%TAG is not allowed"),
        ("a: !!python/object/apply:os.system [id]", "tags are not allowed"),
        ("a: \x00", "control character"),
        ("a: \x1b[31m", "control character"),
    ],
)
def test_what_would_explode_or_execute_is_refused_fast(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    start = time.process_time()
    with pytest.raises(StudyError) as error:
        load_study(path)
    assert time.process_time() - start < 3  # its own time, whatever else the machine does: below 1 s
    assert fault in str(error.value)
    assert len(error.value.faults) == 1
    assert len(str(error.value)) < 300 + len(str(path))


def test_bytes_that_are_no_text_are_placed(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"name: s\nquestion: caf\xe9\n")
    with pytest.raises(StudyError, match=r"s\.yaml:2:14: not UTF-8 text \(byte 0xe9, in Windows-1252 or Latin-1 'é'\)"):
        load_study(path)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    text = "name: s\ncells: {data: digits, latents: 5, seed: 0}\ntrain: {steps: 1}\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_study(path).name == "s"


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_question_survives_being_written(tmp_path_factory: pytest.TempPathFactory, question: str) -> None:
    """Text that looks like a number, a date, null or YAML stays text on the way to a store and back."""
    path = tmp_path_factory.mktemp("q") / "s.yaml"
    path.write_text(
        "name: s\ncells: {data: digits, latents: 2000-10-10, seed: 0}\ntrain: {steps: 1}\n", encoding="utf-8"
    )
    study = load_study(path)
    asked = study.__class__(**{**vars(study), "question": question})
    path.write_text(asked.to_yaml(), encoding="utf-8", newline="")
    assert load_study(path) == asked


@settings(max_examples=200, deadline=None)
@given(st.text("abn[]{}:,-#&*!|>'\"%@?~ \n\t0.1", max_size=60))
def test_no_text_raises_anything_but_a_study_error(text: str) -> None:
    try:
        parse(text, "s.yaml")
    except StudyError as error:
        assert all(fault.startswith("s.yaml:") for fault in error.faults)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("%YAML 1.3\n---\na: 1\n", "not valid YAML: version minor part can only be 2 or 1"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1\n", "not valid YAML: "),
        ('a: "\\U00110000"\n', "not valid YAML: "), ('a: "\\UFFFFFFFF"\n', "not valid YAML: "),
        ("a:\n\tb: 1\n", "s.yaml:2:1: not valid YAML: a tab: YAML wants spaces"),
        ("a:\t1\n", "s.yaml:1:3: not valid YAML: a tab: YAML wants spaces"),
    ],
)  # fmt: skip
def test_what_the_yaml_library_asserts_is_a_study_error_too(text: str, fault: str) -> None:
    with pytest.raises(StudyError) as error:
        parse(text, "s.yaml")
    assert str(error.value).startswith("s.yaml:") and fault in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-16", "UTF-16,"), ("utf-16-le", "UTF-16 (little-endian"), ("utf-16-be", "UTF-16 (big-endian"),
        ("utf-32", "UTF-32,"),
    ],
)  # fmt: skip
def test_text_of_another_encoding_is_named(tmp_path: Path, encoding: str, named: str) -> None:
    """As Windows' editors and `Out-File` write it, with their mark and without."""
    path = tmp_path / "s.yaml"
    path.write_bytes(STUDY.encode(encoding))
    with pytest.raises(StudyError) as error:
        load_study(path)
    assert f"it seems to be {named}" in str(error.value) and "should be UTF-8 text" in str(error.value)
    path.write_bytes(STUDY.encode("utf-8-sig"))
    assert load_study(path).name == "s"


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    for start, named in ((b"PAR1", "a Parquet file"), (b"\x1f\x8b\x08", "a gzip file"), (b"PK\x03\x04", "a zip file")):
        (tmp_path / "s.yaml").write_bytes(start + bytes(100))
        with pytest.raises(StudyError, match=f"it seems to be {named}"):
            load_study(tmp_path / "s.yaml")


STUDY = """name: s
cells:
  - &base {data: digits, latents: 3-2, seed: 0, learning_rate: 0.01}
  - {<<: *base, objective: ou, rho: 0.9}
  - {learning_rate: 0.02, <<: [{hidden: 7, learning_rate: 5}, *base]}
train: {steps: 10}
"""


def test_merge_keys_take_over_what_a_mapping_does_not_say_itself(tmp_path: Path) -> None:
    """Its own keys stand wherever they are written, and of several mappings the first. The store writes it out."""
    path = tmp_path / "s.yaml"
    path.write_text(STUDY, encoding="utf-8")
    study = load_study(path)
    assert [(cell.rho, cell.learning_rate, cell.hidden) for cell in study.cells] == [
        (1.0, 0.01, "200-200"), (0.9, 0.01, "200-200"), (1.0, 0.02, "7")
    ]  # fmt: skip
    path.write_text(study.to_yaml(), encoding="utf-8")
    assert "<<" not in study.to_yaml() and load_study(path).cells == study.cells
    assert parse('"<<": 3', "s.yaml").plain() == {"<<": 3}  # in quotes it is a key like any other


def test_a_fault_that_merge_keys_spread_is_told_once_where_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(STUDY.replace("seed: 0", "seed: -1, depht: 3").replace("0.9", "1.9"), encoding="utf-8")
    with pytest.raises(StudyError) as error:
        load_study(path)
    places = [fault.removeprefix(f"{path}:").split(" ")[:2] for fault in error.value.faults]
    assert places == [["3:46:", "cells.seed:"], ["3:50:", "cells.depht:"], ["4:37:", "cells.rho:"]]
    path.write_text("name: s\ncells: {<<: 3}\n", encoding="utf-8")
    with pytest.raises(StudyError, match=r"2:9: << takes over the keys of a mapping or of a list"):
        load_study(path)
