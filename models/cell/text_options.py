"""Options of `data: text`, sentences from files of one's own: here without numpy, beside the cells that have them.

They are all that a cell knows of its data before any file is opened: the shape of a sequence follows from two of them,
and the digest says which files are meant, so that another text is another cell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.cell.fields import YES_NO, option
from models.cell.sequence_shape import SequenceShape

FILES = {"train": "train.txt", "validation": "validation.txt", "test": "test.txt"}
DIGEST_DIGITS = 16
MIN_VOCABULARY = 3  # the end, and two symbols to tell apart
_CORPUS, _DIGEST = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", f"[0-9a-f]{{{DIGEST_DIGITS}}}"


def is_corpus(name: str) -> bool:
    """Whether a folder in `text/` may have that name."""
    return re.fullmatch(_CORPUS, name) is not None


def _corpus(name: str) -> None:
    """Raise ValueError where no folder in `text/` may have that name."""
    if not is_corpus(name):
        raise ValueError(
            f"should be the name of a folder in $SWEEPER_DATA/text, letters, digits, '.', '_' and '-', got {name!r}"
        )


def _digest(digits: str) -> None:
    """Raise ValueError for anything but the digits of a digest."""
    if not re.fullmatch(_DIGEST, digits):
        raise ValueError(
            f"should be {DIGEST_DIGITS} hexadecimal digits in quotes, as `sweeper doctor` prints them, got {digits!r}"
        )


@dataclass(frozen=True)
class TextOptions:
    """Which text, and what is read of it. Each decides the data, so that cells of one stack share them all."""

    corpus: str = option(
        "", f"folder of a text of your own, `$SWEEPER_DATA/text/<corpus>` with {', '.join(FILES.values())}",
        check=_corpus, pattern=f"^{_CORPUS}$", shape=True, since=8,
    )  # fmt: skip
    corpus_digest: str = option(
        "", f"first {DIGEST_DIGITS} digits of the digest of its files, which `sweeper doctor` prints; training starts "
        "with files of this digest alone", check=_digest, pattern=f"^{_DIGEST}$", shape=True, since=8,
    )  # fmt: skip
    max_tokens: int = option(
        200, "symbols of the longest sentence, without its end; longer ones are left out", unit="symbols", low=1,
        high=10_000, shape=True, since=8,
    )  # fmt: skip
    vocabulary: int = option(
        0, "symbols that there are: the end, one for unknown ones, and the commonest of the training sentences that "
        "are not left out; has to be said", unit="symbols", low=MIN_VOCABULARY, high=1 << 24, shape=True, since=8,
    )  # fmt: skip
    label_before_tab: str = option(
        "no", "whether each line begins with a label and a tab, which are left out", choices=YES_NO, shape=True,
        since=8,
    )  # fmt: skip

    @property
    def shape(self) -> SequenceShape:
        """Of a sentence."""
        return SequenceShape(self.max_tokens + 1, self.vocabulary)

    def words(self, data: str) -> str:
        """`text yahoo`."""
        return f"{data} {self.corpus}"

    def faults(self) -> dict[str, str]:
        """A sentence for each option that has to be said, or does not go with the others, by its name."""
        found = {}
        if not self.corpus:
            found["corpus"] = "corpus is missing: with data text it is the name of a folder in $SWEEPER_DATA/text"
        if not self.vocabulary:
            found["vocabulary"] = (
                "vocabulary is missing: with data text it is the number of symbols, the end and the unknown one among "
                "them (`sweeper doctor` says how many a text has)"
            )
        return found
