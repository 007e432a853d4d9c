"""Data sets against known checksums and exact fractions, and what a user reads when a file is missing or damaged."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import subprocess
import sys
import threading
import zipfile
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.cell.entry import Entry
from models.cell.image_shape import ImageShape
from models.cell.registry import DATASETS, UnknownName
from models.data import DataCorrupt, DataMissing, Dataset, digits, load, mnist, omniglot
from models.data.dataset import shuffled

REFUSED = "http://127.0.0.1:9/"  # nothing listens on the port of `discard`
TRAIN_IMAGES = "train-images-idx3-ubyte.gz"


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """No SWEEPER_DATA, an empty cache, and no way to the network, unless a test says otherwise."""
    monkeypatch.delenv("SWEEPER_DATA", raising=False)
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "MIRROR", REFUSED)
    monkeypatch.setattr(omniglot, "SOURCE", REFUSED)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


@pytest.fixture
def real(data_dir, monkeypatch):
    """SWEEPER_DATA, on the real files."""
    monkeypatch.setenv("SWEEPER_DATA", str(data_dir))
    return data_dir


@pytest.fixture
def given(tmp_path, monkeypatch):
    """SWEEPER_DATA, on a folder of the test's own."""
    monkeypatch.setenv("SWEEPER_DATA", str(tmp_path / "given"))
    return tmp_path / "given"


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def idx(images: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(">HBB3I", 0, 8, 3, *images.shape) + images.tobytes(), 1)


