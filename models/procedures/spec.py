"""Options of the procedures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from models.cell.fields import YES_NO, option
from models.cell.size import Size

if TYPE_CHECKING:
    from models.cell.cell import Cell

MAX_INNER = 99  # inner updates within a step where the rule decides, as in the published code
USUAL_INNER = 42  # of the rule, on average (measured on synthetic text)
INNER_WORK = 5 / 6  # of a step: the weights of generative maps, half of all, need no gradient
FULL_WORK, FIRST_ORDER_WORK = 1.0, 1 / 3  # of a joint step for each step of a refinement


@dataclass(frozen=True)
class BatchOptions:
    """Minibatches."""

    batch_size: int = option(
        64, "images in a training batch", unit="images", low=1, high=1_000_000, shape=True, symbol="batch",
        label="batch size", collapses="low",
    )  # fmt: skip


@dataclass(frozen=True)
class HalvingOptions:
    """Validations in training, and a rate that follows from them: `models.procedures.halving`."""

    validate_every: int = option(
        0, "steps between validations in training, at fixed absolute steps; 0: one epoch", unit="steps", low=0,
        high=10**9, shape=True, since=5,
    )  # fmt: skip
    validate_images: int = option(
        500, "images of such a validation, the first of the split; of a smaller split all", unit="images", low=2,
        high=1_000_000, shape=True, since=5,
    )  # fmt: skip
    halve_after: int = option(
        0, "validations in a row with a loss above the reference after which the learning rate is halved, from the best"
        " weights so far; 0: never", unit="validations", low=0, high=1_000_000, shape=True, since=5,
    )  # fmt: skip
    halve_rule: str = option(
        "reference", "the reference: `reference`, the last loss that was not above it, and at a halving that one; or "
        "`best`, the best loss so far", choices=("reference", "best"), needs="halve_after", since=5,
    )  # fmt: skip
    halve_from: int = option(
        0, "steps before which no rate is halved", unit="steps", low=0, high=10**9, needs="halve_after", since=5
    )
    halvings: int = option(5, "halvings after which training ends", low=1, high=1000, needs="halve_after", since=5)

    def validates(self) -> bool:
        """Whether anything looks at validations."""
        return self.halve_after > 0

    def idle(self, cell: Cell) -> dict[str, Any]:
        """Options without effect, at their default."""
        return {} if self.validates() else {"validate_every": 0, "validate_images": 500}


@dataclass(frozen=True)
class JointOptions(HalvingOptions, BatchOptions):
    """Minibatches, and a rate that may be halved."""


@dataclass(frozen=True)
class ContinueOptions(BatchOptions):
    """Of a cell that takes over another one's weights: see `models.cell.continuation`."""

    refused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("inner_updates", "inner_rule", "aggressive_steps", "mi_stop"),
        "a branch trains jointly at every rho: aggressive training with other cells' weights is not there",
    ) | dict.fromkeys(
        ("halve_after", "halve_rule", "halve_from", "halvings"),
        "a branch trains for equally many steps at every rho, which a schedule that ends by itself would not",
    )


