"""An axis of ρ that opens the region near 1: −log₁₀(1 − ρ), with ρ = 1 set apart behind a break."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path
from numpy.typing import ArrayLike

from sweeper.analysis.critical import Array, log_gap, smoothing_gap

# Labels in the order in which they claim room.
LABELS = (0.9, 0.99, 0.5, 0.999, 0.8, 0.95, 0.98, 0.995, 0.9999, 0.998, 0.7, 0.97, 0.0, 0.9995, 0.96, 0.93, 0.85, 0.3)
ROOM = 0.085  # of the axis, between two labels
STROKES = Path([(-0.6, -1), (0.0, 1), (0.0, -1), (0.6, 1)], [Path.MOVETO, Path.LINETO] * 2)  # the break: //


class RhoAxis:
    """Where each ρ goes, for the values of ρ in a figure. ρ = 1 sits at `end`, one `gap` after the last other value."""

    def __init__(self, rho: Iterable[float]):
        """Raises ValueError if no ρ is below 1."""
        values = np.asarray(list(rho), dtype=np.float64)
        inner = -log_gap(values[values < 1]) / np.log(10)
        if len(inner) == 0:
            raise ValueError("an axis of ρ needs a value below 1")
        self.first, self.last = float(inner.min()), float(inner.max())
        self.has_one = bool((values == 1).any())
        self.gap = max(0.12 * (self.last - self.first), 0.08)
        self.end = self.last + self.gap

    def __call__(self, rho: ArrayLike) -> Array:
        """Positions of ρ; (…,) to (…,). What lies between the last grid point and 1 ends at the break."""
        with np.errstate(divide="ignore"):
            inside = np.minimum(-np.log10(smoothing_gap(rho)), self.last + 0.4 * self.gap)
        return np.where(smoothing_gap(rho) == 0, self.end, inside)

    def set(self, axes: Axes, label: bool = True) -> None:
        """Put limits, ticks and the break on `axes`; `label` writes what the axis is."""
        pad = 0.04 * (self.end - self.first)
        right = (self.end if self.has_one else self.last) + pad
        axes.set_xlim(self.first - pad, right)
        ticks: list[tuple[float, str]] = [(self.end, "1")] if self.has_one else []
        for rho in LABELS:
            place = -float(np.log10(1 - rho))
            free = all(abs(place - other) >= ROOM * (right - self.first) for other, _ in ticks)
            if self.first - 1e-9 <= place <= self.last + 1e-9 and free:
                ticks.append((place, f"{rho:g}"))
        axes.set_xticks([place for place, _ in ticks], [text for _, text in ticks])
        if self.has_one:
            middle = self.last + 0.62 * self.gap
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
            axes.set_xlabel("ρ (scale of log(1 − ρ); 1: no smoothing)")
