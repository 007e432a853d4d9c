"""What one cell needs, for planning: so without torch. Each network says it of its own cells, in its `_spec` module."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Of one cell.

    - `parameters`: trained numbers.
    - `flops`: floating-point operations of a training step's matrix products, forward and backward.
    - `memory_bytes`: at its peak, in training or while a checkpoint is written.
    """

    parameters: int
    flops: int
    memory_bytes: int

    def __add__(self, other: Size) -> Size:
        """Of two parts of a cell together."""
        return Size(
            self.parameters + other.parameters,
            self.flops + other.flops,
            self.memory_bytes + other.memory_bytes,
        )


@dataclass(frozen=True)
class Affine:
    """An affine map in a training step: `rows` of so many inputs to so many outputs.

    `of_data`: no gradient flows back to its input; `fixed`: none to its weight; `again`: its parameters are another's.
    """

    rows: int
    inputs: int
    outputs: int
    of_data: bool = False
    fixed: bool = False
    again: bool = False

    @property
    def flops(self) -> int:
        """Of its matrix products: one forward, one for the weight's gradient and one for the input's."""
        return (6 - 2 * self.of_data - 2 * self.fixed) * self.rows * self.inputs * self.outputs
