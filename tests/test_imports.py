"""Imports run one way. Read from the source, so that a forbidden one is found wherever it stands."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("models", "sweeper")
    for path in sorted((ROOT / package).rglob("*.py"))
}

# Which part of the project may know a library at all.
OWNERS = {
    "torch": (
        "models",
        "sweeper.driver.worker",
        "sweeper.driver.start",
        "sweeper.driver.states",
        "sweeper.driver.rows",
        "sweeper.driver.retries",
        "sweeper.planning.estimate",
        "sweeper.prediction",
        "sweeper.training",
        "sweeper.doctor",
    ),
    "ray": (
        "sweeper.driver.tune",
        "sweeper.driver.session",
        "sweeper.driver.ray_environment",
        "sweeper.driver.scout",
        "sweeper.driver.waiting",
        "sweeper.driver.entry",
    ),
    "pyarrow": ("sweeper.store",),
    "safetensors": ("sweeper.store",),
    "filelock": ("sweeper.store", "sweeper.cloud", "sweeper.driver.scratch"),
    "obstore": ("sweeper.cloud.objects",),
    "ruamel": ("sweeper.study.tree",),
    "pydantic": ("sweeper.study",),
    "pydantic_core": ("sweeper.study",),
    "typer": ("sweeper.cli",),
    "rich": ("sweeper.cli",),
    "matplotlib": ("sweeper.analysis.figures", "sweeper.environment"),
    "scipy": (
        "sweeper.analysis",
        "sweeper.refine",
        "models.evaluation.hermite_spectrum",
        "models.evaluation.stability",
    ),
    "sklearn": ("models.evaluation.classification",),
    "threadpoolctl": ("models.evaluation.classification",),
    "optuna": ("sweeper.refine",),
    "tensorboardX": ("sweeper.export.tensorboard",),
    "wandb": ("sweeper.export.wandb",),
    "mlflow": ("sweeper.export.mlflow",),
    "pandas": ("sweeper",),
    "psutil": (
        "sweeper.machine",
        "sweeper.doctor",
        "sweeper.driver.scratch",
        "sweeper.driver.session",
        "sweeper.driver.shutdown",
        "sweeper.driver.ray_logs",
    ),
    "certifi": ("models.data.transfer",),
    "PIL": ("models.data",),
    "numpy": ("models", "sweeper"),
}

# Which parts of the project a part may know, besides itself.
_PARTS = ("models.likelihoods", "models.priors", "models.posteriors")
_BELOW_PARTS = ("models.cell", "models.draws", "models.kernels", "models.parameters")
LAYERS = {
    "models": (),
    "models.cell": ("models.likelihoods.spec", "models.networks.biva_spec", "models.networks.ladder_resnet_spec",
                    "models.networks.ladder_spec", "models.networks.lstm_spec", "models.networks.mlp_decoder_spec",
                    "models.networks.mlp_spec",
                    "models.networks.pixelcnn_spec", "models.networks.resnet_spec", "models.networks.two_level_spec",
                    "models.objectives.spec", "models.posteriors.spec", "models.priors.spec", "models.procedures.spec",
                    "models.stack.spec"),
    "models.parameters": (),
    "models.draws": (),
    "models.data": ("models.cell", "models.draws"),
    "models.kernels": ("models.data.sources", "models.parameters"),
    **dict.fromkeys(_PARTS, _BELOW_PARTS),
    # types of arguments
    "models.networks": (*_PARTS, *_BELOW_PARTS, "models.objectives.paths", "models.objectives.smoothing",
                        "models.objectives.spec"),
    "models.objectives": ("models.networks", *_BELOW_PARTS),
    "models.stack": (
        "models.objectives", "models.networks", "models.data", "models.procedures.procedure", *_BELOW_PARTS,
    ),
    "models.procedures": (
        "models.stack", "models.objectives", "models.networks", "models.evaluation", *_BELOW_PARTS,
    ),
    "models.evaluation": ("models.stack", "models.objectives", "models.networks", "models.data", *_BELOW_PARTS),
    "sweeper.source": (),
    "sweeper.errors": (),
    "sweeper.wording": (),
    "sweeper.environment": (),
    "sweeper.machine": (),
    "sweeper.store": ("sweeper.errors", "models.cell"),
    "sweeper.cloud": ("sweeper.errors", "sweeper.store", "models.data.sources"),
    "sweeper.parameters": ("models.cell",),
    "sweeper.study": ("sweeper.errors", "sweeper.parameters", "models"),
    "sweeper.analysis": ("sweeper.store", "sweeper.errors", "sweeper.parameters", "models.cell"),
    "sweeper.planning.settled": ("sweeper.store", "sweeper.study"),
    "sweeper.refine": ("sweeper.analysis", "sweeper.parameters", "models.cell"),
    "sweeper.export": ("sweeper.errors",),
    "sweeper.planning": (
        "sweeper.errors", "sweeper.machine", "sweeper.store", "sweeper.study", "sweeper.parameters",
        "sweeper.refine", "models",
    ),
    "sweeper.status": (
        "sweeper.cloud", "sweeper.errors", "sweeper.machine", "sweeper.planning", "sweeper.store", "sweeper.study",
        "sweeper.wording", "models.cell",
    ),
    "sweeper.report": (
        "sweeper.analysis", "sweeper.environment", "sweeper.errors", "sweeper.planning", "sweeper.store",
        "sweeper.study", "models.cell",
    ),
    "sweeper.drawn": ("sweeper.errors", "sweeper.planning", "sweeper.store", "sweeper.study"),
    "sweeper.driver": (
        "sweeper.environment", "sweeper.errors", "sweeper.machine", "sweeper.planning",
        "sweeper.provenance", "sweeper.source", "sweeper.store", "sweeper.wording", "models",
    ),
}  # fmt: skip

WITHOUT_TORCH = (
    "models.cell",
    "models.evaluation.settings",
    "models.likelihoods.spec",
    "models.networks.biva_spec",
    "models.networks.convolution_spec",
    "models.networks.ladder_resnet_spec",
    "models.networks.ladder_spec",
    "models.networks.lstm_spec",
    "models.networks.mlp_decoder_spec",
    "models.networks.mlp_spec",
    "models.networks.pixelcnn_spec",
    "models.networks.resnet_spec",
    "models.networks.two_level_spec",
    "models.objectives.spec",
    "models.posteriors.spec",
    "models.priors.spec",
    "models.procedures.spec",
    "models.stack.spec",
    "models.data",
    "sweeper",
)


def within(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


@cache
def imports(module: str) -> list[tuple[str, bool]]:
    """What a module imports anywhere, and whether that happens as soon as it is itself imported."""
    return list(_found(ast.parse(FILES[module].read_text(encoding="utf-8")).body, at_once=True))


def _found(nodes: list[ast.stmt], at_once: bool) -> Iterator[tuple[str, bool]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            submodules = [f"{node.module}.{a.name}" for a in node.names if f"{node.module}.{a.name}" in FILES]
            yield from ((name, at_once) for name in [node.module, *submodules])
        else:
            runs = not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            runs &= not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
            for body in ("body", "orelse", "finalbody", "handlers"):
                for child in getattr(node, body, []):
                    inner = child.body if isinstance(child, ast.ExceptHandler) else [child]
                    yield from _found(inner, at_once and (runs or body != "body"))


@cache
def loaded_by(module: str) -> frozenset[str]:
    """Every module and library that importing `module` imports at once, directly or not."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in FILES:
            waiting += [imported for imported, at_once in imports(name) if at_once]
            waiting += [name.rpartition(".")[0]] if "." in name else []
    return frozenset(name if name in FILES else name.split(".")[0] for name in seen)


