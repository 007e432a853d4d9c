"""Options of the optimisers."""

from __future__ import annotations

from dataclasses import dataclass

from models.cell.fields import option


@dataclass(frozen=True)
class RateOptions:
    """A learning rate with a geometric decay."""

    learning_rate: float = option(1e-3, "learning rate at step 0", low=1e-12, high=1e3)
    learning_rate_end: float = option(
        1e-4, "learning rate after its geometric decay", low=1e-12, high=1e3, needs="learning_rate_decay_steps"
    )
    learning_rate_decay_steps: int = option(
        0, "steps of the geometric decay of the learning rate; 0: none", unit="steps", low=0, high=10**9
    )


@dataclass(frozen=True)
class ClipOptions:
    """Clipping of each cell's gradient."""

    gradient_clip: float = option(
        0.0, "largest norm of a cell's gradient; 0: no clipping", low=0.0, high=1e9, note=" (0: off)"
    )
    clip_norm: str = option(
        "together", "of which gradient `gradient_clip` is the largest norm: that of all parameters `together`, which "
        "an update of the inference network alone then needs too, or that of each `group`, inference, generative and "
        "prior", choices=("together", "group"), shape=True, needs="gradient_clip", since=5,
    )  # fmt: skip


@dataclass(frozen=True)
class AdamMoments:
    """Of Adam alone."""

    adam_beta1: float = option(0.9, "decay of Adam's first moment", low=0.0, high=0.999999, complement=True)
    adam_beta2: float = option(0.999, "decay of Adam's second moment", low=0.0, high=0.999999999, complement=True)
    adam_epsilon: float = option(1e-8, "Adam's ε", low=1e-30, high=1.0)


@dataclass(frozen=True)
class AdamOptions(ClipOptions, AdamMoments, RateOptions):
    """Adam, with a geometric decay of its rate and clipping of each cell's gradient."""


@dataclass(frozen=True)
class SgdOptions(ClipOptions, RateOptions):
    """Gradient descent without moments, with the same decay and clipping."""
