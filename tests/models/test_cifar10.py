"""CIFAR-10 in every form in which it may lie there, on files of a few images, and what is wrong with one in a line."""

from __future__ import annotations

import bz2
import hashlib
import io
import struct
import tarfile

import numpy as np
import pytest

from models.cell.registry import DATASETS
from models.data import DataCorrupt, DataMissing, cifar10, load

COUNT = 12  # images of a batch, in place of 10,000
ORDER = list(cifar10.SHA1)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """No files but the test's own, an empty cache, and no way to the network."""
    monkeypatch.setenv("SWEEPER_DATA", str(tmp_path / "given"))
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cifar10, "SOURCE", "http://127.0.0.1:9/")  # nothing listens on the port of `discard`
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


@pytest.fixture
def given(tmp_path):
    """The folder of its files."""
    folder = tmp_path / "given" / "cifar10"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def batches(monkeypatch) -> dict[str, np.ndarray]:
    """Records of small batches, labels first, which count as the published ones."""
    rng = np.random.default_rng(0)
    made = {name: rng.integers(0, 256, (COUNT, 3073)).astype(np.uint8) for name in ORDER}
    for records in made.values():
        records[:, 0] %= 10
    monkeypatch.setattr(cifar10, "PER_FILE", COUNT)
    monkeypatch.setattr(cifar10, "SHA1", {name: hashlib.sha1(made[name].tobytes()).hexdigest() for name in ORDER})
    return made


def pickled(records: np.ndarray, number: int) -> bytes:
    """A batch as Python 2's cPickle wrote it, protocol 2: BINSTRING for text, labels in lists of up to 1,000."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<I", len(value)) + value

    labels = b"]q\x05(" + b"".join(b"K" + bytes([label]) for label in records[:, 0]) + b"e"
    shape = b"M" + struct.pack("<H", len(records)) + b"M" + struct.pack("<H", 3072) + b"\x86"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nK\x00\x85U\x01b\x87Rq\x0b(K\x01" + shape
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + text(records[:, 1:].tobytes()) + b"tb"
    )  # fmt: skip
    names = b"](" + b"".join(text(b"labels_%d.png" % i) for i in range(len(records))) + b"e"
    label = text(b"training batch %d of 5" % number)
    parts = text(b"batch_label") + label + text(b"labels") + labels + text(b"data") + array + text(b"filenames") + names
    return b"\x80\x02}q\x01(" + parts + b"u."


def archive(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as opened:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return file.getvalue()


def write(folder, form: str, batches: dict[str, np.ndarray]) -> None:
    """The files of a form."""
    if form == "bin":
        for name, records in batches.items():
            (folder / f"{name}.bin").write_bytes(records.tobytes())
    elif form == "bz2":
        for name, records in batches.items():
            (folder / f"{name}.bin.bz2").write_bytes(bz2.compress(records.tobytes()))
    elif form == "binary":
        members = {f"cifar-10-batches-bin/{name}.bin": records.tobytes() for name, records in batches.items()}
        readme = {"cifar-10-batches-bin/readme.html": b"<html>"}
        (folder / cifar10.BINARY).write_bytes(archive(readme | dict(reversed(members.items()))))
    else:
        members = {f"cifar-10-batches-py/{n}": pickled(r, i) for i, (n, r) in enumerate(batches.items(), start=1)}
        (folder / cifar10.PYTHON).write_bytes(archive({"cifar-10-batches-py/batches.meta": b"\x80\x02}."} | members))


@pytest.mark.parametrize("form", ["bin", "bz2", "binary", "python"])
def test_every_form_gives_the_pixels_in_the_order_of_the_files(form, given, batches):
    write(given, form, batches)
    images, labels = cifar10._decoded()
    assert images.dtype == np.uint8
    assert np.array_equal(images, np.concatenate([batches[name][:, 1:] for name in ORDER]))
    assert np.array_equal(labels, np.concatenate([batches[name][:, 0] for name in ORDER]))


def test_a_pickle_of_the_archive_is_what_python_reads_from_it(batches):
    """The test's own, read by `pickle`, so that what is picked out of its parts is what it holds."""
    import pickle

    records = batches["data_batch_1"]
    whole = pickle.loads(pickled(records, 1), encoding="bytes")
    assert np.array_equal(whole[b"data"], records[:, 1:]) and whole[b"labels"] == records[:, 0].tolist()
    assert cifar10._records(pickled(records, 1)) == records.tobytes()


def test_a_pickle_runs_nothing(given, batches, tmp_path):
    """One that would write a file when it is loaded is a damaged archive."""
    wanted = tmp_path / "written"
    harmful = b"cposix\nsystem\nU" + bytes([len(f"touch {wanted}")]) + f"touch {wanted}".encode() + b"\x85R."
    members = {f"cifar-10-batches-py/{name}": harmful for name in ORDER}
    (given / cifar10.PYTHON).write_bytes(archive(members))
    with pytest.raises(DataCorrupt, match=r"cifar-10-python.tar.gz is damaged \(it has not the labels and pixels"):
        cifar10._decoded()
    assert not wanted.exists()