@dataclass(frozen=True)
class AggressiveOptions(JointOptions):
    """Updates of the inference network alone before each step (He et al. 2019): `models.procedures.aggressive`."""

    inner_updates: int = option(
        0, "K, updates of the inference network alone before each update of the generative one, while training is "
        "aggressive; 0: none, which is joint training", unit="updates", low=0, high=1000, since=5, pace=True,
        symbol="K", label="inner updates, K", collapses="low", off="joint",
    )  # fmt: skip
    inner_rule: str = option(
        "no", f"whether inner updates go on while their mean loss over 10 falls, up to {MAX_INNER}, in place of a "
        "fixed number", choices=YES_NO, pace=True, since=5,
    )  # fmt: skip
    aggressive_steps: int = option(
        0, "steps after which training is joint; 0: none, unless `mi_stop` says so", unit="steps", low=0, high=10**9,
        since=5, symbol="aggressive steps", label="steps of aggressive training",
    )  # fmt: skip
    mi_stop: str = option(
        "none", "when else training becomes joint, by the mutual information between image and top layer on validation "
        "images: `none`; at the `first_fall` from one validation to the next; or at the `fifth_below_best`, the fifth "
        "validation in all below the best one", choices=("none", "first_fall", "fifth_below_best"), since=5,
    )  # fmt: skip

    def faults(self) -> dict[str, str]:
        """A fixed number and the rule exclude each other."""
        if self.inner_rule == "yes" and self.inner_updates:
            what = "inner_updates should be 0 where inner_rule is yes, which decides their number"
            return {"inner_updates": f"{what}; got {self.inner_updates}"}
        return {}

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """There must be an inference network."""
        if not cell.depth:
            why = f"procedure {cell.procedure} updates the inference network alone, and {cell.network} has none"
            return {"procedure": f"{why}: train it with procedure joint"}
        return {}

    def size(self, joint: Size) -> Size:
        """Of a step with its inner updates, from that of a joint one: for planning, not to the last operation."""
        inner = USUAL_INNER if self.inner_rule == "yes" else self.inner_updates
        return replace(joint, flops=round(joint.flops * (1 + INNER_WORK * inner)))

    def work(self, joint: Size, start: int, steps: int) -> float:
        """Operations from step `start` to `steps`, of which those after `aggressive_steps` are joint ones."""
        until = min(steps, self.aggressive_steps or steps)
        aggressive = max(until - start, 0)
        return float(self.size(joint).flops) * aggressive + float(joint.flops) * (steps - start - aggressive)

    def validates(self) -> bool:
        """See `HalvingOptions`."""
        return super().validates() or (self.mi_stop != "none" and self._inner)

    @property
    def _inner(self) -> bool:
        return self.inner_updates > 0 or self.inner_rule == "yes"

    def idle(self, cell: Cell) -> dict[str, Any]:
        """See `HalvingOptions`."""
        without = {} if self._inner else {"aggressive_steps": 0, "mi_stop": "none"}
        return super().idle(cell) | without


@dataclass(frozen=True)
class SemiAmortizedOptions(JointOptions):
    """Numbers of q refined for each image (Kim et al. 2018): `models.procedures.semi_amortized`."""

    svi_steps: int = option(
        10, "steps of gradient ascent by which q's numbers are refined for each image", unit="steps", low=1, high=1000,
        shape=True, since=5, label="refinement steps",
    )  # fmt: skip
    svi_rate: float = option(
        0.03125, "step size of the refinement, of the gradient of an image's own ELBO (published: 1 / batch size)",
        low=0.0, high=1e3, since=5, label="refinement rate", collapses="low", off="no refinement",
    )  # fmt: skip
    svi_momentum: float = option(
        0.5, "momentum of the refinement", low=0.0, high=0.999999, since=5, label="refinement momentum"
    )
    svi_gradient: str = option(
        "full", "gradient of training through the refinement: `full`, through all of its steps; `first_order`, as if "
        "their gradients did not depend on where they are taken, which is another estimator", shape=True,
        choices=("full", "first_order"), since=5,
    )  # fmt: skip

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """What is refined are mean and deviation of every layer's q."""
        found: dict[str, str] = {}
        if not cell.depth:
            found["procedure"] = f"procedure {cell.procedure} refines q, and {cell.network} has none"
        elif cell.posterior != "gaussian":
            found["posterior"] = (
                f"posterior {cell.posterior} with procedure semi_amortized: what is refined for each image are mean "
                "and deviation of a Gaussian, which a flow's terms do not tell: take posterior gaussian"
            )
        elif cell.has("smooth_posterior") and cell.smooth_posterior == "yes":
            found["smooth_posterior"] = (
                "smooth_posterior should be no with semi_amortized: the numbers of each image take the place of the "
                "inference maps that it would smooth"
            )
        return found

    def size(self, joint: Size) -> Size:
        """Of a step with its refinement, from that of a joint one: for planning, not to the last operation."""
        work, kept = (FULL_WORK, 1.0) if self.svi_gradient == "full" else (FIRST_ORDER_WORK, 0.0)
        return replace(
            joint,
            flops=round(joint.flops * (1 + work * self.svi_steps)),
            memory_bytes=round(joint.memory_bytes * (1 + kept * self.svi_steps)),
        )
