"""An axis of the control parameter on its own scale: log(1 − ρ) opens the region near ρ = 1, log β spans decades.

Values ascend to the right (or upward). What has no finite place on the scale, such as ρ = 1, is set apart by a break.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from sweeper.analysis.figures.page import wrapped
from sweeper.parameters.control import Array, Axis

# Labels in the order in which they claim room: of ρ, and within a decade.
NEAR_ONE = (0.9, 0.99, 0.5, 0.999, 0.8, 0.95, 0.98, 0.995, 0.9999, 0.998, 0.7, 0.97, 0.0, 0.9995, 0.96, 0.93, 0.85, 0.3)
DIGITS = (1, 2, 5, 3, 7, 1.5)
NARROW = np.log10(3.0)  # a range of the scale in which round values, evenly spaced, read better
LABEL_WIDTH = 3.3  # inches of a panel
ROOM = 0.085  # of the axis, between two labels
STROKES = Path([(-0.6, -1), (0.0, 1), (0.0, -1), (0.6, 1)], [Path.MOVETO, Path.LINETO] * 2)  # the break: //


class ControlAxis:
    """Where each value of the control parameter goes, for the values in a figure.

    `first`, `last`: places of the outermost values that have a finite one; `ends`: those that have none, such as ρ = 1,
    with their places, one `gap` outside. `bare`: there are only such ends, as where nothing is smoothed.
    """

    def __init__(self, axis: Axis, values: Iterable[float]):
        """Raises ValueError if there is no value."""
        self.axis = axis
        given = sorted(set(values))
        if not given:
            raise ValueError(f"an axis of {axis.name} needs a value")
        places = self._places(given)
        inner = places[np.isfinite(places)]
        self.bare = len(inner) == 0
        self.first, self.last = (0.0, 0.0) if self.bare else (float(inner.min()), float(inner.max()))
        self.gap = max(0.12 * (self.last - self.first), 0.08)
        self.ends = {
            value: self.first - self.gap if place < 0 else self.last + self.gap
            for value, place in zip(given, places, strict=True)
            if np.isinf(place)
        }

    def _places(self, values: ArrayLike) -> Array:
        """Decimal logarithms that ascend with the value."""
        x = self.axis.coordinate(values) / np.log(10)
        return np.asarray(-x if self.axis.collapsed == "high" else x)

    def __call__(self, values: ArrayLike) -> Array:
        """Places of values; (…,) to (…,). What lies between the outermost grid point and an end stops at the break."""
        places = self._places(values)
        outside = np.where(places > 0, self.last + self.gap, self.first - self.gap)
        inside = np.clip(places, self.first - 0.4 * self.gap, self.last + 0.4 * self.gap)
        return np.where(np.isinf(places), outside, inside)

    def limits(self) -> tuple[float, float]:
        """First and last place that is shown."""
        inner = () if self.bare else (self.first, self.last)
        low, high = (pick([*inner, *self.ends.values()]) for pick in (min, max))
        pad = 0.04 * max(high - low, self.gap)
        return low - pad, high + pad

    def breaks(self) -> list[float]:
        """Where the axis is broken: between the values that have a finite place and each end."""
        if self.bare:
            return []
        shift = 0.62 * self.gap
        return [self.last + shift if end > self.last else self.first - shift for end in self.ends.values()]

    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts of the labels."""
        low, high = self.limits()
        ticks = [(place, f"{value:g}") for value, place in self.ends.items()]
        for value in self._labels():
            place = float(self._places(value))
            free = all(abs(place - other) >= ROOM * (high - low) for other, _ in ticks)
            if self.first - 1e-9 <= place <= self.last + 1e-9 and free:
                ticks.append((place, f"{value:,.6g}"))
        return ticks

    def _labels(self) -> Iterable[float]:
        if self.bare:
            return []
        if self.last - self.first < NARROW:
            ends = np.array([self.first, self.last]) * np.log(10)
            low, high = sorted(self.axis.value(-ends if self.axis.collapsed == "high" else ends))
            return [float(v) for v in MaxNLocator(5).tick_values(low, high) if low <= v <= high]
        if self.axis.complement:
            return NEAR_ONE
        decades = range(int(np.floor(self.first)), int(np.ceil(self.last)) + 1)
        return [float(digit * 10.0**decade) for digit in DIGITS for decade in decades]

    def set(self, axes: Axes, label: bool = True, which: Literal["x", "y"] = "x", words: str = "") -> None:
        """Put limits, ticks and breaks on the x or y axis of `axes`; `label` writes what it is: `words`, or all."""
        getattr(axes, f"set_{which}lim")(*self.limits())
        places, texts = zip(*self.ticks(), strict=True) if self.ticks() else ((), ())
        getattr(axes, f"set_{which}ticks")(places, texts)
        for middle in self.breaks():
            styles: tuple[dict[str, Any], ...] = (
                {"color": "white", "markersize": 9, "marker": "s"},
                {"color": "black", "marker": STROKES},
            )
            for style in styles:
                axes.plot(
                    [middle], [0], linestyle="none", clip_on=False, zorder=5, transform=axes.get_xaxis_transform(),
                    **{"markersize": 9, "markeredgewidth": 0.8, **style},
                )  # fmt: skip
        if label:
            getattr(axes, f"set_{which}label")(wrapped(words or self.axis.label, LABEL_WIDTH))