@pytest.mark.parametrize("form", ["bin", "bz2", "binary", "python"])
def test_a_changed_pixel_is_found_and_its_file_named(form, given, batches):
    other = {name: records.copy() for name, records in batches.items()}
    other["data_batch_3"][5, 700] ^= 1
    write(given, form, other)
    with pytest.raises(DataCorrupt) as caught:
        cifar10._decoded()
    said = str(caught.value)
    assert "data_batch_3 has the SHA-1" in said and str(given) in said and "\n" not in said
    assert said.endswith("replace it with a good copy")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("data_batch_2.bin.bz2", b"<html>sign in to this network</html>"),
        ("data_batch_2.bin.bz2", bz2.compress(b"abc")[:-4]),
        ("data_batch_2.bin.bz2", b""),
        ("data_batch_2.bin", b"\x00" * 100),
    ],
)
def test_a_file_that_is_none_is_named(file, content, given, batches):
    write(given, "bz2", batches)
    (given / file).write_bytes(content)
    with pytest.raises(DataCorrupt) as caught:
        cifar10._decoded()
    assert str(caught.value).startswith(str(given / file)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", [0, 10, 300, -40])
def test_a_torn_archive_is_named(cut, given, batches):
    write(given, "binary", batches)
    path = given / cifar10.BINARY
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataCorrupt, match=r"cifar-10-binary.tar.gz is damaged"):
        cifar10._decoded()


def test_a_missing_batch_is_named(given, batches):
    """Among files; in an archive; and of nothing at all the archive, which could not be downloaded."""
    with pytest.raises(DataMissing, match=r"no cifar10/cifar-10-binary.tar.gz: put it at .*; downloading .* failed"):
        cifar10._decoded()
    write(given, "bz2", batches)
    (given / "data_batch_4.bin.bz2").unlink()
    with pytest.raises(DataMissing, match=r"no cifar10/data_batch_4.bin: put it at"):
        cifar10._decoded()
    members = {f"{name}.bin": batches[name].tobytes() for name in ORDER[:-1]}
    (given / cifar10.BINARY).write_bytes(archive(members))
    with pytest.raises(DataCorrupt, match="it has no test_batch"):
        cifar10._decoded()


def test_the_archive_is_downloaded_where_nothing_is_there(own_folders, batches, monkeypatch):
    monkeypatch.setattr(
        "models.data.download.download",
        lambda url, path, sha256: (path.parent.mkdir(parents=True), write(path.parent, "binary", batches), path)[-1],
    )
    images, labels = cifar10._decoded()
    assert len(images) == len(labels) == 6 * COUNT
    assert (own_folders / "cache" / "cifar10" / cifar10.BINARY).is_file()


def test_decoded_images_are_kept_and_checked(own_folders, given, batches, monkeypatch):
    """The next process reads them without the files; altered ones are not taken."""
    write(given, "bz2", batches)
    for name, content in zip(("DECODED_SHA256", "LABELS_SHA256"), cifar10._decoded(), strict=True):
        monkeypatch.setattr(cifar10, name, hashlib.sha256(content.data).hexdigest())
    monkeypatch.setattr(cifar10, "shuffled", lambda key, count: np.arange(count)[::-1])
    monkeypatch.setattr(cifar10, "VALIDATION", COUNT)
    first = cifar10.load()
    assert len(first.train) == 4 * COUNT and np.array_equal(first.validation[-1], batches["data_batch_1"][0, 1:])
    for path in given.iterdir():
        path.unlink()
    assert cifar10.load().digest() == first.digest()
    assert np.array_equal(cifar10._labels().test, batches["test_batch"][:, 0])
    kept = own_folders / "cache" / "cifar10" / cifar10.DECODED
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    with pytest.raises(DataMissing):
        cifar10.load()


def test_the_published_content_of_a_file(data_dir, monkeypatch):
    """One file of six, as decoding them all takes half a minute: labels, and the first image's first red pixels."""
    monkeypatch.setenv("SWEEPER_DATA", str(data_dir))
    _path, batch, content = next(cifar10._batches())
    assert batch == "data_batch_1" and hashlib.sha1(content).hexdigest() == cifar10.SHA1[batch]
    records = np.frombuffer(content, np.uint8).reshape(10_000, 3073)
    assert records[:10, 0].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert hashlib.md5(content).hexdigest() == "5dd7e06a14cb22eb9f671a540d1b7c25"


@pytest.mark.slow
def test_the_whole_is_registered_with_its_digest_and_known_moments(data_dir, monkeypatch):
    """Means and deviations over all training images, whatever the split; no image is in two splits."""
    monkeypatch.setenv("SWEEPER_DATA", str(data_dir))
    data, entry = load("cifar10"), DATASETS["cifar10"]
    assert (len(data.validation), len(data.test), data.shape) == (entry.validation, entry.test, entry.shape)
    training = np.concatenate([data.train, data.validation]).reshape(50_000, 3, 1024) / 255
    assert training.mean((0, 2)).round(4).tolist() == [0.4914, 0.4822, 0.4465]
    assert training.std((0, 2)).round(4).tolist() == [0.247, 0.2435, 0.2616]
