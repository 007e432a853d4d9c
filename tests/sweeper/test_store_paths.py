"""One class knows where everything of a store lies: read from the source, and by what its paths are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sweeper
from sweeper.store.paths import StorePaths

ROOT = Path(sweeper.__file__).parent
OWNER = "store/paths.py"
HANDLERS = ("store/", "cloud/")  # these work on files of a store, so none of what they join could be another folder's
SUFFIXES = ("with_name", "with_suffix", "with_stem", "joinpath")
BESIDE = {
    "store/atomic.py": "the temporary file beside whatever file is written",
    "cloud/__init__.py": "name and lock of a working copy, beside the store and not inside it",
}


def joins(source: str, handler: bool) -> list[int]:
    """Lines that form a path inside a store: `paths.cells / name`, and in a handler of its files any other join."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            number = isinstance(node.right, ast.Constant) and isinstance(node.right.value, int | float)
            of_paths = any(isinstance(each, ast.Attribute) and each.attr == "paths" for each in ast.walk(node.left))
            of_paths |= any(isinstance(each, ast.Name) and each.id == "paths" for each in ast.walk(node.left))
            if of_paths or (handler and not number):
                found.append(node.lineno)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_os = ast.unparse(node.func) == "os.path.join"
            if handler and (of_os or node.func.attr in SUFFIXES):
                found.append(node.lineno)
    return found


def test_only_store_paths_joins_paths_inside_a_store():
    modules = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
    faults = [
        f"sweeper/{name}:{line}"
        for name, path in modules.items()
        if name != OWNER and name not in BESIDE
        for line in joins(path.read_text(encoding="utf-8"), name.startswith(HANDLERS))
    ]
    assert not faults, f"a path inside a store is formed outside {OWNER}: {', '.join(faults)}"


@pytest.mark.parametrize(
    ("source", "handler", "found"),
    [
        ("store.paths.log / f'{attempt}.log'", False, True),
        ("paths.superseded / 'cells' / name", False, True),
        ("Path(folder) / name", True, True),
        ("path.with_suffix('.safetensors')", True, True),
        ("os.path.join(root, name)", True, True),
        ("folder / 'report.html'", False, False),
        ("age / 60", True, False),
        ("store.paths.log_file(attempt)", True, False),
    ],
)
def test_the_reader_of_joins_sees_them(source, handler, found):
    assert bool(joins(source, handler)) == found


def test_where_everything_lies(tmp_path):
    """The layout of a store is a file format: these names stand in stores that exist."""
    paths, row = StorePaths(tmp_path), "0123456789ab-000000500-abcd.parquet"
    lie = {
        paths.new_row("cells", row): f"rows/cells/{row}",
        paths.new_row("history", row): f"rows/history/{row}",
        paths.part("cells", "part-000001.parquet"): "cells/part-000001.parquet",
        paths.part("history", "part-000001.parquet"): "history/part-000001.parquet",
        paths.picture(row): f"pictures/{row.removesuffix('.parquet')}.png",
        paths.superseded_row("cells", row): f"superseded/cells/{row}",
        paths.superseded_row("history", row): f"superseded/history/{row}",
        paths.superseded_picture(row): f"superseded/pictures/{row.removesuffix('.parquet')}.png",
        paths.progress("a1"): "running/a1/progress.json",
        paths.hung("a1"): "running/a1/hung.json",
        paths.kept("0123456789ab"): "checkpoints/0123456789ab",
        paths.log_file("a1"): "log/a1.log",
        paths.failure("0123456789ab"): "log/failures/0123456789ab.json",
        paths.analysis_file("report.html"): "analysis/report.html",
        paths.compacted("cells"): "cache/cells.parquet",
        paths.inside("cells/x"): "cells/x",
    }
    assert {path.relative_to(tmp_path).as_posix() for path in lie} == set(lie.values())
    assert all(path == tmp_path / name for path, name in lie.items())


def test_a_commit_of_an_earlier_version_is_found_where_that_put_it(tmp_path):
    paths, row = StorePaths(tmp_path), "0123456789ab-000000500-abcd.parquet"
    assert paths.row("cells", row) == paths.new_row("cells", row)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / row).touch()
    assert paths.row("cells", row) == tmp_path / "cells" / row


def test_a_file_is_put_aside_under_a_name_that_is_free(tmp_path):
    paths = StorePaths(tmp_path)
    paths.aside.mkdir()
    torn = paths.inside("cells/torn")
    for expected in ("cells-torn", "cells-torn.2", "cells-torn.3"):
        target = paths.quarantined(torn)
        assert (target.name, paths.reason(target).name) == (expected, f"{expected}.reason.json")
        target.touch()


def test_walking_a_store_names_every_file_from_its_root(tmp_path):
    paths = StorePaths(tmp_path)
    for name in ("store.json", "cells/a", "log/failures/b"):
        paths.inside(name).parent.mkdir(parents=True, exist_ok=True)
        paths.inside(name).touch()
    assert sorted(paths.walk()) == ["cells/a", "log/failures/b", "store.json"]
    assert all(paths.inside(name).is_file() for name in paths.walk())
