"""The names a cell may use: data sets, networks, objectives and procedures.

An entry says where the code lives (imported when first asked for, so that planning never loads torch) and carries what
a cell's identity needs: a data set's digest, or a `semantics` number, raised whenever the same fields of a cell come to
mean another computation. Adding one is one new file and one line here: see docs/adding.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from typing import Any

from models.cell.cell import Cell
from models.cell.size import Size


@dataclass(frozen=True)
class Entry:
    """Where a registered name's code lives (`module:attribute`), and what identity and planning need of it.

    - `semantics`: of a network, objective or procedure; `digest`: of a data set's decoded content.
    - `features`: of a data set, numbers in an image; `validation`, `test`: images in these splits (0: not known).
    - `samples`: of an objective, ancestral chains per image in training (1 for the ELBO).
    - `size`: of a network, `module:function` of (cell, features, samples) → `models.cell.size.Size`, importable without
      torch; `max_stack`: most cells it can train in one stack (0: no limit of its own).
    """

    target: str
    semantics: int = 1
    digest: str = ""
    features: int = 0
    validation: int = 0
    test: int = 0
    samples: int = 1
    size: str = ""
    max_stack: int = 0

    def load(self) -> Any:
        """Import and return the registered object."""
        return _imported(self.target)

    def measure(self, cell: Cell, features: int, samples: int) -> Size:
        """What one cell of this network needs."""
        size: Size = _imported(self.size)(cell, features, samples)
        return size


def _imported(target: str) -> Any:
    module, attribute = target.split(":")
    return getattr(import_module(module), attribute)


DATASETS: dict[str, Entry] = {
    "digits": Entry(
        "models.data.digits:load",
        digest="0998bebc977cdae47428355719d6dc51ab5fc1ead7306301b2e4529e5500a206",
        features=64,
        validation=200,
        test=300,
    ),
    "mnist": Entry(
        "models.data.mnist:load",
        digest="2c57f75e2a0bb380faec0951536566f4b11aa664cfe42a62cc64043e9d886436",
        features=784,
        validation=10_000,
        test=10_000,
    ),
    "mnist_static": Entry(
        "models.data.mnist:load_static",
        digest="69ea9e1ec13b9c1a3f2416b1f6e5a51a7d1bbb05a94839a90211251e03e0a644",
        features=784,
        validation=10_000,
        test=10_000,
    ),
    "omniglot": Entry(
        "models.data.omniglot:load",
        digest="8fca64fffe20f0d6f2095163cd3f8dd85dd3e329133a70859a7e9d3770fc09e7",
        features=784,
        validation=1_345,
        test=8_115,
    ),
}

NETWORKS: dict[str, Entry] = {
    "mlp": Entry("models.networks.mlp:HierarchicalMLP", size="models.cell.size:mlp"),
    "null_mlp": Entry("models.networks.null_mlp:NullMLP", size="models.cell.size:null_mlp"),
}

OBJECTIVES: dict[str, Entry] = {
    "vae": Entry("models.objectives.elbo:Vae"),
    "ou": Entry("models.objectives.elbo:OrnsteinUhlenbeck"),
}

PROCEDURES: dict[str, Entry] = {
    "joint": Entry("models.procedures.joint:Joint"),
    "continue": Entry("models.procedures.joint:Joint"),  # from another cell's weights: see `models.cell.continuation`
}

REGISTRIES = {"data": DATASETS, "network": NETWORKS, "objective": OBJECTIVES, "procedure": PROCEDURES}


class UnknownName(ValueError):
    """A name that no registry holds; the message has the nearest one that does."""


def find(field: str, name: str) -> Entry:
    """The entry of `name` in the registry of cell field `field`. Raises UnknownName."""
    registry = REGISTRIES[field]
    if field == "procedure":
        name = str(name).split(" ")[0]
    if name not in registry:
        near = get_close_matches(str(name), registry, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise UnknownName(f"{field}: no {name!r} here{hint} (there are {', '.join(registry)})")
    return registry[name]


@lru_cache(maxsize=65536)
def cell_id(cell: Cell) -> str:
    """The cell's id, with the digest and the semantics numbers of the names it uses. Raises UnknownName."""
    cell = cell.canonical()
    semantics = {field: find(field, getattr(cell, field)).semantics for field in ("network", "objective", "procedure")}
    return cell.id(find("data", cell.data).digest, semantics)


def cell_size(cell: Cell) -> Size:
    """Parameters, operations and memory of one cell, for planning. Raises UnknownName."""
    shape, objective = cell.shape(), find("objective", cell.objective)
    if shape not in _SIZES:  # of ten thousand cells a few shapes are measured
        features = find("data", cell.data).features
        _SIZES[shape] = find("network", cell.network).measure(cell, features, objective.samples)
    return _SIZES[shape]


_SIZES: dict[tuple[Any, ...], Size] = {}