# What may know the command line: itself, `python -m sweeper`, and the function that shows what a command shows.
ABOVE_THE_COMMANDS = ("sweeper.cli", "sweeper.__main__", "sweeper.training")

# What knows the standard streams. All lines go through the first; the next three ask whether a stream is a terminal, or
# prepare and flush it. Below the command line: a worker's log goes to the stderr of its process, from where Ray may
# bring it to the driver; the process that looks at a cluster answers the one that started it; a download without a word
# would look like a program that hangs.
PRINTS = (
    "sweeper.cli.output", "sweeper.cli.entry", "sweeper.cli.progress", "sweeper.cli.commands.stores",
    "sweeper.driver.log", "sweeper.driver.scout", "models.data.transfer",
)  # fmt: skip


@pytest.mark.parametrize("module", FILES)
def test_words_for_people_are_in_the_command_line(module):
    """Nothing below it imports it, and nothing else prints."""
    if not within(module, ABOVE_THE_COMMANDS):
        assert not [name for name, _ in imports(module) if within(name, ("sweeper.cli",))]
    if not within(module, PRINTS):
        assert not list(_printing(ast.parse(FILES[module].read_text(encoding="utf-8"))))


def _printing(tree: ast.AST) -> Iterator[str]:
    """What writes to the standard streams, or could."""
    for node in ast.walk(tree):
        called = isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "os.write", "input")
        named = isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr")
        if called or named:
            yield ast.unparse(node)


