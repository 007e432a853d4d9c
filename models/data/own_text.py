"""Text of a user's own: files of one sentence per line, symbols separated by white space.

They are `text/<corpus>/train.txt`, `validation.txt` and `test.txt`, UTF-8, plain or with `.gz`, in `$SWEEPER_DATA` or
the cache. The digest that a cell says is that of their decompressed bytes: other files are other cells. Sentences of
more than `max_tokens` symbols are left out, and the vocabulary is that of the training sentences that remain, as in the
code of Kim et al. 2018 and He et al. 2019: the end symbol, one for unknown symbols, and the commonest others. Where all
symbols of these sentences fit in without one for unknown ones, there is none, and other splits may have no others.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.cell.text_options import DIGEST_DIGITS, FILES, TextOptions, is_corpus
from models.data.sequences import UNKNOWN, Sequences, sequences
from models.data.sources import DataCorrupt, folders, locate, read_gzip
from models.data.text import Sentence, read_lines, vocabulary

FOLDER = "text"
NONE_HERE = (
    f"put {', '.join(FILES.values())}, a sentence on each line, into $SWEEPER_DATA/{FOLDER}/<corpus> for data: text, a "
    "text of your own"
)


def load(options: TextOptions) -> Sequences:
    """The sentences. Raises DataMissing; DataCorrupt, with one line about what to change in a file or in the study."""
    corpus = read_corpus(options.corpus)
    if options.corpus_digest not in ("", corpus.digest):
        raise DataCorrupt(
            f'{corpus.name}: the files in {corpus.folder} have the digest "{corpus.digest}", asked for is '
            f'"{options.corpus_digest}": put those files there, or write corpus_digest: "{corpus.digest}" for these, '
            "which makes other cells"
        )
    splits = {split: list(_sentences(file, options)) for split, file in corpus.files.items()}
    most = options.max_tokens
    kept = {split: [line for line in lines if len(line.symbols) <= most] for split, lines in splits.items()}
    for split, lines in kept.items():
        if not lines:
            raise DataCorrupt(
                f"{corpus.files[split].path}: each of its {len(splits[split]):,} sentences has more than "
                f"{most:,} symbols: write a larger max_tokens"
            )
    known = _known(corpus, kept, options)
    if not options.corpus_digest:
        raise DataCorrupt(
            f'{corpus.name}: corpus_digest is missing: write corpus_digest: "{corpus.digest}" for the files in '
            f"{corpus.folder}, with {_counts(splits)} sentences"
        )
    chosen = {split: [line.symbols for line in lines] for split, lines in kept.items()}
    unknown = UNKNOWN if UNKNOWN in known else ""
    notes = tuple(_notes(corpus, splits, chosen, known, options))
    return sequences(corpus.name, chosen, known, most, unknown, notes)


class File(NamedTuple):
    """A file of a corpus, and its decompressed bytes."""

    path: Path
    content: bytes


class Line(NamedTuple):
    """A sentence, and which line of its file it is."""

    number: int
    symbols: Sentence


@dataclass(frozen=True)
class Corpus:
    """The files of a corpus by split, undecoded."""

    name: str
    files: Mapping[str, File]

    @property
    def folder(self) -> Path:
        """Where its training sentences lie."""
        return self.files["train"].path.parent

    @property
    def digest(self) -> str:
        """The first digits of the SHA-256 of each split's name, length and bytes."""
        digest = hashlib.sha256()
        for split, file in self.files.items():
            digest.update(f"{split} {len(file.content)}\n".encode())
            digest.update(file.content)
        return digest.hexdigest()[:DIGEST_DIGITS]


def read_corpus(name: str) -> Corpus:
    """The files of the corpus in the folder `name`. Raises DataMissing, DataCorrupt."""
    files = {}
    for split, file in FILES.items():
        path = locate(f"{FOLDER}/{name}", file, alternative=f"{file}.gz")
        files[split] = File(path, read_gzip(path) if path.suffix == ".gz" else path.read_bytes())
    return Corpus(f"{FOLDER} {name}", files)


def corpora() -> list[str]:
    """The folders in `text/` whose names a study may say, sorted."""
    places = [place for place in folders(FOLDER) if place.is_dir()]
    return sorted({each.name for place in places for each in place.iterdir() if each.is_dir() and is_corpus(each.name)})


