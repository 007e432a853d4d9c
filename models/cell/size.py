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
    """An affine map in a training step: `rows` of so many inputs to so many outputs; `of_data`: none flows back."""

    rows: int
    inputs: int
    outputs: int
    of_data: bool = False

    @property
    def flops(self) -> int:
        """Of its matrix products: one forward, one for the weight's gradient and one for the input's."""
        return (4 if self.of_data else 6) * self.rows * self.inputs * self.outputs
