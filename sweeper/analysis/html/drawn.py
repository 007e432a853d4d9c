"""Blocks of what cells draw: at the reference, on either side of the critical value, and at the collapsed end."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

from sweeper.analysis.curves import Curve
from sweeper.analysis.html.blocks import Block, images
from sweeper.analysis.shown_points import chosen

MAX_CURVES = 4  # a picture weighs about as much as a curve
Picture = Callable[[str], tuple[bytes, list[str]] | None]
WORDS = {"images": "images as the network sees them", "samples": "samples of the prior"}
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def drawn(curves: Sequence[Curve], picture: Picture) -> list[Block]:
    """A grid of pictures per curve, of its first seed with any. `picture`: the PNG of a cell, what its rows show."""
    blocks: list[Block] = []
    for curve in curves:
        places = chosen(curve)
        by_seed = ([(curve.control[j], picture(str(ids[j]))) for j in places if ids[j]] for ids in curve.cell_ids)
        some = ([(float(value), *made) for value, made in cells if made] for cells in by_seed)
        found = next((cells for cells in some if cells), [])
        if found and len(blocks) < MAX_CURVES:
            items = [_item(curve, *each) for each in found]
            blocks.append(images(curve.label, items, note=f"Rows from the top: {_rows(found[0][2])}."))
    return blocks


def _item(curve: Curve, value: float, png: bytes, rows: list[str]) -> dict[str, str]:
    where = f" ({curve.axis.off})" if value == curve.axis.end and curve.axis.off else ""
    return {
        "src": f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "alt": f"{curve.label}, {curve.axis.at(value)}: {len(rows)} rows of small pictures: {_rows(rows)}.",
        "caption": f"{curve.axis.at(value)}{where}",
    }


def _rows(rows: list[str]) -> str:
    """`images …; the same after a way up to z₁ and down; … up to z₄, the top layer, and down; samples …`"""
    ways = [row for row in rows if row.startswith("from z")]
    said = dict(WORDS)
    for row in ways:
        layer = row.removeprefix("from ").translate(SUBSCRIPTS)
        said[row] = f"the same after a way up to {layer}{', the top layer,' * (row == ways[-1])} and down"
    return "; ".join(said.get(row, row) for row in rows)
