"""Where files of data come from: `$SWEEPER_DATA`, else the cache folder, else a download into it.

Each has one folder a source (`mnist/`, `binarized_mnist/`, `omniglot/`) with the files as they are distributed.
Bytes are not checked here: archives differ from mirror to mirror, and the digest of the decoded images is what counts.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
import zlib
from pathlib import Path

TIMEOUT_S = (5.0, 30.0)  # to connect, and between two pieces of a download


class DataMissing(FileNotFoundError):
    """A file of data is nowhere and could not be downloaded; the message says which file to put where."""


class DataCorrupt(ValueError):
    """A file of data is cut short, damaged or not what its name says; the message says what to do with it."""


def cache_folder() -> Path:
    """`$SWEEPER_CACHE`, else `$XDG_CACHE_HOME/sweeper`, else `~/.cache/sweeper`; it need not exist."""
    own, shared = os.environ.get("SWEEPER_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own).expanduser().absolute()
    return (Path(shared) if shared else Path.home() / ".cache").absolute() / "sweeper"


def locate(folder: str, file: str, url: str = "") -> Path:
    """Path of `file` in `folder` of `$SWEEPER_DATA` or of the cache, else downloaded from `url` into the cache.

    Raises DataMissing where there is none, and the download fails or no `url` is known.
    """
    given = os.environ.get("SWEEPER_DATA")
    places = [Path(given).expanduser().absolute() / folder] if given else []
    places.append(cache_folder() / folder)
    for place in places:
        if (place / file).is_file():
            return place / file
    why = "it cannot be downloaded over https"
    if url:
        try:
            return _download(url, places[-1] / file)
        except (OSError, ValueError) as fault:  # requests' errors are OSErrors
            why = f"downloading {url} failed: {_reason(fault)}"
    first = f"$SWEEPER_DATA/{folder}/{file} (SWEEPER_DATA is {given or 'not set'})"
    raise DataMissing(f"no {folder}/{file}: put it at {first} or at {places[-1] / file}; {why}")


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


def _download(url: str, path: Path) -> Path:
    """Download to a temporary file beside `path`, then rename; a bar if tqdm is installed. Raises OSError."""
    import pooch

    path.parent.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("ERROR")
    bar = importlib.util.find_spec("tqdm") is not None
    downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=TIMEOUT_S)
    return Path(pooch.retrieve(url, known_hash=None, fname=path.name, path=path.parent, downloader=downloader))


def _reason(fault: Exception) -> str:
    """The innermost cause in one short line: requests wraps a refused connection four times."""
    cause: BaseException = fault
    while True:
        inner = getattr(cause, "reason", None) or (cause.args[0] if cause.args else None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return " ".join(str(cause).split())[:160] or type(cause).__name__
