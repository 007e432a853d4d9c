"""Text as data: what the sources hold, and what a file must not."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pytest

import models.data
from models.cell import Cell, cell_id, find
from models.data import DataCorrupt, DataMissing, cmudict, synthetic_text, ud_ewt
from models.data.dataset import SPLITS
from models.data.sequences import END, Sequences, dtype_of, scored, sequences
from models.data.synthetic_text import Source
from models.data.text import read_lines, read_sentences, vocabulary

real = pytest.mark.skipif(not os.environ.get("SWEEPER_DATA"), reason="needs the files of data sets")


def test_drawn_sentences_are_the_registered_ones_and_no_number_decides_by_its_last_bits():
    """Their digest is the registered one; the nearest uniform number to an end of an interval is 10⁶ times
    farther from it than sums in another order move that end."""
    source, entry = Source(words=200, units=50), find("data", "synthetic_text")
    drawn = source.draw(20_000, 10)
    data = synthetic_text.dataset_of("any", source, drawn, synthetic_text.SPLIT)
    assert data.digest() == entry.digest and (data.shape, data.kind) == (entry.shape, entry.kind)
    assert [len(array) for _, array in data.splits()] == [16_000, 2_000, 2_000]
    assert data.train.dtype == np.uint8 and (data.train[:, -1] == END).all() and (data.train[:, :-1] != END).all()
    assert drawn.gap > 5e-8 and drawn.log_p.mean() == pytest.approx(-16.42, abs=0.01)
    assert drawn.z.mean(0) == pytest.approx([0, 0], abs=0.06) and drawn.z.var(0) == pytest.approx([5, 5], abs=0.15)


def test_sources_of_a_seed_differ_from_those_of_another():
    """In weights and in draws."""
    one, other = (Source(words=20, units=4, seed=seed).draw(50, 5) for seed in (0, 1))
    assert not np.array_equal(one.words, other.words) and not np.allclose(one.z, other.z)


@real
def test_phonemes_of_a_word_stay_in_one_split():
    """39 phonemes without stress, at most 16 of them; variants of one word are in one split."""
    data = models.data.load("cmudict")
    assert data.shape == (17, 40) and sum(len(array) for _, array in data.splits()) == 133_700
    assert scored(data.test) == 40_235 and {"AA", "ZH"} < set(data.symbols)


@real
def test_sentences_of_the_treebank():
    """Lower-cased, rare tokens as one symbol, at most 40 of them."""
    data = models.data.load("ud_ewt")
    assert data.shape == (41, 6_268) and data.train.dtype == np.int16
    assert data.symbols[:4] == ("<unk>", "the", ".", ",")
    assert [len(array) for _, array in data.splits()] == [12_011, 1_959, 2_024]
    unknown = (data.validation == 1).sum() / (data.validation != END).sum()
    assert unknown == pytest.approx(0.113, abs=0.002)


def test_a_row_has_nothing_but_ends_after_its_end():
    """An array that has, or that has no end at all, is refused; so are other types."""
    made = sequences("d", {split: ["ab", "b"] for split in SPLITS}, "ab", 3)
    assert made.train.tolist() == [[1, 2, 0, 0], [2, 0, 0, 0]] and scored(made.train) == 5
    assert made.mean_pixel.tolist() == [2 / 5, 1 / 5, 2 / 5]

    def remade(rows: list[list[int]], kind: type = np.uint8) -> Sequences:
        array = np.array(rows, kind)
        return Sequences("d", array, array, array, 0, made.shape, symbols=made.symbols)

    assert remade(made.train.tolist()).digest() == made.digest()
    for rows in ([[1, 2, 1, 2]], [[1, 0, 1, 0]], [[3, 0, 0, 0]]):
        with pytest.raises(ValueError, match="d, train"):
            remade(rows)
    with pytest.raises(ValueError, match="uint8"):
        remade([[0, 0, 0, 0]], np.int16)
    assert [dtype_of(n) for n in (256, 257, 32_768, 32_769)] == [np.uint8, np.int16, np.int16, np.int32]


def test_other_symbols_are_other_data():
    """The same numbers with another vocabulary have another digest."""
    splits = {split: [[*"ab"], [*"b"]] for split in SPLITS}
    renamed = {name: [[{"a": "x"}.get(s, s) for s in each] for each in made] for name, made in splits.items()}
    assert sequences("d", splits, "ab", 2).digest() != sequences("d", renamed, "xb", 2).digest()


def test_what_is_wrong_with_a_text_is_said_in_one_line(tmp_path):
    """An empty line, another encoding, a symbol that is unknown where none may be, a sentence that is too long."""
    path = tmp_path / "train.txt"
    for content, why in {
        b"a b\n\nc\n": "train.txt, line 2: is empty",
        b"": "train.txt, line 1: is empty",
        "a b\nd\u00e9j\u00e0 vu\n".encode("iso-8859-1"): r"train.txt, line 2: no UTF-8 \(byte 0xe9\)",
    }.items():
        with pytest.raises(DataCorrupt, match=why):
            read_lines(path, content)
    assert read_sentences(path, b"a b\n c\n") == [["a", "b"], ["c"]]
    splits = {"train": [["a"]], "validation": [["a"], ["a", "b"]], "test": [["a"]]}
    with pytest.raises(DataCorrupt, match="validation, sequence 2: 'b' is none of its 1 symbols"):
        sequences("d", splits, "a", 2)
    with pytest.raises(DataCorrupt, match="validation, sequence 2: should have 1 … 1 symbols, got 2"):
        sequences("d", splits, "ab", 1)


def test_files_that_are_missing_or_have_other_lines(tmp_path, monkeypatch):
    """The message says where the file goes, or which line is none of it."""
    monkeypatch.setenv("SWEEPER_DATA", str(tmp_path))
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    for source, folder, file in ((ud_ewt, "ud_ewt", "train.txt.gz"), (cmudict, "cmudict", "cmudict.gz")):
        with pytest.raises(DataMissing, match=f"no {folder}/{file}: put it at"):
            source.load()
        (tmp_path / folder).mkdir()
        with gzip.open(tmp_path / folder / file, "wt") as opened:
            opened.write("weblog only\n")
        with pytest.raises(DataCorrupt, match=f"{file}, line 1: should be a"):
            source.load()


def test_a_vocabulary_is_in_order_of_frequency():
    """Equally common symbols by their names; where rare ones are left out, the symbol for them comes first."""
    text = [[*"bba"], [*"bca"]]
    assert vocabulary(text) == ["b", "a", "c"]
    assert vocabulary(text, least=2) == ["<unk>", "b", "a"]


def test_ids_of_cells_follow_from_the_content():
    """The digest of the data is part of a cell's id."""
    given = {"network": "lstm", "likelihood": "categorical", "latents": "2", "hidden": "8", "seed": 0}
    ids = {cell_id(Cell(data=name, **given)) for name in ("synthetic_text", "cmudict", "ud_ewt")}
    assert len(ids) == 3
