"""Active units: which units' means say something of the image.

V = Var_x(e), e(x) the mean of q's mean over whole chains, less what the finite number of chains adds;
W is the mean over images of the variance of q's mean between chains. One chain per image measures V + W instead, and
calls dead units alive; both are returned.

Where q has no mean in closed form, as of a flow, the sample stands for it (`models.networks.network.Layer`). Then V is
the same quantity with a larger error, which the number of chains allows for (a dead unit with W = 1); W has the
variance of q in it, and one chain calls every unit active.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.evaluation.accumulators import Accumulator, ChainBlock, Sizes
from models.evaluation.which import ImageBlock


class Activities(Accumulator):
    """Signal and noise of every unit, and how many units are active: V exceeds `threshold` (Burda et al. 2016)."""

    def __init__(self, sizes: Sizes, threshold: float):
        self.latents, self.threshold = sizes.latents, threshold
        self.layers = [_LayerActivity(sizes, units) for units in sizes.latents]
        self.fewest = sys.maxsize  # chains of an image so far

    def add(self, block: ChainBlock) -> None:
        """All chains on the first binarisation."""
        if block.again:
            return
        for own, layer in zip(self.layers, block.terms.layers, strict=True):
            own.positions = layer.positions
            own.add(layer.q_mean.double().expand(-1, len(block.chains), -1, -1), block)

    def end_of_images(self, images: ImageBlock) -> None:
        """The images' sums become a few numbers per unit."""
        self.fewest = min(self.fewest, images.chains)
        for own in self.layers:
            own.end_of_images(images)

    def row(self, cell: int) -> dict[str, Any]:
        """`active_units` and what they follow from; of a single chain per image only the one-pass count is known."""
        known, threshold = self.fewest > 1, self.threshold
        found = [own.activity(cell) for own in self.layers]
        variances, noises, one_pass = ([each[i] for each in found] for i in range(3))
        units = [int((v > threshold).sum()) for v in variances] if known else None
        row: dict[str, Any] = {
            "active_units": units,
            "active_units_one_pass": [int((t > threshold).sum()) for t in one_pass],
            "relative_activity": units and [u / size for u, size in zip(units, self.latents, strict=True)],
            "activity_variance": [v.tolist() for v in variances] if known else None,
            "activity_noise": [w.tolist() for w in noises] if known else None,
            "activity_passes": self.fewest,
            "active_threshold": threshold,
        }
        return row | self._maps(variances) if known else row

    def _maps(self, variances: Sequence[Tensor]) -> dict[str, list[int]]:
        """`active_maps`: of each layer those whose V, averaged over positions, exceeds the threshold; none without
        grids."""
        positions = [own.positions for own in self.layers]
        if not positions or not all(positions):
            return {}
        means = [v.view(-1, n).mean(1) for v, n in zip(variances, positions, strict=True)]
        return {"active_maps": [int((each > self.threshold).sum()) for each in means]}


class _LayerActivity:
    """Running sums of q's mean, unit by unit of a layer."""

    def __init__(self, sizes: Sizes, units: int):
        self.images, self.positions = sizes.images, 0
        # Σ over chains for the images of the block, and the first chain of these
        self.mean, self.squared, self.first_pass = (sizes.zeros(sizes.largest_block, units) for _ in range(3))
        # Σ over images of W and of W / R
        self.within, self.excess = sizes.zeros(units), sizes.zeros(units)
        self.moments, self.first_moments = _Moments(sizes.zeros(units)), _Moments(sizes.zeros(units))

    def add(self, mean: Tensor, block: ChainBlock) -> None:
        """q's means of some chains, (cells, chains, images, units)."""
        n = block.images.count
        self.mean[:, :n] += mean.sum(1)
        self.squared[:, :n] += mean.square().sum(1)
        if block.chains[0] == 0:
            self.first_pass[:, :n] = mean[:, 0]

    def end_of_images(self, images: ImageBlock) -> None:
        n, chains = images.count, images.chains
        total, squared = self.mean[:, :n], self.squared[:, :n]
        within = ((squared - total.square() / chains).clamp_min(0.0) / max(chains - 1, 1)).sum(1)
        self.within += within
        self.excess += within / chains
        self.moments.add(total / chains)
        self.first_moments.add(self.first_pass[:, :n])
        self.mean.zero_()
        self.squared.zero_()

    def activity(self, cell: int) -> tuple[Tensor, Tensor, Tensor]:
        """V̂, W and the one-pass T of each unit."""
        noise = self.within[cell] / self.images
        variance = self.moments.variance()[cell] - self.excess[cell] / self.images
        return variance, noise, self.first_moments.variance()[cell]


class _Moments:
    """Mean and variance over images, block by block (Chan, Golub & LeVeque 1983); `zeros` is (cells, units)."""

    def __init__(self, zeros: Tensor):
        self.count, self.mean, self.squares = 0, zeros, torch.zeros_like(zeros)

    def add(self, block: Tensor) -> None:
        """Values of a block of images, (cells, images, units)."""
        n, mean = block.shape[1], block.mean(1)
        total = self.count + n
        shift = mean - self.mean
        self.squares += (block - mean.unsqueeze(1)).square().sum(1) + shift.square() * (self.count * n / total)
        self.mean = self.mean + shift * (n / total)
        self.count = total

    def variance(self) -> Tensor:
        """(cells, units), with the count less one."""
        return self.squares / max(self.count - 1, 1)
