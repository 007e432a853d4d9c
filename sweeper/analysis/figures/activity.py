"""Active units: by layer against the control parameter, and over depth × width where it is off and on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.page import MAX_LABELS, caption, columns, counted, labelled, styled, wrapped
from sweeper.analysis.variants import differing, in_words

COLOURS = "cividis"  # even in lightness, so it reads the same in grey


def activity_data(curve: Curve, cells: pd.DataFrame) -> pd.DataFrame:
    """One row per layer and point: `layer` (1 … L), the control parameter (`rho`), `units`, `active` (mean over seeds),
    `fraction`, `seeds`."""
    rows = cells.set_index("cell_id")
    found = []
    for index, value in enumerate(curve.control):
        ids = [name for name in curve.cell_ids[:, index] if name]
        counts = [list(count) for count in rows.loc[ids, "active_units"] if count is not None and np.ndim(count)]
        for layer, units in enumerate(rows.loc[ids[0], "latents"] if counts else (), start=1):
            active = float(np.mean([count[layer - 1] for count in counts]))
            found.append((layer, float(value), int(units), active, active / units, len(counts)))
    return pd.DataFrame(found, columns=["layer", curve.axis.name, "units", "active", "fraction", "seeds"])


def draw_activity(axes: Axes, data: pd.DataFrame, control: str = "rho") -> AxesImage:
    """Heatmap of one curve, top layer on top, the control parameter to the right, the number of active units in each
    field, unless fields are too many for that."""
    fraction = data.pivot(index="layer", columns=control, values="fraction")
    active = data.pivot(index="layer", columns=control, values="active")
    units = data.groupby("layer")["units"].first()
    names = [f"{layer} (of {units[layer]})" for layer in fraction.index]
    written = active.to_numpy() if active.shape[1] <= MAX_LABELS else ()
    return _heatmap(
        axes, fraction.to_numpy(), [[_short(value) for value in row] for row in written],
        [f"{value:g}" for value in fraction.columns], names,
    )  # fmt: skip


def activity_by_layer_figure(curves: Sequence[Curve], cells: pd.DataFrame) -> Figure | None:
    """Active units of each layer against the control parameter, one panel per curve; None where none was evaluated."""
    panels = [(curve, activity_data(curve, cells)) for curve in curves]
    panels = [(curve, data) for curve, data in panels if len(data)]
    if not panels:
        return None
    most = max(data[curve.axis.name].nunique() for curve, data in panels)
    across = columns(len(panels), most=1 if most > 8 else 2)
    down = -(-len(panels) // across)
    width = max(0.38 * min(most, MAX_LABELS) + 1.2, 4.5 / across)
    titles = [wrapped(curve.label, width) for curve, _ in panels]
    lines = max(title.count("\n") for title in titles)
    heights = max(data["layer"].nunique() for _, data in panels) * 0.3 + 0.75 + 0.15 * lines
    with styled():
        figure = Figure(figsize=(width * across, heights * down + 0.5))
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.ravel()[len(panels) :]:
            axes.set_visible(False)
        for axes, title, (curve, data) in zip(grid.ravel(), titles, panels, strict=False):
            image = draw_activity(axes, data, curve.axis.name)
            axes.set_title(title)
            axes.set_ylabel("layer (units)")
            axes.set_xlabel(curve.axis.plain_label)
        figure.colorbar(image, ax=grid, label="fraction active", shrink=min(1.0, 2.0 / (heights * down)), aspect=12)
        caption(figure, f"Active units, mean over seeds ({counted([curve for curve, _ in panels])}). {ACTIVE}")
    return figure


ACTIVE = "A unit is active if the variance over data of its posterior mean exceeds 0.01."


def even_groups(curves: Sequence[Curve]) -> list[tuple[str, Curve]]:
    """Curves of networks whose layers are all as wide, each with what those of other sizes have in common with it.

    No two curves of the same depth and width have the same words: where the network, hidden layers, activation and
    variant do not tell them apart, as of convolutional networks with skips and without, every field that differs does,
    or the whole architecture. What is there in one depth and width alone is left out: there is no grid of it.
    """
    even = [curve for curve in curves if len(set(curve.layer_units)) == 1]
    apart = differing([curve.fields for curve in even], ["data", "latents"])
    named = [name for name in ("network", "hidden", "activation") if name in apart]
    rest = [name for name in apart if name not in named]

    def words(curve: Curve, *others: str) -> str:
        return " · ".join(filter(None, [curve.data, *(str(curve.fields[name]) for name in named), *others]))

    labels = [words(curve, curve.variant) for curve in even]
    for others in ([words(curve, in_words(curve.fields, rest)) for curve in even], [curve.label for curve in even]):
        places = Counter((label, curve.layer_units) for label, curve in zip(labels, even, strict=True))
        shared = {label for (label, _), count in places.items() if count > 1}
        labels = [other if label in shared else label for label, other in zip(labels, others, strict=True)]
    sizes: dict[str, set[tuple[int, ...]]] = {}
    for label, curve in zip(labels, even, strict=True):
        sizes.setdefault(label, set()).add(curve.layer_units)
    return [(label, curve) for label, curve in zip(labels, even, strict=True) if len(sizes[label]) > 1]


def activity_grid_data(curves: Sequence[Curve], cells: pd.DataFrame) -> pd.DataFrame:
    """One row per `group` (data set and all that is neither depth nor width), `depth`, `width` and `value` of the
    control parameter: `active` (units of all layers, mean over seeds), `units`, `fraction`, `top` (fraction of the top
    layer), `seeds`.

    Takes networks whose layers are all as wide, at the physical end (ρ = 1), if there is one, and at the reference or,
    where few curves have it, the other value that most share, the farther from collapse of equals.
    """
    groups = even_groups(curves)
    even = [curve for _, curve in groups]
    shown: list[float] = []
    if even:
        axis, reference = even[0].axis, even[0].reference
        shared = Counter(float(value) for curve in even for value in curve.control if value != axis.end)
        best = max(shared, key=lambda v: (shared[v], v == reference, float(axis.coordinate(v))), default=reference)
        shown = [best] if axis.end is None else [axis.end, best]
    found = []
    for group, curve in groups:
        layers = activity_data(curve, cells)
        for value, part in layers[layers[curve.axis.name].isin(shown)].groupby(curve.axis.name):
            top = part[part["layer"] == part["layer"].max()]
            sizes = len(part), int(part["units"].max()), float(value)
            sums = float(part["active"].sum()), int(part["units"].sum()), float(top["fraction"].iloc[0])
            found.append((group, *sizes, *sums, int(part["seeds"].max())))
    names = ["group", "depth", "width", "value", "active", "units", "top", "seeds"]
    data = pd.DataFrame(found, columns=names)
    return data.assign(fraction=data["active"] / data["units"])


def draw_activity_grid(axes: Axes, data: pd.DataFrame) -> AxesImage:
    """Heatmap of one group and value over depth and width; each field holds the count and the top layer's share."""
    fraction = data.pivot(index="depth", columns="width", values="fraction")
    active = data.pivot(index="depth", columns="width", values="active").to_numpy()
    top = data.pivot(index="depth", columns="width", values="top").to_numpy()
    text = [
        ["" if np.isnan(a) else f"{_short(a)}\ntop {t:.0%}" for a, t in zip(*pair, strict=True)]
        for pair in zip(active, top, strict=True)
    ]
    return _heatmap(
        axes, fraction.to_numpy(), text, [str(w) for w in fraction.columns], [str(d) for d in fraction.index]
    )