def png(ink: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(~ink).save(file, "PNG")
    return file.getvalue()


def tiny(**changes) -> Dataset:
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    fields = {"train": rows, "validation": rows[:1], "test": rows[1:2], "levels": 11, "shape": ImageShape(1, 2, 2)}
    return Dataset("tiny", **{**fields, **changes})


def distinct(data: Dataset) -> set[bytes]:
    return {row.tobytes() for _, images in data.splits() for row in images}


# --- a data set and its digest ---


def test_digest_is_that_of_the_definition():
    header = (
        '{"image_shape":[2,2],"levels":11,"splits":[["train","|u1",[3,4]],["validation","|u1",[1,4]],'
        '["test","|u1",[1,4]]]}'
    )
    content = header.encode() + bytes(range(12)) + bytes(range(4)) + bytes(range(4, 8))
    assert tiny().digest() == hashlib.sha256(content).hexdigest()


def test_digest_changes_with_values_levels_split_and_shape_but_not_with_name_or_layout():
    rows = tiny().train
    flipped = rows.copy()
    flipped[2, 3] ^= 1
    others = [
        tiny(train=flipped), tiny(levels=12), tiny(shape=ImageShape(1, 1, 4)), tiny(validation=rows[1:2]),
        tiny(train=rows[:2], validation=rows[2:]),
    ]  # fmt: skip
    assert len({tiny().digest(), *(other.digest() for other in others)}) == 6
    assert tiny(train=np.asfortranarray(rows)).digest() == tiny().digest()
    assert Dataset("other", rows, rows[:1], rows[1:2], 11, ImageShape(1, 2, 2)).digest() == tiny().digest()


def test_real_values_are_taken_as_they_are():
    rows = np.array([[0.5, -2.0], [1.5, 0.0]], dtype=np.float32)
    data = Dataset("points", rows, rows, rows, levels=0, shape=ImageShape(1, 1, 2))
    assert data.mean_pixel.tolist() == [1.0, -1.0]
    assert len(data.digest()) == 64


def test_mean_pixel_is_the_mean_probability_of_the_training_images():
    data = tiny()
    assert data.mean_pixel.dtype == np.float64
    assert data.mean_pixel.tolist() == [value / 11 for value in (4, 5, 6, 7)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": 10}, r"tiny, train: values should be in 0 … 10, got 11"),
        ({"levels": 256}, r"levels should be in 0 … 255, got 256"),
        ({"shape": ImageShape(1, 2, 3)}, r"train: should be uint8 of shape \(images, 6\), got uint8 of shape \(3, 4\)"),
        ({"test": np.zeros((0, 4), np.uint8)}, r"test: should be uint8 .* got uint8 of shape \(0, 4\)"),
        ({"validation": np.zeros((1, 4))}, r"validation: should be uint8 .* got float64"),
        ({"levels": 0}, r"train: should be float32"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_levels_are_values_and_not_probabilities():
    """Networks see their 255th parts, which are the same at every use; the digest says which they are."""
    rows = np.arange(8, dtype=np.uint8).reshape(2, 4) * 36
    fields = {"train": rows, "validation": rows, "test": rows, "levels": 255}
    values, pixels = tiny(**fields, probabilities=False), tiny(**fields)
    assert (values.kind, pixels.kind, tiny(**fields | {"levels": 253}).kind) == ("levels", "probability", "probability")
    assert tiny(train=rows // 252, validation=rows // 252, test=rows // 252, levels=1).kind == "binary"

    def never():
        raise AssertionError("nothing is random")

    assert np.array_equal(values.observe(rows, never) * 255, rows)
    assert values.digest() != pixels.digest()
    assert np.array_equal(values.mean_pixel, pixels.mean_pixel)
    with pytest.raises(ValueError, match="levels that are values should be 255, got 253"):
        tiny(**fields | {"levels": 253}, probabilities=False)


def test_values_of_another_kind_than_registered_are_refused(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", Entry(f"{__name__}:tiny", digest=tiny().digest(), kind="levels"))
    with pytest.raises(DataCorrupt, match="its values are of kind probability, registered is levels"):
        load("tiny")


def test_images_cannot_be_changed_for_the_next_user():
    rows = np.zeros((2, 4), np.uint8)
    with pytest.raises(ValueError, match="read-only"):
        tiny(train=rows).train[0, 0] = 1
    rows[0, 0] = 1  # the caller's own array stays as it was


def test_permutation_is_pinned():
    order = shuffled("digits", 1797)
    assert sorted(order) == list(range(1797))
    by_hand = sorted(range(5), key=lambda index: hashlib.sha256(b"key/%d" % index).hexdigest())
    assert shuffled("key", 5).tolist() == by_hand


# --- by name ---


def test_load_needs_no_torch_and_no_sklearn():
    check = "import sys; from models.data import load; load('digits'); print({'torch', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


def test_a_data_set_made_in_memory_is_registered_with_its_digest(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", Entry(f"{__name__}:tiny", digest=tiny().digest()))
    assert load("tiny") is load("tiny")
    monkeypatch.setitem(DATASETS, "tiny", Entry(f"{__name__}:tiny", digest="0" * 64))
    with pytest.raises(DataCorrupt, match=f"data set tiny: .* digest {tiny().digest()}, registered is 0{{64}}"):
        load("tiny")


def test_unknown_name_has_the_nearest_one():
    with pytest.raises(UnknownName, match="did you mean 'mnist'"):
        load("mnits")


# --- the data sets ---


def as_registered(name):
    """A registered data set, whose splits are as large as its entry says."""
    data, entry = load(name), DATASETS[name]
    assert (len(data.validation), len(data.test), data.shape) == (entry.validation, entry.test, entry.shape)
    return data


def test_digits_are_those_of_scikit_learn_each_in_one_split():
    from sklearn.datasets import load_digits

    data = as_registered("digits")
    assert [images.shape for _, images in data.splits()] == [(1297, 64), (200, 64), (300, 64)]
    published = load_digits().data.astype(np.uint8)
    assert (
        len(distinct(data)) == len({row.tobytes() for row in published}) == 1797
    )  # none twice, so splits are disjoint
    assert distinct(data) == {row.tobytes() for row in published}
    assert data.train.max() == data.levels == 16


def test_mnist_has_the_published_content(real):
    known = {
        "train-images-idx3": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1": "27ae3e4e09519cfbb04c329615203637",
    }
    for file, md5 in known.items():
        values = mnist.read_idx(real / "mnist" / f"{file}-ubyte.gz")
        header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
        assert hashlib.md5(header + values.tobytes()).hexdigest() == md5


def test_mnist_splits(real):
    data = as_registered("mnist")
    assert [images.shape for _, images in data.splits()] == [(50_000, 784), (10_000, 784), (10_000, 784)]
    training = mnist.read_idx(real / "mnist" / TRAIN_IMAGES).reshape(-1, 784)
    assert np.array_equal(np.concatenate([data.train, data.validation]), training)
    assert len(distinct(data)) == 70_000  # no image occurs twice, so the splits are disjoint


def test_static_mnist_has_the_known_means(real):
    data = as_registered("mnist_static")
    assert [images.shape for _, images in data.splits()] == [(50_000, 784), (10_000, 784), (10_000, 784)]
    assert [round(float(images.mean()), 4) for _, images in data.splits()] == [0.1306, 0.1311, 0.1325]
    assert data.levels == 1 and set(np.unique(data.train)) == {0, 1}


def test_omniglot_splits_every_drawing_once_and_is_kept_for_the_next_process(real, own_folders, monkeypatch):
    data = omniglot.load()
    assert data.digest() == DATASETS["omniglot"].digest
    as_registered("omniglot")
    assert [images.shape for _, images in data.splits()] == [(23_000, 784), (1_345, 784), (8_115, 784)]

    kept = own_folders / "cache" / "omniglot" / "shrunk_28.npy"
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    monkeypatch.delenv("SWEEPER_DATA")  # the archives are not needed any more
    assert omniglot.load().digest() == data.digest()

    content = bytearray(kept.read_bytes())
    content[-5_000] ^= 1
    kept.write_bytes(content)
    with pytest.raises(DataMissing):
        omniglot.load()
    assert not kept.exists()


# --- shrinking ---


def exact_grey(ink: np.ndarray, side: int) -> list[list[int]]:
    """Every grey pixel by the definition, in exact fractions: 255 × covered area / area, rounded half up."""
    scale = Fraction(len(ink), side)

    def overlap(drawn: int, grey: int) -> Fraction:
        return max(Fraction(0), min(Fraction(drawn + 1), (grey + 1) * scale) - max(Fraction(drawn), grey * scale))

    pixels = [
        [sum(overlap(y, row) * overlap(x, column) for y, x in np.argwhere(ink)) for column in range(side)]
        for row in range(side)
    ]
    return [[int(255 * area / scale**2 + Fraction(1, 2)) for area in line] for line in pixels]


@pytest.mark.parametrize(("size", "side"), [(15, 4), (14, 4), (7, 3), (6, 3), (5, 5)])
def test_shrinking_is_exact(size, side):
    ink = np.random.default_rng(size).random((3, size, size)) < 0.4
    grey = omniglot.shrink(ink, side)
    assert grey.shape == (3, side, side) and grey.dtype == np.uint8
    assert grey.tolist() == [exact_grey(drawing, side) for drawing in ink]


def test_shrinking_keeps_blank_full_orientation_and_total_ink():
    ink = np.zeros((4, 105, 105), dtype=bool)
    ink[1] = True
    ink[2, :15, :60] = True  # whole grey pixels: 4 rows of 16
    ink[3] = np.random.default_rng(0).random((105, 105)) < 0.1
    grey = omniglot.shrink(ink, 28).astype(int)
    assert (grey[0] == 0).all() and (grey[1] == 255).all()
    assert (grey[2, :4, :16] == 255).all() and grey[2].sum() == 255 * 64
    share = ink[3].sum() / 105**2
    assert abs(grey[3].sum() / 255 / 28**2 - share) < 0.5 / 255  # half a level of rounding a pixel at most


def test_omniglot_is_read_in_the_order_of_names_with_bright_ink(given, monkeypatch):
    drawings = np.zeros((3, 105, 105), dtype=bool)
    for index in range(3):
        drawings[index, 15 * index : 15 * index + 15] = True
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for index in (2, 0, 1):
            file.writestr(f"images_background/A/character01/{index}.png", png(drawings[index]))
    put(given / "omniglot" / "images_background.zip", archive.getvalue())
    rows = omniglot._archive("images_background", 3).reshape(3, 28, 28)
    assert [np.flatnonzero(image[:, 0] == 255).tolist() for image in rows] == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]
    ]  # fmt: skip


# --- missing files ---


@pytest.mark.parametrize(
    ("load_it", "file"),
    [
        (mnist.load, "mnist/train-images-idx3-ubyte.gz"),
        (mnist.load_static, "binarized_mnist/binarized_mnist_train.amat.gz"),
        (omniglot.load, "omniglot/images_background.zip"),
    ],
)
@pytest.mark.parametrize("folder", ["", "/no/such folder"])
def test_missing_file_says_which_file_to_put_where(load_it, file, folder, own_folders, monkeypatch):
    monkeypatch.setenv("SWEEPER_DATA", folder)
    with pytest.raises(DataMissing) as caught:
        load_it()
    message = str(caught.value)
    assert "\n" not in message
    assert f"put it at $SWEEPER_DATA/{file} (SWEEPER_DATA is {folder or 'not set'})" in message
    assert f"or at {own_folders / 'cache' / file}" in message
    assert not list(own_folders.rglob("*.gz*")) and not list(own_folders.rglob("*.zip*"))


def test_cache_follows_xdg(tmp_path, monkeypatch):
    monkeypatch.delenv("SWEEPER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    with pytest.raises(DataMissing, match="xdg/sweeper/binarized_mnist"):
        mnist.load_static()


# --- damaged files ---


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (idx(np.ones((60, 28, 28), np.uint8))[:-30], "ended before"),
        (b"<html>sign in to this network</html>", "Not a gzipped file"),
        (b"", "it should start as an IDX file"),
        (gzip.compress(b"GIF89a" * 9, mtime=0), "it should start as an IDX file of bytes, got 47494638"),
        (
            gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 60_000, 28, 28) + b"abc", mtime=0),
            "60000 × 28 × 28 values, it has 3",
        ),
        (idx(np.ones((60, 28, 28), np.uint8)), "it should have 60000 × 28 × 28 values, got 60 × 28 × 28"),
    ],
)
def test_damaged_mnist_file_is_named(content, what, given):
    path = put(given / "mnist" / TRAIN_IMAGES, content)
    with pytest.raises(DataCorrupt) as caught:
        mnist.load()
    assert str(caught.value).startswith(f"{path} is damaged (") and what in str(caught.value)
    assert str(caught.value).endswith("replace it with a good copy")


def test_flipped_bit_in_compressed_file_is_found(real, given, monkeypatch):
    content = bytearray((real / "mnist" / TRAIN_IMAGES).read_bytes())
    content[5_000_000] ^= 4
    path = put(given / "mnist" / TRAIN_IMAGES, content)
    monkeypatch.setenv("SWEEPER_DATA", str(given))
    with pytest.raises(DataCorrupt, match=r"train-images-idx3-ubyte.gz is damaged"):
        mnist.read_idx(path)


@pytest.mark.parametrize("text", [b"0 1 " * 100, b"0 1 " * 392 * 49_999 + b"0 2 " * 392])
def test_damaged_static_file_is_named(text, given):
    put(given / "binarized_mnist" / "binarized_mnist_train.amat.gz", gzip.compress(text, 1))
    with pytest.raises(DataCorrupt, match=r"binarized_mnist_train.amat.gz is damaged .*50000 × 784 digits 0 or 1"):
        mnist.load_static()


def test_damaged_archive_is_named(given):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("images_background/A/character01/0001_01.png", png(np.ones((105, 105), dtype=bool)))
        file.writestr("images_background/A/character01/0001_02.png", png(np.ones((104, 105), dtype=bool)))
    whole = archive.getvalue()
    path = given / "omniglot" / "images_background.zip"
    for content, count, what in [
        (whole, 3, "it should have 3 drawings, got 2"),
        (whole, 2, "105 × 105 pixels"),
        (whole[:-10], 2, "not a zip file"),
    ]:
        put(path, content)
        with pytest.raises(DataCorrupt, match=what) as caught:
            omniglot._archive("images_background", count)
        assert str(path) in str(caught.value)


def test_any_flipped_byte_of_an_archive_gives_the_same_image_or_an_error_that_names_it(given):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("images_background/A/character01/0001_01.png", png(np.eye(105, dtype=bool)))
    whole = archive.getvalue()
    path = put(given / "omniglot" / "images_background.zip", whole)
    right = omniglot._archive("images_background", 1)
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 0x55
        path.write_bytes(flipped)
        try:
            assert np.array_equal(omniglot._archive("images_background", 1), right)
        except DataCorrupt as fault:
            assert str(path) in str(fault)


# --- downloads, from a server of the test's own ---


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on the folder it returns, in place of MNIST's mirror."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    (tmp_path / "web").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web"))) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        monkeypatch.setattr(mnist, "MIRROR", f"http://127.0.0.1:{web.server_port}/")
        monkeypatch.setattr(mnist, "SHA256", dict.fromkeys(mnist.SHA256, ""))  # its files are not the published ones
        yield tmp_path / "web"
        web.shutdown()
        thread.join()


def test_download_goes_to_the_cache_and_happens_once(server, own_folders):
    images = np.repeat(np.arange(60_000, dtype=np.uint32).view(np.uint8), 196).reshape(60_000, 28, 28)
    put(server / TRAIN_IMAGES, idx(images))
    put(server / "t10k-images-idx3-ubyte.gz", idx(images[:10_000]))
    data = mnist.load()
    assert np.array_equal(data.test, data.train[:10_000])
    cached = own_folders / "cache" / "mnist"
    assert sorted(path.name for path in cached.iterdir()) == ["t10k-images-idx3-ubyte.gz", TRAIN_IMAGES]
    for file in server.iterdir():
        file.unlink()
    assert mnist.load().digest() == data.digest()
    cached.rename(cached.with_name("fashion_mnist"))  # another data set in such files, which are not downloaded
    assert mnist.load_like("fashion_mnist").digest() == data.digest()
    with pytest.raises(DataMissing, match=r"no kuzushiji/train-images-idx3-ubyte.gz: put it at"):
        mnist.load_like("kuzushiji")


def test_failed_download_leaves_nothing_and_says_why(server, own_folders):
    with pytest.raises(DataMissing, match="404"):
        mnist.load()
    assert not list((own_folders / "cache" / "mnist").iterdir())


def test_damaged_download_says_to_delete_it(server, own_folders):
    put(server / TRAIN_IMAGES, b"<html>sign in</html>")
    with pytest.raises(
        DataCorrupt, match=r"cache/mnist/train-images-idx3-ubyte.gz is damaged .* delete it, and the next"
    ):
        mnist.load()


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataMissing, match="pip install scikit-learn"):
        digits.load()