def described(name: str) -> str:
    """What a study has to say of the corpus in the folder `name`. Raises as `load` does."""
    corpus = read_corpus(name)
    splits = {split: list(_sentences(file, TextOptions())) for split, file in corpus.files.items()}
    longest = max(len(line.symbols) for lines in splits.values() for line in lines)
    symbols = len({symbol for line in splits["train"] for symbol in line.symbols})
    return (
        f'corpus_digest: "{corpus.digest}"; {_counts(splits)} sentences of up to {longest:,} symbols, {symbols:,} '
        f"different ones in training: vocabulary: {symbols + 2} has them all, the end and one for unknown ones"
        + "; each line has one tab, which is no symbol: labels before it would count as symbols"
        * _tabbed(corpus)
    )


def _sentences(file: File, options: TextOptions) -> Iterator[Line]:
    """A file's sentences; equal symbols are one object, as there are millions. Raises DataCorrupt, naming the line."""
    seen: dict[str, str] = {}
    for number, line in enumerate(read_lines(file.path, file.content.removeprefix(codecs.BOM_UTF8)), start=1):
        sentence = line
        if options.label_before_tab == "yes":
            _, tab, sentence = line.partition("\t")
            if not tab or not sentence.strip():
                raise DataCorrupt(
                    f"{file.path}, line {number}: should be a label, a tab and a sentence, as label_before_tab says, "
                    f"got {line[:60]!r}"
                )
        yield Line(number, [seen.setdefault(symbol, symbol) for symbol in sentence.split()])


def _known(corpus: Corpus, kept: Mapping[str, list[Line]], options: TextOptions) -> list[str]:
    """The symbols that have a number, the end's aside. Raises DataCorrupt where they are not as many as asked for, or
    where one is unknown and none stands for unknown ones."""
    found, asked = vocabulary(line.symbols for line in kept["train"]), options.vocabulary - 1
    path = corpus.files["train"].path
    if len(found) == 1:
        raise DataCorrupt(f"{path}: has no other symbol than {found[0]!r}, so that there is nothing to learn")
    if asked == len(found):
        if UNKNOWN not in found:
            _refuse_unknown(corpus, kept, set(found))
        return found
    others = [symbol for symbol in found if symbol != UNKNOWN]
    if asked > len(others) + 1:
        raise DataCorrupt(
            f"{path}: training sentences of up to {options.max_tokens:,} symbols have {len(others):,} different ones: "
            f"write vocabulary: {len(others) + 2} for these, the end and one for unknown ones, or less (got "
            f"{options.vocabulary})"
        )
    return [UNKNOWN, *others[: asked - 1]]


def _refuse_unknown(corpus: Corpus, kept: Mapping[str, list[Line]], known: set[str]) -> None:
    for split, lines in kept.items():
        for line in lines:
            for symbol in line.symbols:
                if symbol not in known:
                    raise DataCorrupt(
                        f"{corpus.files[split].path}, line {line.number}: no training sentence has {symbol!r}, and "
                        f"with vocabulary: {len(known) + 1} no symbol stands for unknown ones: write vocabulary: "
                        f"{len(known) + 2}"
                    )


def _counts(splits: Mapping[str, Sequence[object]]) -> str:
    return " / ".join(f"{len(lines):,}" for lines in splits.values())


def _notes(
    corpus: Corpus,
    splits: Mapping[str, list[Line]],
    chosen: Mapping[str, list[Sentence]],
    known: list[str],
    options: TextOptions,
) -> Iterator[str]:
    """What is not read as it stands, in lines for a run to say."""
    where, ones = f"data set {corpus.name}: of training / validation / test", set(known)
    left = {split: len(lines) - len(chosen[split]) for split, lines in splits.items()}
    if any(left.values()):
        said, counts = " / ".join(f"{count:,}" for count in left.values()), _counts(splits)
        yield f"{where}, {said} of {counts} sentences are left out, of more than {options.max_tokens:,} symbols"
    shares = [
        sum(symbol not in ones for sentence in sentences for symbol in sentence) / sum(map(len, sentences))
        for sentences in chosen.values()
    ]
    if any(shares):
        yield f"{where}, {' / '.join(f'{share:.2%}' for share in shares)} of the symbols are unknown ones"
    if _tabbed(corpus) and options.label_before_tab == "no":
        yield (
            f"data set {corpus.name}: each training sentence has one tab, which separates symbols; if labels stand "
            "before it, write label_before_tab: yes"
        )


def _tabbed(corpus: Corpus) -> bool:
    """Whether each training sentence has one tab, as there is where labels stand before it."""
    return all(line.count(b"\t") == 1 for line in corpus.files["train"].content.splitlines())
