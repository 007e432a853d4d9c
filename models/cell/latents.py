"""What a cell's `latents` say: units of each stochastic layer, or, of a convolutional network, maps on a grid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from models.cell.fields import REQUIRED, option, parse_sizes

_UNITS, _GRID = "[1-9][0-9]{0,6}", "[1-9][0-9]{0,4}x[1-9][0-9]{0,3}x[1-9][0-9]{0,3}"


class MapShape(NamedTuple):
    """Maps of one height and width: a layer's units, or what goes on between layers. Units lie map by map."""

    maps: int
    height: int
    width: int

    @property
    def units(self) -> int:
        """Numbers in all."""
        return self.maps * self.height * self.width

    @property
    def positions(self) -> int:
        """Height × width."""
        return self.height * self.width


def parse_grids(text: str | int, what: str = "latents: layers") -> tuple[MapShape, ...]:
    """`"8x7x7-4x7x7"` → `(MapShape(8, 7, 7), MapShape(4, 7, 7))`. Raises ValueError, naming `what`, for other texts."""
    parts = str(text).split("-")
    if not all(re.fullmatch(_GRID, part) for part in parts):
        raise ValueError(f"{what} should be maps x height x width joined by '-', as in 8x7x7-8x7x7; got {text!r}")
    return tuple(MapShape(*map(int, part.split("x"))) for part in parts)


@lru_cache(maxsize=4096, typed=True)
def latent_units(text: str | int) -> tuple[int, ...]:
    """Units of layers 1 … L, of either form: `"40-20"` → `(40, 20)`, `"8x7x7-4x7x7"` → `(392, 196)`."""
    if "x" in str(text):
        return tuple(each.units for each in parse_grids(text, "layers"))
    return parse_sizes(text)


@dataclass(frozen=True)
class LatentOptions:
    """The stochastic layers of a network."""

    latents: str = option(
        REQUIRED, "units of the stochastic layers from the data up, `40-40-40-40`; of a convolutional network maps × "
        "height × width, `8x7x7-8x7x7`", check=latent_units, shape=True,
        pattern=f"^({_UNITS}(-{_UNITS})*|{_GRID}(-{_GRID})*)$",
    )  # fmt: skip
