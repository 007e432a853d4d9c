"""What is known of the bidirectional-inference VAE without torch: its options, its convolutions, what a cell needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from models.cell.fields import option
from models.cell.image_shape import ImageShape
from models.cell.latents import MapShape
from models.cell.size import Size
from models.networks.convolution_spec import Conv, Convolution, applied, map_convs
from models.networks.ladder_resnet_spec import head, merge_convs, merging, needed, path_up
from models.networks.ladder_spec import other_than
from models.networks.resnet_spec import ResnetOptions

if TYPE_CHECKING:
    from models.cell.cell import Cell

UNSMOOTHABLE = (
    "what is above a bottom-up variable is drawn given that variable itself, and a top-down one given itself what is "
    "above it: smoothed samples would not be those that q's conditions hold, and even with one sample, S = 1, the "
    "objective would not be that of the plain model"
)
_ONLY = {  # of other fields of a cell: the value that it goes with, and why no other
    "posterior": ("gaussian", "the heads of its variables have no outputs for a flow"),
    "prior": ("normal", "q of the top variable sees samples of those below it, which no pseudo-input has"),
    "gradient_estimator": ("plain", "the others detach q's parameters, among which are maps that it shares with p"),
    "skip": ("none", "its path down carries every level above to all below already"),
}
_MAPS = "[1-9][0-9]{0,4}"


def _each_maps(text: str) -> None:
    if text != "same" and not re.fullmatch(f"{_MAPS}(-{_MAPS})*", text):
        raise ValueError(f"maps of bottom-up variables should be `same`, or whole numbers joined by '-', got {text!r}")


@dataclass(frozen=True)
class BivaOptions(ResnetOptions):
    """Levels, their variables' maps, and the convolutions between them.

    `latents` are the top-down variables of levels 1 … L − 1 and the one variable of level L.
    """

    bottom_up_maps: str = option(
        "same", "latent maps of the bottom-up variables of levels 1 … L − 1, on the grids of the top-down ones, `4-2`; "
        "one number for all; `same`: as many as these have", check=_each_maps, shape=True, since=5,
        pattern=f"^(same|{_MAPS}(-{_MAPS})*)$",
    )  # fmt: skip

    @cached_property
    def bottom_up_grids(self) -> tuple[MapShape, ...]:
        """Maps of the bottom-up variables, levels 1 … L − 1."""
        levels = self.latent_grids[:-1]
        if self.bottom_up_maps == "same":
            return levels
        said = [int(each) for each in self.bottom_up_maps.split("-")]
        said = said * len(levels) if len(said) == 1 else said
        return tuple(MapShape(maps, *each[1:]) for maps, each in zip(said, levels, strict=True))

    @cached_property
    def latent_sizes(self) -> tuple[int, ...]:
        """Units of all variables: by level from the data up, in each the bottom-up one first; the top one last."""
        pairs = zip(self.bottom_up_grids, self.latent_grids, strict=False)
        return (*(each.units for pair in pairs for each in pair), self.latent_grids[-1].units)

    def faults(self) -> dict[str, str]:
        """See `ResnetOptions`."""
        found, counted = super().faults(), len(self.bottom_up_maps.split("-"))
        if not found and counted > 1 and counted != len(self.latent_grids) - 1:
            found["bottom_up_maps"] = (
                f"bottom_up_maps {self.bottom_up_maps!r} describes {counted} levels, latents {len(self.latent_grids)}, "
                "of which the top one has no bottom-up variable"
            )
        return found

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """A sentence for each field of the cell that does not go with this network."""
        return super().conflicts(cell) | other_than(_ONLY, cell)

    def canonical(self) -> BivaOptions:
        """The same options, in which as many maps as the top-down variables have are written as `same`."""
        made: BivaOptions = super().canonical()  # type: ignore[assignment]
        return replace(made, bottom_up_maps="same") if self.bottom_up_grids == self.latent_grids[:-1] else made

    def words(self, network: str) -> str:
        """The network in words, with the maps of the bottom-up variables where they differ from the top-down ones'."""
        more = "" if self.bottom_up_maps == "same" else f" bottom-up {self.bottom_up_maps}"
        return super().words(network) + more


class BivaConvs(NamedTuple):
    """The convolutions of a BIVA network, a list for each level from 1.

    - `up`: from the features of the level below, or an image, to those of this one.
    - `heads`: q of the bottom-up variable, at level L of the top one.
    - `enter`: from the bottom-up variable, added to the level's features on their way up; of levels below L.
    - `merges`: q of the top-down variable; of levels below L.
    - `down`: from the level's variables to p of those of the level below, or to what the likelihood is given; to the
      first of them the features from above are added.
    """

    up: list[list[Conv]]
    heads: list[list[Conv]]
    enter: list[list[Conv]]
    merges: list[list[Conv]]
    down: list[list[Conv]]

    def every(self) -> Iterator[list[Conv]]:
        """All lists."""
        for kind in self:
            yield from kind


def biva_convs(options: BivaOptions, image: ImageShape, outputs: int) -> BivaConvs:
    """`outputs`: numbers per position of an image that the likelihood is given."""
    maps, levels, bottom_up = options.maps, options.latent_grids, options.bottom_up_grids
    of_q = (*bottom_up, levels[-1])
    both = [*(MapShape(a.maps + b.maps, *a[1:]) for a, b in zip(bottom_up, levels, strict=False)), levels[-1]]
    below = (MapShape(outputs, image.height, image.width), *both[:-1])
    return BivaConvs(
        up=path_up(options, image),
        heads=[[head(maps, each.maps, each)] for each in of_q],
        enter=[[Conv("first", each.maps, maps, each.positions)] for each in bottom_up],
        merges=[merge_convs(maps, each) for each in levels[:-1]],
        down=[
            map_convs(given, wanted, 2 if place else 1, maps, options.blocks)
            for place, (given, wanted) in enumerate(zip(both, below, strict=True))
        ],
    )


def biva_size(cell: Cell, shape: ImageShape) -> Size:
    """What one cell needs: parameters, operations of a step, memory.

    Only what stands below the first draw sees an image once for all chains: the features of level 1 and their head.
    """
    cell = cell.canonical()
    convs = biva_convs(cell.options("network"), shape, cell.output_maps(shape))
    images, rows = cell.batch_size, cell.batch_size * cell.training_chains
    found: list[Convolution] = []
    for place, (path, of_q) in enumerate(zip(convs.up, convs.heads, strict=True)):
        found += applied(path, rows if place else images, of_data=not place)
        found += applied(of_q, rows if place else images)
    for place, each in enumerate(convs.merges):
        found += merging(each, rows if place else images, rows)
    for each in (*convs.enter, *convs.down):
        found += applied(each, rows)
    return needed(cell, shape, list(convs.every()), found)
