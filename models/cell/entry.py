"""What is said of a registered name: where its code lives, and what a cell's identity and a plan need of it.

The names themselves are in `models.cell.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from models.cell.fields import Option, options_of
from models.cell.sequence_shape import Shape
from models.cell.size import Size
from models.likelihoods.spec import one_per_channel

KINDS = {  # of a data set's values, in words
    "binary": "pixels",
    "probability": "pixels",
    "levels": "256 levels",
    "real": "real values",
    "tokens": "sequences of symbols",
}


@dataclass(frozen=True)
class NoOptions:
    """Of a part that has none."""


@dataclass(frozen=True, eq=False)  # one of a kind, and a key of what is remembered about it
class Entry:
    """Where a registered name's code lives (`module:attribute`), and what identity and planning need of it.

    - `options`: the dataclass of its options (`models.cell.fields.option`), which are fields of the cells that name it.
      It may also have `faults()` and `conflicts(cell)`, a sentence for each option that does not go with the part's
      others, or with the cell's other parts; `canonical()` and `idle(cell)`, options without effect at their default;
      and `refused`, by name why it has not an option that other parts of its role have.
    - `semantics`: of a network, objective or procedure; `digest`: of a data set's decoded content. A data set with
      options checks its content itself, and its options have the `shape` of it and its name in `words`.
    - `shape`: of a data set's images; `kind`: of its values, `models.data.dataset.Dataset.kind`; `validation`, `test`:
      images in these splits (None, "", 0: not known). `labels`: digest of `models.data.labels.Labels`; `classes`: the
      names of their classes ("", none: it has no labels).
    - `kinds`: of a likelihood, the kinds of values that it is for. A cell with data of another kind is refused when it
      is made; with a density, when the data are loaded. Of a network the same, where it is not for images (`reads`).
    - `maps`: of a likelihood, a function of (cell, shape of an image) to the numbers that a network puts out per
      position of an image (`Cell.output_maps`).
    - `size`: of a network, a function of (cell, shape of an image) → `models.cell.size.Size`, from a module without
      torch; of a prior or posterior, the same for what it adds; `max_stack`: of a network, most cells it can train in
      one stack (0: no limit of its own).
    - `smooths`: of an objective, the name of what it is where nothing is smoothed.
    - `unsmoothable`: of any part, why no objective may smooth the maps of its cells, a clause after "because"; "": one
      may. A cell of both is refused when it is made.
    """

    target: str
    options: type = NoOptions
    semantics: int = 1
    digest: str = ""
    shape: Shape | None = None
    kind: str = ""
    validation: int = 0
    test: int = 0
    labels: str = ""
    classes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    maps: Callable[[Any, Any], int] = one_per_channel
    size: Callable[[Any, Any], Size] | None = None
    max_stack: int = 0
    smooths: str = ""
    unsmoothable: str = ""

    def load(self) -> Any:
        """Import and return the registered object."""
        module, attribute = self.target.split(":")
        return getattr(import_module(module), attribute)

    @property
    def density(self) -> bool:
        """Of a likelihood: whether it is one, of real values, and not a probability of discrete ones."""
        return "real" in self.kinds

    @property
    def reads(self) -> tuple[str, ...]:
        """Of a network: the kinds of values that it is for, those of images where it does not say."""
        return self.kinds or tuple(kind for kind in KINDS if kind != "tokens")

    def declared(self) -> Mapping[str, Option]:
        """The options of its cells, in order."""
        return options_of(self.options)


@dataclass(frozen=True)
class Role:
    """What the parts of one registry are to a cell: a field whose value is one of their names.

    `default`: the name that a cell has without saying so ("": it says one); `since`: as of an `Option`.
    """

    parts: dict[str, Entry]
    meaning: str
    default: str = ""
    since: int = 1
