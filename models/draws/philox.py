"""Counter-based random numbers computed on the device that wants them: Philox 4×32 with ten rounds, in torch.

(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.) A block of four 32-bit words is a function of a
64-bit key, the seed, and a 128-bit counter, the address:

    word 0: place of the block in the draw      word 1: purpose (7 bits), layer (7), inner (18)      words 2, 3: step

so that no two addresses share a block. `step` may be a tensor on the device: then nothing waits for the host, and the
computation can be captured as a CUDA graph. torch has no unsigned 32-bit arithmetic, so words live in int64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

NAME = "torch-philox4x32-1"  # recorded with every result whose draws it made

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_MASK = 0xFFFFFFFF
ROUNDS = 10


def schedule(key: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The two key words of each round, from those of the first."""
    return [((key[0] + n * _WEYL[0]) & _MASK, (key[1] + n * _WEYL[1]) & _MASK) for n in range(ROUNDS)]


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], keys: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
    """Four words for each element of four counter words and the key words, which broadcast; int64 in [0, 2³²)."""
    c0, c1, c2, c3 = counter
    for k0, k1 in keys:
        # The product of two 32-bit words fills 64 bits; int64 wraps around, and the mask undoes the sign of the shift.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = ((p1 >> 32) & _MASK) ^ c1 ^ k0, ((p0 >> 32) & _MASK) ^ c3 ^ k1
        c1, c3 = p1 & _MASK, p0 & _MASK
    return c0, c1, c2, c3


def address(purpose: int, layer: int, inner: int) -> int:
    """Word 1 of the counter. Raises ValueError where a number does not fit.

    The upper two bits of a purpose are the word's: purposes below 32 have the addresses that they had before there were
    others.
    """
    for name, value, bits in (("purpose", purpose, 7), ("layer", layer, 7), ("inner", inner, 18)):
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} of a draw should be in [0, {1 << bits}), got {value}")
    return (purpose & 31) | layer << 5 | inner << 12 | (purpose >> 5) << 30


def keys_of(seeds: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The keys of seeds, int64, (seeds,), as `words` takes them."""
    return schedule(((seeds & _MASK).unsqueeze(1), (seeds >> 32 & _MASK).unsqueeze(1)))


def words(keys: Sequence[tuple[Tensor, Tensor]], place: Tensor, which: Tensor, step: Tensor) -> Tensor:
    """(seeds, 4 n) words of the blocks at (n,) places of the draws `which` (`address`, (n,)) at a step.

    `keys` of the seeds (`keys_of`); `step` int64 without axes.
    """
    counter = (place.unsqueeze(0), which.unsqueeze(0), step & _MASK, step >> 32 & _MASK)
    return torch.stack(philox(counter, keys), dim=-1).flatten(1)


def uniform(found: Tensor) -> Tensor:
    """Words → float32 on [0, 1), each its upper 24 bits."""
    return (found >> 8).to(torch.float32) * 2.0**-24


def normal(found: Tensor) -> Tensor:
    """Words → standard normals, float32, two of two words (Box & Muller 1958); an even number of words per row."""
    first, second = found[:, 0::2].to(torch.float32), found[:, 1::2].to(torch.float32)
    radius = torch.sqrt(torch.log((first + 0.5) * 2.0**-32).clamp_max(0.0) * -2.0)
    angle = second * (2.0**-32 * 2.0 * math.pi)
    return torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), dim=-1).flatten(1)
