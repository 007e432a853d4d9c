"""The option `skip`, which several networks have: declared once, and each says in its docstring what is skipped."""

from __future__ import annotations

from typing import Any

from models.cell.fields import option


def skip_option() -> Any:
    """A field `skip` of a network's options."""
    return option(
        "none", "which latent variables every generative map sees: `none`, those directly before it, or `all` that it "
        "can; of `lstm`, z at the logits too (Dieng et al. 2019)", choices=("none", "all"), shape=True, since=5,
    )  # fmt: skip
