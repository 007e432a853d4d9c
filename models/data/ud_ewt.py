"""Sentences of the Universal Dependencies English Web Treebank 2.15 (Silveira et al. 2014; CC BY-SA 4.0).

Weblogs, newsgroups, e-mails, reviews and answers, in the release's own split. Files are `ud_ewt/train.txt.gz`, `dev`
and `test`, a sentence on each line: genre, tab, tokens separated by spaces. They are never downloaded; the registered
digest says which are meant. Tokens are lower-cased. The vocabulary is made of those that occur at least three times in
training sentences, of any length; one symbol stands for all others. Sentences of more than 40 tokens are left out. A
sentence's label is its genre: answers, email, newsgroup, reviews, weblog.
"""

from __future__ import annotations

from dataclasses import replace

from models.data.labels import Labels, split_like
from models.data.sequences import UNKNOWN, Sequences, sequences
from models.data.sources import DataCorrupt, locate, read_gzip
from models.data.text import Sentence, read_lines, vocabulary

FILES = {"train": "train.txt.gz", "validation": "dev.txt.gz", "test": "test.txt.gz"}
MAX_TOKENS = 40
LEAST = 3  # occurrences of a token of the vocabulary
GENRES = ["answers", "email", "newsgroup", "reviews", "weblog"]


def load() -> Sequences:
    """The sentences. Raises DataMissing, DataCorrupt."""
    splits = {split: [sentence for _, sentence in _read(file)] for split, file in FILES.items()}
    known = vocabulary(splits["train"], LEAST)
    short = {split: [each for each in found if len(each) <= MAX_TOKENS] for split, found in splits.items()}
    return replace(sequences("ud_ewt", short, known, MAX_TOKENS, UNKNOWN), read_labels=_labels)


def _labels() -> Labels:
    numbers = {genre: number for number, genre in enumerate(GENRES)}
    found: list[int] = []
    parts = []
    for file in FILES.values():
        first = len(found)
        found += [numbers.get(genre, -1) for genre, sentence in _read(file) if len(sentence) <= MAX_TOKENS]
        parts.append(slice(first, len(found)))
    return split_like(found, *parts)


def _read(file: str) -> list[tuple[str, Sentence]]:
    """Genre and tokens of each sentence."""
    path, found = locate("ud_ewt", file), []
    for number, line in enumerate(read_lines(path, read_gzip(path)), start=1):
        genre, tab, sentence = line.partition("\t")
        if not tab or not sentence.strip():
            raise DataCorrupt(f"{path}, line {number}: should be a genre, a tab and tokens, got {line[:60]!r}")
        found.append((genre, sentence.lower().split()))
    return found