def activity_grid_figure(curves: Sequence[Curve], cells: pd.DataFrame) -> Figure | None:
    """The physical end (ρ = 1) and a value away from it side by side, one row per data set; None with fewer than two
    depths or widths."""
    data = activity_grid_data(curves, cells)
    if data["depth"].nunique() < 2 and data["width"].nunique() < 2:
        return None
    axis = curves[0].axis
    names = list(data["group"].unique())
    values = sorted(data["value"].unique(), key=lambda value: float(axis.coordinate(value)))
    across, down = data["width"].nunique(), data["depth"].nunique()
    with styled():
        size = ((0.62 * across + 0.8) * len(values) + 1.0, (0.42 * down + 0.9) * len(names) + 0.6)
        figure = Figure(figsize=(max(size[0], 4.5), size[1]))
        grid = figure.subplots(len(names), len(values), squeeze=False)
        for i, name in enumerate(names):
            for j, value in enumerate(values):
                axes = grid[i][j]
                part = data[(data["group"] == name) & (data["value"] == value)]
                if len(part) == 0:
                    axes.set_visible(False)
                    continue
                image = draw_activity_grid(axes, part)
                axes.set_title(f"{name} · {axis.at(value)}" + (f" ({axis.off})" if value == axis.end else ""))
                axes.set_xlabel("units per layer")
                axes.set_ylabel("layers")
        figure.colorbar(image, ax=grid, label="fraction active", shrink=0.9, aspect=15)
        where = f"Active units of all layers (top: share of the top layer), mean over seeds ({counted(curves)})."
        caption(figure, f"{where} {ACTIVE}")
    return figure


def _heatmap(
    axes: Axes, values: np.ndarray, text: Sequence[Sequence[str]], across: Sequence[str], down: Sequence[str]
) -> AxesImage:
    """`values` in [0, 1], first row at the bottom, each field with its text."""
    image = axes.imshow(values, cmap=COLOURS, vmin=0, vmax=1, origin="lower", aspect="auto")
    for i, row in enumerate(text):
        for j, word in enumerate(row):
            dark = np.isfinite(values[i, j]) and values[i, j] < 0.55
            axes.text(j, i, word, ha="center", va="center", fontsize=6.5, color="white" if dark else "black")
    axes.set_xticks(labelled(len(across)), [across[place] for place in labelled(len(across))])
    axes.set_yticks(range(len(down)), down)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def _short(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.0f}" if value >= 9.95 or value == round(value) else f"{value:.1f}"
