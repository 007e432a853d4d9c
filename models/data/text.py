"""Text of one sentence per line, symbols separated by white space: files as lists of symbols, and vocabularies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from models.data.sequences import UNKNOWN
from models.data.sources import DataCorrupt

Sentence = list[str]


def read_lines(path: Path, content: bytes, encoding: str = "utf-8") -> list[str]:
    """The lines of a text, at least one, of which none is empty. Raises DataCorrupt, naming the line."""
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as fault:
        place = content[: fault.start].count(b"\n") + 1
        raise DataCorrupt(
            f"{path}, line {place}: no {encoding.upper()} (byte 0x{content[fault.start]:02x}): save the file as "
            f"{encoding.upper()}"
        ) from None
    lines = text.removesuffix("\n").split("\n")  # not splitlines(), which also cuts at separators within a sentence
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise DataCorrupt(f"{path}, line {number}: is empty, where each line should have a sentence")
    return lines


def read_sentences(path: Path, content: bytes, encoding: str = "utf-8") -> list[Sentence]:
    """The symbols of each line. Raises DataCorrupt as `read_lines` does."""
    return [line.split() for line in read_lines(path, content, encoding)]


def vocabulary(sentences: Iterable[Sequence[str]], least: int = 1) -> list[str]:
    """Symbols that occur at least so often, the commonest first and equally common ones in the order of their names.

    Where rarer ones are left out, `UNKNOWN` comes before all others.
    """
    counts = Counter(symbol for sentence in sentences for symbol in sentence)
    known = sorted((symbol for symbol, count in counts.items() if count >= least), key=lambda s: (-counts[s], s))
    return known if len(known) == len(counts) and least == 1 else [UNKNOWN, *(s for s in known if s != UNKNOWN)]
