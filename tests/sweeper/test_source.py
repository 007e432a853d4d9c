"""Folders and files called `models` or `sweeper` where Python looks: the command passes them by, a script is told."""

import subprocess
import sys

import pytest
from conftest import ROOT, environment

PACKAGE = {"models/__init__.py": "print('the wrong models')", "models/net.py": ""}
MODULE = {"models.py": "print('the wrong models')"}
WEIGHTS = {"models/best.pt": ""}
ABOVE = {"sweeper/pyproject.toml": "", "sweeper/sweeper.md": ""}  # as the folder above a clone looks
LIBRARY = {"typer.py": "raise SystemExit('the wrong typer')", "queue.py": "raise SystemExit('the wrong queue')"}


@pytest.fixture
def folder(tmp_path):
    """Makes a folder of these files."""

    def make(files):
        for name, text in files.items():
            path = tmp_path / "here" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "here"

    return make


def python(*words, cwd, path=""):
    """What Python does with these words, in a folder that may stand first in PYTHONPATH."""
    places = {"PYTHONPATH": f"{path}:{ROOT}".lstrip(":"), "PYTHONWARNINGS": ""}
    return subprocess.run([sys.executable, *words], cwd=cwd, env=environment(**places), capture_output=True, text=True)


@pytest.mark.parametrize(
    "files", [PACKAGE, MODULE | LIBRARY, WEIGHTS | ABOVE], ids=["package", "modules", "folders without code"]
)
def test_the_command_runs_wherever_it_is_started(folder, tiny, files):
    study = str(tiny().path)
    done = python("-m", "sweeper", "plan", study, cwd=folder(files))
    assert done.returncode == 0 and "6 cells asked for" in done.stdout and "wrong" not in done.stdout, done.stderr


@pytest.mark.parametrize("words", [["-Pmsweeper"], ["sweeper"]])
def test_and_whatever_stands_first_on_the_path(folder, tiny, tmp_path, words):
    """The last is the script that an installation makes."""
    (tmp_path / "sweeper").write_text("from sweeper.cli import main\nmain()\n")
    words = [str(tmp_path / "sweeper")] if words == ["sweeper"] else words
    done = python(*words, "plan", str(tiny().path), cwd=folder(PACKAGE), path=".")
    assert done.returncode == 0 and "6 cells asked for" in done.stdout and "wrong" not in done.stdout, done.stderr


@pytest.mark.parametrize("files", [PACKAGE, MODULE], ids=["package", "module"])
def test_a_script_beside_another_models_is_told_at_once(folder, files):
    where = folder(files | {"mine.py": "import sweeper"})
    done = python("mine.py", cwd=where)
    fault = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and fault.startswith(f"ImportError: {where}/models"), done.stderr
    assert "rename the former" in fault and f"{ROOT}/models" in fault


def test_and_so_is_one_that_has_imported_it(folder):
    done = python("-c", "import models, sweeper", cwd=folder(PACKAGE))
    assert "ImportError: " in done.stderr.splitlines()[-1] and "is what Python imports as `models`" in done.stderr


@pytest.mark.parametrize("files", [WEIGHTS, ABOVE], ids=["weights", "above"])
def test_a_script_beside_a_folder_without_code_has_both(folder, files):
    where = folder(files | {"mine.py": "import sweeper, models\nprint(models.__file__, sweeper.load)"})
    done = python("mine.py", cwd=where)
    assert done.stdout.startswith(f"{ROOT}/models/__init__.py <function"), done.stderr


def test_an_installed_clone_comes_before_a_folder_of_its_name(tmp_path):
    """`pip install -e` writes the clone's place into a .pth file, which Python heeds before folders without code."""
    import tomllib

    made = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert made["tool"]["setuptools"]["package-dir"] == {"": "."}
