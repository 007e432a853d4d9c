"""What an installed sweeper is: its files, its version and its types; and the pages and checks that go with it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import sweeper
from models.cell import registry
from models.evaluation.settings import EVALUATION_SEMANTICS
from sweeper.store import CELL_COLUMNS, HISTORY_COLUMNS, SCHEMA_VERSION

ROOT = Path(__file__).parents[1]
PACKAGED = ("pyproject.toml", "README.md", "LICENSE", "models", "sweeper", "tests")
IMAGES = ("cluster/Dockerfile", "cluster/kuberay.yaml", "docs/cluster.md")  # they name the container with its version
SHIPPED = {".py", ".c", ".h", ".css", ".js", ".mplstyle", ".typed"}  # of the two packages' files


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def yaml(name: str):
    return YAML(typ="safe", pure=True).load(read(name))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the sources: in the checkout older builds might add files to it."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info", "stores")
    for name in PACKAGED:
        source, target = ROOT / name, folder / "source" / name
        shutil.copytree(source, target, ignore=skipped) if source.is_dir() else shutil.copy(source, target)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*build, "-w", folder, folder / "source"], capture_output=True, text=True, timeout=300, cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    """What the wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The Python of an environment that has the wheel, and the libraries of this one; nothing of the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    libraries = [each for each in sys.path if Path(each).name == "site-packages"]
    (packages / "libraries.pth").write_text("\n".join(libraries))  # .pth files in these are not followed
    return folder / "bin" / "python"


def python(executable: Path, *argv: str, where: Path) -> subprocess.CompletedProcess[str]:
    """A Python in a folder of its own, without this one's variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MYPY", "COV"))}
    return subprocess.run(
        [executable, *argv], cwd=where, env=kept, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_wheel_has_every_file_of_both_packages_and_no_other(wheel):
    """The C source, the report's styles and scripts, py.typed and the licence among them; no tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    found = {each for each in names if ".dist-info/" not in each}
    there = {
        path.relative_to(ROOT).as_posix()
        for package in ("models", "sweeper")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert found == there
    assert {Path(name).suffix or Path(name).name for name in there} == SHIPPED
    assert {"models/py.typed", "sweeper/py.typed"} <= found
    assert sum(name.endswith(".dist-info/licenses/LICENSE") for name in names) == 1


def test_the_container_is_built_from_the_files_that_the_wheel_is_built_from():
    copied = [line.split()[2:-1] for line in read("cluster/Dockerfile").splitlines() if line.startswith("COPY ")]
    assert {name for names in copied for name in names} == {*PACKAGED, "constraints.txt"} - {"tests"}


def test_the_wheel_says_what_it_is(metadata):
    assert metadata["License-Expression"] == "MIT" and metadata["Author"] == "the sweeper authors"
    assert metadata["Requires-Python"] == ">=3.11" and metadata.get_payload().startswith("# sweeper\n")
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert read("LICENSE").startswith("MIT License\n") and "the sweeper authors" in read("LICENSE")


def test_there_is_one_version(metadata, installed, tmp_path):
    """That of sweeper/__init__.py; the wheel, the command, the citation and the container's tag say the same."""
    assert "version" not in tomllib.loads(read("pyproject.toml"))["project"]
    assert metadata["Version"] == yaml("CITATION.cff")["version"] == sweeper.__version__
    assert re.search(rf"^## {re.escape(sweeper.__version__)}\b", read("CHANGELOG.md"), re.MULTILINE)
    images = [re.findall(r"/sweeper:(\S+)", read(name)) for name in IMAGES]
    assert all(images) and {tag for tags in images for tag in tags} == {sweeper.__version__}
    shown = python(installed, "-m", "sweeper", "--version", where=tmp_path)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, f"sweeper {sweeper.__version__}\n", "")