def test_what_prints_is_seen():
    """By name, by stream and by descriptor."""
    said = ["print(1)", "sys.stderr.write('a')", "os.write(2, b'a')", "print(1, file=sys.stdout)"]
    assert [len(list(_printing(ast.parse(line)))) for line in said] == [1, 1, 1, 2]
    assert not list(_printing(ast.parse("show(1)\nsubprocess.run(stderr=1).stdout")))


@pytest.mark.parametrize("module", FILES)
def test_a_module_knows_only_what_its_part_may(module):
    """Libraries by their owners, other parts of the project by the layers, imports in functions included."""
    for name, _ in imports(module):
        top = name.split(".")[0]
        if top in ("models", "sweeper"):
            for part, allowed in LAYERS.items():
                if within(module, (part,)):
                    assert within(name, (part, *allowed)), f"{module} imports {name}"
        elif top not in sys.stdlib_module_names:
            assert top in OWNERS, f"{module} imports {top}, which no part owns: add it to OWNERS and pyproject.toml"
            assert within(module, OWNERS[top]), f"{module} imports {top}"


WORKERS = tuple(f"sweeper.driver.{name}" for name in ("worker", "start", "states", "rows", "retries"))


@pytest.mark.parametrize("module", [m for m in FILES if within(m, WITHOUT_TORCH) and m not in WORKERS])
def test_torch_is_loaded_by_workers_only(module):
    """Planning, status, reports and loading answer without it."""
    assert "torch" not in loaded_by(module)


def test_help_loads_nothing_heavy():
    """The command line imports what a command needs when it needs it."""
    heavy = {"torch", "ray", "optuna", "pandas", "pyarrow", "matplotlib", "scipy", "numpy", "pydantic", "rich"}
    ours = {"models", "sweeper.run", "sweeper.store", "sweeper.study"}
    assert not (heavy | ours) & loaded_by("sweeper.cli")


def test_importing_sweeper_loads_nothing():
    """Nothing of its own but what sees to which `models` is imported, and of others what Python has loaded anyway; its
    functions load what they need when they are called."""
    anyway = {"importlib", "itertools", "os", "pathlib", "sys", "types", "typing", "__future__"}
    assert loaded_by("sweeper") <= {"sweeper", "sweeper.source"} | anyway


def test_the_reader_of_imports_sees_them():
    """It follows chains, and tells imports that run at once from those in functions and for types alone."""
    assert {"torch", "models.stack.stack", "numpy"} <= loaded_by("sweeper.driver.worker")
    assert ("ray", False) in imports("sweeper.driver.tune")
    assert ("pandas", False) in imports("sweeper")
    assert ("models.data", False) in imports("sweeper.run")
