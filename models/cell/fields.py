"""Options: what is known of a field of a cell, said in one line beside the part that reads it.

    rho: float = option(1.0, "strength of smoothing in training", low=0.0, high=1.0, symbol="ρ")

From such a line follow the type, range and messages of a study file, its JSON Schema, a cell's shape and canonical
form, the column of a results row, the tables of the documentation, and the axis on which a report draws a curve.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, Literal

REQUIRED: Any = dataclasses.MISSING
Kind = Literal["str", "float", "int"]
YES_NO = ("no", "yes")  # choices of a switch, for which a study may also say true and false


@dataclass(frozen=True)
class Option:
    """A field of a cell.

    - `kind`: `str`, `float` or `int`; `default`: also what training did before the option existed (`REQUIRED`: none).
    - `meaning`: one sentence, with `unit` where it has one.
    - `low`, `high`: the ends of a number's range, both of which belong to it; `note`: more about it, for messages.
    - `choices`: of a name, all there are; `check`: of another text, raises ValueError; `pattern`: its regular
      expression, for editors.
    - `shape`: it decides the shape of a tensor or the code that runs, so cells of one stack share it.
    - `pace`: it decides how long a step takes, so that planning stacks cells that share it.
    - `needs`: the option of the same part without which (at 0) it has no effect; `one or another`: without both.
    - `since`: the version of the results' columns that has it; from 3 on it is null in rows of cells without it.
    - As a control parameter: `symbol` in formulas; `label` on axes; `collapses`: the end, `low` or `high`, at which the
      order parameter vanishes, where that is known; `complement`: the scale is log(1 − value); `reference`: the value
      that counts as uncollapsed; `off`: what the value at the collapsed end means.
    """

    name: str
    kind: Kind
    default: Any
    meaning: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    note: str = ""
    choices: tuple[str, ...] = ()
    check: Callable[[str], Any] | None = None
    pattern: str = ""
    shape: bool = False
    pace: bool = False
    needs: str = ""
    since: int = 1
    symbol: str = ""
    label: str = ""
    collapses: str = ""
    complement: bool = False
    reference: float | None = None
    off: str = ""

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is REQUIRED

    @property
    def range(self) -> str:
        """The range in words, "" for a text: `in [0, 1]`, `a whole number in [1, 10000]`."""
        if self.low is None or self.high is None:
            return ""
        low, high = ("2^63 - 1" if end == 2**63 - 1 else f"{end:.12g}" for end in (self.low, self.high))
        return f"{'a whole number ' if self.kind == 'int' else ''}in [{low}, {high}]{self.note}"


def option(default: Any, meaning: str, **more: Any) -> Any:
    """A field of a part's options: see `Option`; its name and kind are those of the dataclass's line."""
    metadata = {"option": Option("", "str", default, meaning, **more)}
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@cache
def options_of(declared: type) -> Mapping[str, Option]:
    """The options that a dataclass declares, in its order. Raises TypeError for a field of another type."""
    found = {}
    for field in dataclasses.fields(declared):
        said: Option = field.metadata["option"]
        kind = field.type if isinstance(field.type, str) else field.type.__name__
        if kind not in ("str", "float", "int"):
            raise TypeError(f"{declared.__name__}.{field.name} should be str, float or int, got {kind}")
        found[field.name] = replace(said, name=field.name, kind=kind)  # type: ignore[arg-type]
    return MappingProxyType(found)


def merged(lists: Mapping[str, Mapping[str, Option]]) -> dict[str, Option]:
    """The options of several parts as one list, in which every part's own order is kept.

    lists: the options of each part, by the part's name. Raises ValueError where two parts declare the same name
    otherwise.
    """
    order: list[str] = []
    known: dict[str, Option] = {}
    for part, options in lists.items():
        for name, each in options.items():
            if known.setdefault(name, each) != each:
                raise ValueError(f"{part} declares {name} otherwise than another part does")
        names = list(options)
        for place, name in enumerate(names):
            if name not in order:
                after = next((order.index(later) for later in names[place + 1 :] if later in order), len(order))
                order.insert(after, name)
    return {name: known[name] for name in order}


@lru_cache(maxsize=4096, typed=True)
def parse_sizes(text: str | int, what: str = "sizes") -> tuple[int, ...]:
    """`"40-40-20"` → `(40, 40, 20)`. Raises ValueError, naming `what`, unless every size is a whole number ≥ 1."""
    parts = str(text).split("-")
    if not all(re.fullmatch(r"[1-9][0-9]{0,6}", part) for part in parts):
        raise ValueError(f"{what} are whole numbers in [1, 9999999] joined by '-', as in 40-40-40-40; got {text!r}")
    return tuple(int(part) for part in parts)
