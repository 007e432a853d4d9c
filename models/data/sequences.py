"""A data set of sequences of symbols: sentences as words, words as phonemes.

A row is x₁ … x_n, the end symbol, and then the end symbol again up to the row's length: whatever follows the first end
is padding. So a row alone says how long its sequence is, and no number stands for padding. A network begins with a
start symbol, which no row has: it is neither drawn nor scored, whereas the end is scored, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from models.cell.sequence_shape import END, SequenceShape
from models.data.dataset import SPLITS, Dataset
from models.data.sources import DataCorrupt

MAX_VOCABULARY = 1 << 24  # numbers that float32 has exactly, as which a network is given them
UNKNOWN = "<unk>"  # stands for symbols that are not in the vocabulary


@dataclass(frozen=True, eq=False)
class Sequences(Dataset):
    """Sequences as rows: arrays (sequences, shape.length) of the smallest of uint8, int16 and int32 for the vocabulary.

    - `symbols`: the names of symbols 1, 2, …; symbol 0 is the end.
    - `levels`, `probabilities`: not used; `notes` as of any data set.

    Raises ValueError where the arrays do not fit, or a row has no end.
    """

    symbols: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check types, shapes and values, and make the arrays read-only."""
        length, vocabulary = self.sequence
        kind = dtype_of(vocabulary)
        if vocabulary != len(self.symbols) + 1 or not 2 <= vocabulary <= MAX_VOCABULARY:
            raise ValueError(f"data set {self.name}: {len(self.symbols):,} symbols and the end are no {vocabulary:,}")
        for split, array in self.splits():
            where = f"data set {self.name}, {split}"
            if array.dtype != kind or array.ndim != 2 or array.shape[1] != length or not len(array):
                wanted = f"{kind} of shape (sequences, {length})"
                raise ValueError(f"{where}: should be {wanted}, got {array.dtype} of shape {array.shape}")
            if array.min() < 0 or array.max() >= vocabulary:
                raise ValueError(f"{where}: symbols should be in 0 … {vocabulary - 1}")
            ended = array == END
            if not ended[:, -1].all() or (ended[:, :-1] & ~ended[:, 1:]).any():
                raise ValueError(f"{where}: a row should have nothing but end symbols from its first one on")
            frozen = np.ascontiguousarray(array).view()
            frozen.setflags(write=False)
            object.__setattr__(self, split, frozen)

    @property
    def sequence(self) -> SequenceShape:
        """`shape`, which is that of a sequence."""
        assert isinstance(self.shape, SequenceShape)
        return self.shape

    @property
    def kind(self) -> str:
        """`tokens`."""
        return "tokens"

    @cached_property
    def mean_pixel(self) -> npt.NDArray[np.float64]:
        """Share of each symbol among those that training sequences are scored for, float64 of shape (vocabulary,)."""
        vocabulary = self.sequence.vocabulary
        counts = np.bincount(self.train.ravel(), minlength=vocabulary).astype(np.float64)
        counts[END] = len(self.train)  # of each row one, the others are padding
        shares: npt.NDArray[np.float64] = counts / counts.sum()
        shares.setflags(write=False)
        return shares

    def _header(self) -> dict[str, Any]:
        return {"symbols": self.symbols}


def scored(rows: npt.NDArray[Any]) -> int:
    """Symbols that a likelihood scores in these rows: all up to the first end, which is one of them."""
    return int((rows != END).sum()) + len(rows)


def dtype_of(vocabulary: int) -> np.dtype[Any]:
    """The type of a row's numbers."""
    return np.dtype(np.uint8 if vocabulary <= 1 << 8 else np.int16 if vocabulary <= 1 << 15 else np.int32)


def sequences(
    name: str,
    splits: Mapping[str, Sequence[Sequence[str]]],
    symbols: Sequence[str],
    length: int,
    unknown: str = "",
    notes: tuple[str, ...] = (),
) -> Sequences:
    """The data set of these sequences of symbols.

    Args:
        splits: `train`, `validation` and `test`, each sequence without its end.
        symbols: all that there are. `unknown`: that of them which takes the place of others; "": others are an error.
        length: of the longest sequence, without its end.

    Raises DataCorrupt for a symbol that is unknown where none may be, and for a sequence that is too long or empty.
    """
    numbers = {symbol: number for number, symbol in enumerate(symbols, start=1)}
    other = numbers.get(unknown, END)
    shape, arrays = SequenceShape(length + 1, len(numbers) + 1), {}
    for split in SPLITS:
        rows = np.full((len(splits[split]), shape.length), END, dtype_of(shape.vocabulary))
        for place, sequence in enumerate(splits[split]):
            row = [numbers.get(symbol, other) for symbol in sequence]
            if END in row:
                strange = sequence[row.index(END)]
                raise DataCorrupt(
                    f"data set {name}, {split}, sequence {place + 1}: {strange!r} is none of its {len(numbers):,} "
                    "symbols, and none stands for unknown ones"
                )
            if not 0 < len(row) <= length:
                raise DataCorrupt(
                    f"data set {name}, {split}, sequence {place + 1}: should have 1 … {length} symbols, got {len(row)}"
                )
            rows[place, : len(row)] = row
        arrays[split] = rows
    train, validation, test = (arrays[split] for split in SPLITS)
    return Sequences(name, train, validation, test, levels=0, shape=shape, symbols=tuple(symbols), notes=notes)