def test_a_program_that_imports_the_installed_packages_is_checked_against_their_types(installed, tmp_path):
    """As py.typed promises: mypy finds the types of both packages, and a wrong argument."""
    (tmp_path / "uses.py").write_text(
        "from models.cell import Cell\n"
        "import sweeper\n"
        "reveal_type(Cell(data='digits', latents='4', seed=0).id('digest', {}))\n"
        "reveal_type(sweeper.train)\n"
        "sweeper.load(1)\n"
    )
    (tmp_path / "mypy.ini").write_text(  # libraries are taken as they come: their own types take minutes to read
        "[mypy]\nfollow_imports = skip\n[mypy-models.*,sweeper.*]\nfollow_imports = silent\n"
    )
    mypy = ("-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", str(tmp_path / "cache"))
    checked = python(Path(sys.executable), *mypy, "--python-executable", str(installed), "uses.py", where=tmp_path)
    first, second, third, *_ = checked.stdout.splitlines() + [checked.stderr] * 3
    assert 'Revealed type is "str"' in first, checked.stdout + checked.stderr
    assert "sweeper.training.Trained" in second
    assert 'Argument 1 to "load" has incompatible type "int"' in third


def test_the_citation_names_the_paper():
    cited = yaml("CITATION.cff")
    assert cited["cff-version"] == "1.2.0" and cited["license"] == "MIT" and cited["title"].startswith("sweeper")
    (paper,) = cited["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Pervez", "Gavves"]
    assert paper["title"] == "Spectral Smoothing Unveils Phase Transitions in Hierarchical Variational Autoencoders"
    assert (paper["year"], paper["volume"]) == (2021, 139)
    assert paper["title"] in " ".join(read("README.md").split())


def test_the_changes_name_every_schema_version_with_its_columns_and_every_raised_meaning():
    changes = read("CHANGELOG.md")
    sections = dict(re.findall(r"^### Schema version (\d+).*?\n(.*?)(?=^##)", changes, re.MULTILINE | re.DOTALL))
    assert [int(version) for version in sections] == list(range(SCHEMA_VERSION, 0, -1))
    for column in [*CELL_COLUMNS, *HISTORY_COLUMNS]:
        for version in {column.since, column.changed} - {1}:
            assert f"`{column.name}`" in sections[str(version)], f"{column.name}: schema version {version}"
    raised = [
        f"`{name}` {entry.semantics}"
        for entries in registry.REGISTRIES.values()
        for name, entry in entries.items()
        if entry.semantics > 1
    ]
    raised += [f"evaluation {EVALUATION_SEMANTICS}"] * (EVALUATION_SEMANTICS > 1)
    (semantics,) = re.findall(r"^### Semantics\n(.*?)(?=^##|\Z)", changes, re.MULTILINE | re.DOTALL)
    assert all(each in semantics for each in raised), raised
    assert ("All are 1." in semantics) == (not raised)


def test_every_place_that_checks_a_change_runs_the_same_commands():
    """`.ci/run`, the commit hooks and the page for contributors; the workflow calls `.ci/run`."""
    script = read(".ci/run")
    checks = re.findall(r"^(\.venv/bin/.*)$", script, re.MULTILINE)
    assert checks == [".venv/bin/ruff check .", ".venv/bin/ruff format --check .", ".venv/bin/mypy"]
    (hooks,) = (repository["hooks"] for repository in yaml(".pre-commit-config.yaml")["repos"])
    assert [hook["entry"] for hook in hooks] == checks
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in hooks)
    assert all(check in read("CONTRIBUTING.md") for check in checks)
    steps = yaml(".github/workflows/ci.yml")["jobs"]["checks"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_readme_shows_the_quickstart_first_and_then_the_test_command_that_the_checks_run():
    """`.ci/run` takes the second fenced block."""
    first, second, *_ = re.findall(r"^```\n(.*?)^```", read("README.md"), re.MULTILINE | re.DOTALL)
    assert shlex.split(first)[-3:] == [".venv/bin/sweeper", "run", "studies/quickstart.yaml"]
    assert shlex.split(second)[-5:] == [".venv/bin/pytest", "-n", "2", "--dist", "loadfile"]
    picked = "/^```/ { fence++; next } fence == 3"
    assert picked in read(".ci/run")
    taken = subprocess.run(["awk", picked, ROOT / "README.md"], capture_output=True, text=True, check=True).stdout
    assert taken == second


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_and_paths_of_the_pages_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", read(page), flags=re.MULTILINE | re.DOTALL)
    links = [each for each in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in each]
    paths = re.findall(r"`((?:\.ci|models|sweeper|tests|studies|benchmarks|docs)/[\w./-]+\.\w+)`", text)
    assert links or paths
    for name in [*links, *paths]:
        assert (ROOT / name).exists() or "version-N" in name, name
