"""One file over HTTPS: resumed where it was cut, checked, and whole when it has its name.

What has arrived is in `.<name>.part` beside the file to come, with a note of which version of the file on the server it
is a part of (`models.data.transfer`). The next attempt, in this process or a later one, asks for the rest of that
version only. A part is locked while it grows: of many processes one downloads, and the others wait for its file.

pooch, the library with which scientific packages download, was tried in its place. It has the hash, the retry and the
rename, but begins every attempt anew and has no lock. Measured were a file as large as CIFAR-10's archive (170.5 MB), a
local server that sends at most 20 MB/s and pooch 1.9.0, on two cores that were busy with other work (so the seconds are
rough): the bytes that the server sent and the seconds until the file was there.

    what happens                               this module       pooch
    the connection is cut once, at 90 %        170.5 MB, 13 s    323.9 MB, 23 s, and the first call fails
    every answer is cut after 153 MB           170.5 MB, 13 s    460.3 MB in three calls, and there is no file
    the process is killed at 90 %, run again   170.5 MB, 13 s    324.6 MB, 38 s, and 150 MB are left behind
    four processes ask at the same time        170.5 MB, 15 s    682.0 MB, 45 s

With two retries per call pooch survives the single cut (323.9 MB) and sends 1,381 MB in three calls where every answer
is cut. At 1 MB/s a cut at 90 % costs two and a half minutes again, and behind a proxy that ends long answers the file
never arrives. So this module stays.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from models.data.transfer import DownloadFailed, Note, check_url, fill


def download(url: str, path: Path, sha256: str = "") -> Path:
    """Download `url` to `path`, unless it is there. Raises DownloadFailed, or OSError where the disk fails.

    Args:
        sha256: of the file's bytes, 64 hexadecimal digits; empty: not known, and only the length is checked.
    """
    check_url(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _part_of(path) as part:
        if part is None:  # another process was faster
            return path
        for attempt in ("the rest", "all of it"):
            resumed = fill(url, part, _note(path))
            found = _digest(part)
            if not sha256 or found == sha256:
                break
            part.truncate(0)
            if not resumed or attempt == "all of it":
                raise DownloadFailed(f"its bytes have the SHA-256 {found}, published is {sha256}")
        part.flush()
        os.fsync(part.fileno())
        _note(path).forget()
        os.replace(_part_path(path), path)
    return path


def _part_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _note(path: Path) -> Note:
    return Note(path.with_name(f".{path.name}.part.json"))


@contextmanager
def _part_of(path: Path) -> Iterator[IO[bytes] | None]:
    """The locked part of `path`, empty or with what is there already; None if `path` itself is there.

    The lock is on the open file, whatever its name: who has waited for it looks whether it still is the part.
    """
    while True:
        if path.is_file():
            yield None
            return
        with open(_part_path(path), "ab+") as part:
            fcntl.flock(part, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(part.fileno()), os.stat(_part_path(path))):
                    try:
                        yield part
                    finally:
                        part.flush()
                        if os.fstat(part.fileno()).st_size == 0:
                            _part_path(path).unlink(missing_ok=True)
                            _note(path).forget()
                    return


def _digest(part: IO[bytes]) -> str:
    part.flush()
    part.seek(0)
    return hashlib.file_digest(part, "sha256").hexdigest()  # type: ignore[arg-type]
