"""Where files of data come from: `$SWEEPER_DATA`, else the cache folder, else a download into it.

Each has one folder per source (`mnist/`, `binarized_mnist/`, `omniglot/`, `cifar10/`) with the files as they are
distributed. What is downloaded must have the published bytes; a file that a user puts there need not (archives differ
from copy to copy), as the digest of the decoded images is what counts.
"""

from __future__ import annotations

import errno
import gzip
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

_offline: ContextVar[bool] = ContextVar("offline", default=False)


class DataMissing(FileNotFoundError):
    """A file of data is nowhere and could not be downloaded; the message says which file to put where."""


class DataCorrupt(ValueError):
    """A file of data is cut short, damaged or not what its name says; the message says what to do with it."""


def cache_folder() -> Path:
    """`$SWEEPER_CACHE`, else `$XDG_CACHE_HOME/sweeper`, else `~/.cache/sweeper`; it need not exist.

    For a user without a home folder (of a container, of a service) or with one that cannot be written, it is a private
    folder among the temporary files. Raises OSError where a variable says `~` of such a user.
    """
    own, shared = os.environ.get("SWEEPER_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own or shared:
        return expanded(own) if own else expanded(shared or "") / "sweeper"
    try:
        folder = Path.home().absolute() / ".cache" / "sweeper"
    except RuntimeError:
        return _private_folder()
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    return folder if there == folder or os.access(there, os.W_OK | os.X_OK) else _private_folder()


def expanded(path: str) -> Path:
    """An absolute path, `~` replaced by the user's home folder. Raises OSError where there is none."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise FileNotFoundError(errno.ENOENT, "this user has no home folder (is HOME set?)", path) from None


@cache
def _private_folder() -> Path:
    """A temporary folder that all processes of a user share and nobody else can write to: code is kept there.

    Where somebody else has a folder of that name, it is a fresh one, of this process alone.
    """
    folder = Path(tempfile.gettempdir()) / f"sweeper-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022:
            return folder
    except OSError:  # a file or a link has that name
        pass
    return Path(tempfile.mkdtemp(prefix="sweeper-"))


@contextmanager
def offline() -> Iterator[None]:
    """Inside, nothing is downloaded: what is not here is missing."""
    before = _offline.set(True)
    try:
        yield
    finally:
        _offline.reset(before)


def folders(name: str) -> list[Path]:
    """Where files of the folder `name` may lie: in `$SWEEPER_DATA`, if it is set, then in the cache."""
    given = os.environ.get("SWEEPER_DATA")
    return [*([expanded(given) / name] if given else []), cache_folder() / name]


def locate(folder: str, file: str, url: str = "", sha256: str = "", alternative: str = "") -> Path:
    """Path of `file` in `folder` of `$SWEEPER_DATA` or of the cache, else downloaded from `url` into the cache.

    `sha256` is that of the file's bytes at `url`; `alternative`: another name that it may have here. Raises DataMissing
    where there is none, and the download fails or no `url` is known.
    """
    places = folders(folder)
    for path in (place / name for place in places for name in (file, alternative) if name):
        if path.is_file():
            return path
    why = "it cannot be downloaded over https"
    if url and _offline.get():
        why = f"else it is downloaded from {url}"
    elif url:
        from models.data.download import download

        try:
            return download(url, places[-1] / file, sha256)
        except OSError as fault:
            why = f"downloading {url} failed: {' '.join(str(fault).split())}"
    given = os.environ.get("SWEEPER_DATA") or "not set"
    first = f"$SWEEPER_DATA/{folder}/{file} (SWEEPER_DATA is {given})"
    other = f" or {alternative}" if alternative else ""
    raise DataMissing(f"no {folder}/{file}{other}: put it at {first} or at {places[-1] / file}; {why}")


def read_gzip(path: Path) -> bytes:
    """The content of a gzip file. Raises DataCorrupt if it is damaged or no gzip file."""
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise corrupt(path, str(fault)) from None


def corrupt(path: Path, what: str) -> DataCorrupt:
    """The error for a damaged file: what is wrong with it, and what to do."""
    if path.is_relative_to(cache_folder()):
        return DataCorrupt(f"{path} is damaged ({what}): delete it, and the next run downloads it again")
    return DataCorrupt(f"{path} is damaged ({what}): replace it with a good copy")
