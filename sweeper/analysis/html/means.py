"""Blocks of the posterior means of chosen cells, along their principal components."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import pandas as pd

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.means import MAX_CURVES, Means, coloured, means_data, means_png, reach
from sweeper.analysis.html.blocks import Block, images


def means_blocks(curves: Sequence[Curve], cells: pd.DataFrame) -> list[Block]:
    """A row of pictures per curve, of its first seed that has any, at the points that its pictures are of."""
    blocks: list[Block] = []
    for curve in curves:
        found = means_data(curve, cells)
        if found and len(blocks) < MAX_CURVES:
            items = [_item(curve, each, reach(found)) for each in found]
            blocks.append(images(curve.label, items, note=_note(found[0])))
    return blocks


def _note(means: Means) -> str:
    colours = "coloured by class" if coloured(means) else "in grey, for want of classes or of colours for so many"
    return (
        f"Posterior means of the top layer of {len(means.places)} evaluated images along their two first principal "
        f"components, in units of z, {colours}; beside axes the component's share of the variance; seed {means.seed}."
    )


def _item(curve: Curve, means: Means, limit: float) -> dict[str, str]:
    said = curve.axis.at(means.value)
    if means.accuracy is not None:
        share, error, chance = means.accuracy
        said += f": {100 * share:.1f} ± {100 * error:.1f} % classified (chance {100 * chance:.1f} %)"
    first, second = means.shares
    return {
        "src": f"data:image/png;base64,{base64.b64encode(means_png(means, limit)).decode()}",
        "alt": f"{curve.label}, {said}: posterior means, of whose variance the components shown have {first:.0%} and "
        f"{second:.0%}.",
        "caption": said,
    }
