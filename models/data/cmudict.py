"""Words as sequences of phonemes: the CMU Pronouncing Dictionary 0.7a (unrestricted use; Carnegie Mellon University).

`cmudict/cmudict.gz` has a pronunciation on each line: word, its number among those of the word, phonemes, of which
vowels have a digit for their stress. It is never downloaded. Stress is left out, so that 39 phonemes remain, and so are
pronunciations of more than 16 of them. The split is by word, whose pronunciations stay together: 5,000 words each for
validation and test, by a fixed permutation.
"""

from __future__ import annotations

from models.data.dataset import shuffled
from models.data.sequences import Sequences, sequences
from models.data.sources import DataCorrupt, locate, read_gzip
from models.data.text import Sentence, read_sentences

PHONEMES = [
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY", "JH", "K",
    "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
]  # fmt: skip
MAX_PHONEMES = 16
HELD_OUT = 5_000  # words


def load() -> Sequences:
    """The pronunciations. Raises DataMissing, DataCorrupt, also where a line has something else than phonemes."""
    path = locate("cmudict", "cmudict.gz")
    words: dict[str, list[Sentence]] = {}
    for number, line in enumerate(read_sentences(path, read_gzip(path), "iso-8859-1"), start=1):
        if len(line) < 3:
            raise DataCorrupt(f"{path}, line {number}: should be a word, a number and phonemes, got {' '.join(line)!r}")
        said = words.setdefault(line[0], [])
        if len(line) - 2 <= MAX_PHONEMES:
            said.append([phoneme.rstrip("012") for phoneme in line[2:]])
    order = list(words)
    places = shuffled("cmudict", len(order))
    parts = {
        "validation": places[:HELD_OUT], "test": places[HELD_OUT : 2 * HELD_OUT], "train": places[2 * HELD_OUT :],
    }  # fmt: skip
    splits = {split: [said for place in chosen for said in words[order[place]]] for split, chosen in parts.items()}
    return sequences("cmudict", splits, PHONEMES, MAX_PHONEMES)
