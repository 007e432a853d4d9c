"""Text of a user's own: what is read of its files, what a cell knows without them, and what is refused."""

from __future__ import annotations

import gzip
import hashlib

import numpy as np
import pytest

import models.data
from models.cell import Cell, CellError, cell_id, cell_size
from models.cell.text_options import TextOptions
from models.data import DataCorrupt, DataMissing
from models.data.own_text import corpora, described, load

FILES = {
    "train": "b a c a\nb a\na b c c\na\n",
    "validation": "c a\nd a b b b\n",
    "test": "a\n b  a \n",
}
CELL = {
    "data": "text", "corpus": "own", "max_tokens": 4, "vocabulary": 5, "likelihood": "categorical", "network": "lstm",
    "latents": "2", "hidden": "6", "embedding": 5, "batch_size": 3, "seed": 0,
}  # fmt: skip


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the files of a corpus and returns their digest, as the docstring of `Corpus.digest` defines it."""
    monkeypatch.setenv("SWEEPER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))

    def write(corpus="own", zipped=False, **changes):
        folder, digest = tmp_path / "data" / "text" / corpus, hashlib.sha256()
        folder.mkdir(parents=True, exist_ok=True)
        for split, text in (FILES | changes).items():
            content = text if isinstance(text, bytes) else text.encode()
            digest.update(f"{split} {len(content)}\n".encode() + content)
            file = folder / f"{split}.txt"
            if zipped:
                file.unlink(missing_ok=True)
                (folder / f"{split}.txt.gz").write_bytes(gzip.compress(content))
            else:
                file.write_bytes(content)
        return digest.hexdigest()[:16]

    return write


def options(digest="", **more):
    """Of the corpus as `CELL` has it."""
    return TextOptions(**{"corpus": "own", "corpus_digest": digest, "max_tokens": 4, "vocabulary": 5} | more)


def test_rows_are_the_sentences_in_numbers_by_frequency(write):
    """`<unk>` first, then the commonest symbols, equally common ones by name; what is too long is left out and said."""
    data = load(options(write()))
    assert data.symbols == ("<unk>", "a", "b", "c") and (data.name, data.kind) == ("text own", "tokens")
    assert data.train.tolist() == [[3, 2, 4, 2, 0], [3, 2, 0, 0, 0], [2, 3, 4, 4, 0], [2, 0, 0, 0, 0]]
    assert data.validation.tolist() == [[4, 2, 0, 0, 0]] and data.test.tolist() == [[2, 0, 0, 0, 0], [3, 2, 0, 0, 0]]
    (note,) = data.notes
    assert note.endswith("0 / 1 / 0 of 4 / 2 / 2 sentences are left out, of more than 4 symbols")


def test_rarer_symbols_are_one(write):
    """A vocabulary of three has the end, `<unk>` and one other; the share that is unknown is said."""
    data = load(options(write(), vocabulary=3, max_tokens=5))
    assert data.symbols == ("<unk>", "a") and data.train[0].tolist() == [1, 2, 1, 2, 0, 0]
    assert data.validation.tolist() == [[1, 2, 0, 0, 0, 0], [1, 2, 1, 1, 1, 0]]
    assert data.notes == (data.notes[0],) and data.notes[0].endswith(
        "54.55% / 71.43% / 33.33% of the symbols are unknown ones"
    )


def test_a_vocabulary_with_all_symbols_has_none_for_unknown_ones(write):
    """It is the number of symbols and the end. Where the text has `<unk>` itself, that stands for unknown ones."""
    assert load(options(write(), vocabulary=4)).symbols == ("a", "b", "c")
    own = write(train="b a <unk>\nb a\n", validation="q b\n")
    for vocabulary, symbols in ((4, ("a", "b", "<unk>")), (3, ("<unk>", "a"))):
        data = load(options(own, vocabulary=vocabulary, max_tokens=4))
        assert sorted(data.symbols) == sorted(symbols)
        assert data.validation[0, 0] == 1 + data.symbols.index("<unk>")


def test_the_digest_is_that_of_the_bytes_zipped_or_not(write):
    """Of all three files; data of a byte order mark and of Windows' line ends are the same sentences."""
    digest = write()
    plain = load(options(digest))
    assert write(zipped=True) == digest and load(options(digest)).digest() == plain.digest()
    others = {write(zipped=True, **{split: text + "a\n"}) for split, text in FILES.items()}
    assert len(others | {digest}) == 4
    marked = {split: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() for split, text in FILES.items()}
    assert load(options(write("windows", **marked), corpus="windows")).digest() == plain.digest()


def test_labels_before_a_tab_are_cut(write):
    """Of every line, which has to have one; without the option a tab is white space, and a run says so."""
    labelled = {split: "".join(f"7\t{line}\n" for line in text.splitlines()) for split, text in FILES.items()}
    digest = write(**labelled)
    cut = load(options(digest, label_before_tab="yes"))
    assert np.array_equal(cut.train, load(options(write("plain"), corpus="plain")).train)
    uncut = load(options(digest, vocabulary=6, max_tokens=5))
    assert "7" in uncut.symbols and "label_before_tab: yes" in uncut.notes[-1]
    assert not any("tab" in note for note in cut.notes)
    wrong = write(**labelled | {"test": "7\ta\nno label\n"})
    with pytest.raises(DataCorrupt, match=r"test\.txt, line 2: should be a label, a tab and a sentence"):
        load(options(wrong, label_before_tab="yes"))


