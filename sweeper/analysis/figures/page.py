"""What all figures share: the style, saving, captions, colours and words for order parameters."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

from sweeper.analysis.curves import Curve
from sweeper.parameters.order import parse_order_parameter

STYLE = Path(__file__).with_name("sweeper.mplstyle")
MARKERS = "osD^vP"  # with the style's colours: told apart in grey too
MAX_LABELS = 48  # beside each other: more overlap, and take most of the time of a figure
QUANTITIES = {  # of what is no order parameter
    "elbo": "ELBO (nats)",
    "bits_per_dim": "bits per dimension",
    "kl_aggregate": "KL(q(z) ‖ p(z)) of the top layer (nats)",
}


def look(index: int) -> dict[str, str]:
    """Colour, marker and its filling of a curve by its place in the figure. After six, the colours come again, with
    other markers that are left empty."""
    turn = index // len(MARKERS)
    colour = f"C{index % len(MARKERS)}"
    filling = "white" if turn % 2 else colour
    return {"color": colour, "marker": MARKERS[(index + turn) % len(MARKERS)], "markerfacecolor": filling}


def styled() -> AbstractContextManager[None]:
    """The look of all figures, from matplotlib's defaults and not the user's settings."""
    return matplotlib.style.context([STYLE], after_reset=True)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `folder/name.png` (200 dpi), `.svg` and `.pdf`, without dates; returns the paths. Raises OSError."""
    undated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    paths = [folder / f"{name}.{kind}" for kind in undated]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once: the same in all three, and most of the time
    for path, metadata in zip(paths, undated.values(), strict=True):
        figure.savefig(path, metadata=metadata)
    return paths


def caption(figure: Figure, text: str) -> None:
    """Put `text` under the figure, wrapped to its width."""
    figure.supxlabel("\n".join(textwrap.wrap(text, letters(figure))), x=0.01, ha="left", fontsize=7, linespacing=1.3)


def letters(figure: Figure) -> int:
    """How many of them a line of a caption holds."""
    return int(figure.get_figwidth() * 20)


def wrapped(title: str, width: float) -> str:
    """`title` in lines that fit a panel of `width` inches."""
    return "\n".join(textwrap.wrap(title, int(width * 14), break_on_hyphens=False))


def quantity(name: str) -> str:
    """The axis label of an order parameter or of the ELBO, with its unit."""
    return QUANTITIES[name] if name in QUANTITIES else parse_order_parameter(name).label


def counted(curves: Sequence[Curve]) -> str:
    """`n = 3 seeds, 6,000 steps`, with ranges where curves differ."""
    seeds = sorted({len(curve.seeds) for curve in curves})
    steps = sorted({step for curve in curves for step in curve.steps})
    return f"n = {_range(seeds)} seed{'' if seeds == [1] else 's'}, {_range(steps)} training steps"


def _range(numbers: Sequence[int]) -> str:
    ends = sorted({numbers[0], numbers[-1]})
    return "–".join(f"{number:,}" for number in ends)


def labelled(count: int) -> range:
    """Which of `count` places in a row get a label: all, or where they are many, evenly spaced ones."""
    return range(0, count, -(-count // MAX_LABELS))


def columns(count: int, most: int = 3) -> int:
    """Panels a row: as few rows as `most` allows, then as even as that leaves."""
    return -(-count // -(-count // most))


def arrange(panels: Sequence[tuple[str, str]]) -> tuple[int, int, list[tuple[int, int]]]:
    """Where panels of (data set, what else) go: rows, columns, and each panel's row and column.

    Several data sets stand side by side, one column each; the panels of one are laid out row by row.
    """
    data, rest = (list(dict.fromkeys(names)) for names in zip(*panels, strict=True))
    if len(data) > 1:
        return len(rest), len(data), [(rest.index(other), data.index(name)) for name, other in panels]
    across = columns(len(panels))
    return -(-len(panels) // across), across, [divmod(index, across) for index in range(len(panels))]
