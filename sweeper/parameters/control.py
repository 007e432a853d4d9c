"""The control parameter of a curve: which end of it collapses, and the coordinate in which places are looked for.

A coordinate x ascends away from collapse, so that one analysis serves every control parameter:

    ρ, which collapses at 1      x = log(1 − ρ)
    β, which collapses high      x = −log β
    training steps, free bits    x = log of the value: the low end collapses

At a physical end, ρ = 1 or no free bits, x is −∞: a point of the curve, not an edge of the grid. Nothing can be
interpolated between it and its neighbour, so a place there is known by a bound alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.cell import FIELDS, Option

Array = NDArray[np.float64]
End = Literal["low", "high"]


@dataclass(frozen=True)
class Axis:
    """A control parameter.

    `name`: a field of a cell, or `steps`; `collapsed`: the end of its range at which the order parameter vanishes;
    `symbol`: as formulas write it; `words`: as the axis of a figure says it; `unit`: "" where it has none;
    `complement`: the logarithm is that of 1 − value; `reference`: where a curve counts as uncollapsed unless the study
    says otherwise; `off`: what the value at the physical end means.
    """

    name: str
    collapsed: End
    symbol: str
    words: str
    unit: str = ""
    complement: bool = False
    reference: float | None = None
    off: str = ""

    @property
    def _rising(self) -> bool:
        """Whether x is the logarithm itself, not its negative."""
        return self.complement == (self.collapsed == "high")

    @property
    def end(self) -> float | None:
        """The value at x = −∞, the physical end of collapse; None where the parameter cannot take one."""
        value = float(self.complement)
        field = _NUMBERS.get(self.name)
        low, high = (0.0, np.inf) if field is None else (field.low or 0.0, np.inf if field.high is None else field.high)
        return value if self._rising and low <= value <= high else None

    @property
    def scale(self) -> str:
        """The scale of x in words: `log(1 − ρ)`."""
        return f"log(1 − {self.symbol})" if self.complement else f"log {self.symbol}"

    @property
    def label(self) -> str:
        """The label of the axis in a figure, with unit, scale and what its physical end is."""
        end = "" if self.end is None or not self.off else f"; {self.end:g}: {self.off}"
        unit = f"{self.unit}, " if self.unit and self.unit not in self.words else ""
        return f"{self.words} ({unit}scale of {self.scale}{end})"

    @property
    def plain_label(self) -> str:
        """The label of a heatmap's axis, which has no scale."""
        unit = "" if self.unit in self.words else self.unit
        notes = [note for note in (unit, f"{self.end:g}: {self.off}" if self.off and self.end is not None else "")]
        return f"{self.words} ({'; '.join(filter(None, notes))})" if any(notes) else self.words

    @property
    def away(self) -> str:
        """Which values lie farther from collapse: `smaller` or `larger`."""
        return "smaller" if self.collapsed == "high" else "larger"

    @property
    def beyond(self) -> str:
        """Where values nearer to collapse lie: `above` or `below`."""
        return "above" if self.collapsed == "high" else "below"

    @property
    def bound_name(self) -> str:
        """What a value that the place lies `beyond` is: its `lower` or `upper` bound."""
        return "lower bound" if self.collapsed == "high" else "upper bound"

    def at(self, value: float) -> str:
        """`ρ = 0.95`."""
        return f"{self.symbol} = {value:.6g}"

    def coordinate(self, values: ArrayLike) -> Array:
        """x of `values`, (…,) to (…,), ascending away from collapse; ±∞ where the logarithm is.

        Raises ValueError where a value is not in [0, 1] (for a logarithm of 1 − value) or is negative.
        """
        values = np.asarray(values, dtype=np.float64)
        if not ((values >= 0) & (values <= (1 if self.complement else np.inf))).all():
            expected = "in [0, 1]" if self.complement else "at least 0"
            raise ValueError(f"{self.name} should be {expected}, got {values.tolist()}")
        # Rounded, so that 1 − 0.99 is 0.01.
        with np.errstate(divide="ignore"):
            x = np.log(np.round(1 - values, 12) if self.complement else values)
        return np.asarray(x if self._rising else -x)

    def value(self, x: ArrayLike) -> Array:
        """The values at `x`, (…,) to (…,): the inverse of `coordinate`."""
        logarithm = np.asarray(x, dtype=np.float64) * (1 if self._rising else -1)
        return np.asarray(1 - np.exp(np.minimum(logarithm, 0)) if self.complement else np.exp(logarithm))


def _declared(option: Option) -> Axis | None:
    """The axis of an option whose collapsed end is known; None of another."""
    if not option.collapses:
        return None
    end: End = "high" if option.collapses == "high" else "low"
    shown = (option.symbol, option.label, option.unit)
    return Axis(option.name, end, *shown, option.complement, option.reference, option.off)


STEPS = Axis("steps", "low", "steps", "training steps", off="before training")
_NUMBERS = {name: field for name, field in FIELDS.items() if field.kind != "str" and name != "seed"}
_KNOWN = {axis.name: axis for axis in (*map(_declared, _NUMBERS.values()), STEPS) if axis is not None}
RHO = _KNOWN["rho"]
CONTROLS = (*_NUMBERS, STEPS.name)


def axis_of(name: str, collapsed: End | None = None) -> Axis:
    """The axis of control parameter `name`: a numeric field of a cell, or `steps`, the steps of the history.

    `collapsed` says which end collapses, where that is not known or is otherwise than expected.
    Raises ValueError on any other name, and where nothing is known of the end and `collapsed` is None.
    """
    if name not in CONTROLS:
        near = get_close_matches(name, CONTROLS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(CONTROLS)}"
        raise ValueError(f"control should be a numeric field of a cell, or steps; got {name!r}: {hint}")
    if collapsed not in (None, "low", "high"):
        raise ValueError(f"collapsed should be low or high, got {collapsed!r}")
    known = _KNOWN.get(name)
    if known is not None:
        return known if collapsed in (None, known.collapsed) else replace(known, collapsed=collapsed, reference=None)
    if collapsed is None:
        raise ValueError(f"which end of {name} collapses is not known; say collapsed: low or collapsed: high")
    field = _NUMBERS[name]
    symbol, words = field.symbol or name, field.label or name.replace("_", " ")
    return Axis(name, collapsed, symbol, words, complement=field.complement)
