"""Posterior-mean space on the page: the report's own figures, which no chart of the page can draw."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from sweeper.analysis.html.blocks import Block, images

TITLES = {
    "posterior_mean_space": (
        "Means of posteriors",
        "A panel per point of a curve: the mean of the model's own posterior, across, and that of q, upward, one dot "
        "per image; on the diagonal inference keeps up with the model.",
    ),
    "posterior_mean_trajectory": (
        "The same along training",
        "A panel per point of a curve: the way of a few images through the plane of the two means, from the first "
        "evaluation during training (circle) to the last (large dot).",
    ),
}


def posterior_blocks(figures: Sequence[Path]) -> list[Block]:
    """The figures of posterior-mean space that were written, as pictures."""
    found = {path.stem: path for path in figures if path.suffix == ".png"}
    blocks = []
    for name, (title, words) in TITLES.items():
        if name in found:
            source = f"data:image/png;base64,{base64.b64encode(found[name].read_bytes()).decode()}"
            blocks.append(images(title, [{"src": source, "alt": words, "caption": words}], wide=True))
    return blocks