def test_without_its_digest_or_with_another_a_text_is_refused_with_the_right_one(write):
    digest = write()
    with pytest.raises(DataCorrupt, match=f'corpus_digest is missing: write corpus_digest: "{digest}".*4 / 2 / 2'):
        load(options())
    with pytest.raises(DataCorrupt, match=f'have the digest "{digest}", asked for is "{"0" * 16}"'):
        load(options("0" * 16))
    other = write(test="b\n")
    with pytest.raises(DataCorrupt, match=f'"{other}", asked for is "{digest}"'):
        load(options(digest))
    assert f'corpus_digest: "{other}"; 4 / 2 / 1 sentences of up to 5 symbols, 3 diff' in described("own")
    assert "vocabulary: 5 has them all" in described("own") and corpora() == ["own"]


@pytest.mark.parametrize(
    ("changes", "more", "why"),
    [
        ({"train": "a b\n\nc\n"}, {}, r"train\.txt, line 2: is empty"),
        ({"test": ""}, {}, r"test\.txt, line 1: is empty"),
        ({"validation": b"a\nd\xe9j\xe0 b\n"}, {}, r"validation\.txt, line 2: no UTF-8 \(byte 0xe9\)"),
        ({}, {"vocabulary": 6}, r"have 3 different ones: write vocabulary: 5 for these.* or less \(got 6\)"),
        ({"train": "a a\na\n"}, {"vocabulary": 3}, r"train\.txt: has no other symbol than 'a'"),
        ({}, {"vocabulary": 4, "max_tokens": 5}, r"validation\.txt, line 2: no training sentence has 'd'"),
        ({"test": "a\nb b d\n"}, {"vocabulary": 5}, ""),
        ({}, {"max_tokens": 1}, r"validation\.txt: each of its 2 sentences has more than 1 symbols"),
    ],
)
def test_what_is_wrong_with_a_text_is_said_in_one_line(write, changes, more, why):
    """Whether or not the digest is said; and what is not wrong is read."""
    digest = write(**changes)
    for said in (digest, ""):
        if why or not said:
            with pytest.raises(DataCorrupt, match=why or "corpus_digest is missing") as fault:
                load(options(said, **more))
            assert "\n" not in str(fault.value)
        else:
            load(options(said, **more))


def test_a_symbol_that_is_unknown_where_none_may_be_is_said_with_its_line(write):
    """A vocabulary of three symbols and the end leaves no room for `<unk>`; the longer sentence counts where it is
    not left out, and a line's number is the file's."""
    digest = write(validation="a b c a b\na\na d\n")
    with pytest.raises(DataCorrupt, match=r"validation\.txt, line 3: no training sentence has 'd'.*vocabulary: 5"):
        load(options(digest, vocabulary=4))


def test_files_that_are_missing_are_said_with_their_places(write, tmp_path):
    """Each of the three, under either name; a folder above `text/` is none."""
    write()
    (tmp_path / "data" / "text" / "own" / "test.txt").unlink()
    place = r"no text/own/test\.txt or test\.txt\.gz: put it at \$SWEEPER_DATA/text/own/test\.txt"
    with pytest.raises(DataMissing, match=place):
        load(options())
    with pytest.raises(DataMissing, match="no text/other/train"):
        load(options(corpus="other"))
    for name in ("../own", "", "a/b", ".hidden"):
        with pytest.raises(CellError, match="corpus"):
            Cell(**CELL | {"corpus": name})


def test_a_cell_knows_its_shape_and_size_without_the_files(monkeypatch, tmp_path):
    """The longest sentence with its end, and the vocabulary; no two cells of other data share a stack."""
    monkeypatch.setenv("SWEEPER_DATA", str(tmp_path))
    cell = Cell(**CELL)
    assert cell.data_shape == (5, 5) and cell.data_words == "text own" and cell.image_shape is None
    larger = Cell(**CELL | {"vocabulary": 50})
    more = (50 - 5) * (2 * 5 + 6 + 1)  # of both embeddings, and of the logits with their bias
    assert cell_size(larger).parameters - cell_size(cell).parameters == more
    others = [Cell(**CELL | each) for each in (
        {"corpus": "other"}, {"corpus_digest": "0" * 16}, {"max_tokens": 5}, {"label_before_tab": "yes"},
    )]  # fmt: skip
    for what in (Cell.shape, cell_id):
        assert len({what(each) for each in (cell, larger, *others)}) == 6
    assert Cell.from_json(cell.to_json()) == cell


def test_a_cell_has_to_say_its_text_and_others_cannot():
    """Options of `text` are refused on other data sets, and are none of theirs."""
    for missing, why in (("corpus", "corpus is missing"), ("vocabulary", "vocabulary is missing")):
        with pytest.raises(CellError, match=why):
            Cell(**{name: value for name, value in CELL.items() if name != missing})
    for digits in ("abc", "0" * 15 + "G", 1234567890123456 * 10):
        with pytest.raises(CellError, match="16 hexadecimal digits in quotes"):
            Cell(**CELL | {"corpus_digest": digits})
    with pytest.raises(CellError, match="max_tokens is an option of data text: data cmudict has none"):
        Cell(**CELL | {"data": "cmudict", "corpus": None, "vocabulary": None, "max_tokens": 4})
    plain = Cell(data="digits", latents="3", seed=0)
    assert plain.corpus is plain.max_tokens is None and "corpus" not in plain.written()


def test_of_one_name_two_texts_are_two_data_sets(write):
    """Each is read once per process; a cell gets its own."""
    first, second = write(), write("other", train="x y\n", validation="x\n", test="y\n")
    mine = Cell(**CELL | {"corpus_digest": first})
    other = Cell(**CELL | {"corpus": "other", "corpus_digest": second, "vocabulary": 3, "batch_size": 1})
    assert models.data.data_of(mine).symbols == ("<unk>", "a", "b", "c")
    assert models.data.data_of(other).symbols == ("x", "y")
    assert models.data.data_of(mine) is models.data.data_of(mine.replicate(5))
