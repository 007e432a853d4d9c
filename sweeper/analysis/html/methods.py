"""One row per method, in a table that can be sorted."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sweeper.analysis.html.blocks import Block, ranked, table
from sweeper.analysis.methods import printed

NOTE = (
    "Mean ± standard deviation over seeds; nats per image. L: importance-weighted bound with so many samples. "
    "bits/dim: bits per value of an image of 256 levels, −bound / (values × ln 2). top MI: mutual information between "
    "image and top layer. top accuracy: share of images that a linear classifier puts into their class by the top "
    "layer's posterior means. Active units: by layer, from the data up; sorted by their sum. s/cell: training time per "
    "cell, its share of the stack's. MB: peak memory of the whole process that trained the stack, or of the device."
)


def method_blocks(methods: pd.DataFrame | None) -> Sequence[Block]:
    """The table; nothing where the study does not compare methods."""
    if methods is None or not len(methods):
        return []
    heads, rows = printed(methods)
    fields = [[row[0].text, *(ranked(each.text, each.value) for each in row[1:])] for row in rows]
    return [table("One row per method", heads, fields, note=NOTE, sortable=True)]
