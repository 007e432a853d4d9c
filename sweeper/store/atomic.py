"""Files that are either whole or not there, whatever kills the process and whenever.

A file is written under a temporary name that starts with a dot in the same folder (readers of the folder skip it),
flushed to the disk, and only then given its name: by a hard link where the first writer wins, by a rename where the
last does. The folder is flushed after that. (Pillai et al., OSDI 2014, for why each of these is needed.)

On a file system without hard links (FAT, exFAT, many network shares and FUSE file systems) a rename takes their place:
one that fails if the name exists, where the system has that (Linux); else one after a look whether it does. Then of two
writers at the same moment the last wins, with a whole file.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sweeper.errors import StoreUnwritable

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, errno.EXDEV)
TEMPORARY = re.compile(r"\..+\.[0-9]+\.[0-9a-f]{8}\.tmp|\.tmp[0-9A-Za-z]{6}")  # the second: those of safetensors


def write_bytes(path: Path, data: bytes, *, exclusive: bool = False, durable: bool = True) -> bool:
    """Write `data` to `path` as a whole: see `write_file`."""

    def write(temporary: Path) -> None:
        with open(temporary, "xb") as file:
            file.write(data)

    return write_file(path, write, exclusive=exclusive, durable=durable)


def write_file(path: Path, write: Callable[[Path], object], *, exclusive: bool = False, durable: bool = True) -> bool:
    """Have `write` make a file under a name that it is given, then give it its own, `path`.

    Returns False, with nothing changed, if `exclusive` and `path` exists. `durable=False` leaves out the flushes to the
    disk, for what may be lost in a power cut. Raises StoreUnwritable.
    """
    with reported(path):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        try:
            write(temporary)
            if durable:
                with open(temporary, "rb") as file:
                    os.fsync(file.fileno())
            if exclusive:
                try:
                    _name_first(temporary, path)
                except FileExistsError:
                    return False
            else:
                os.replace(temporary, path)
        finally:
            with suppress(OSError):
                os.unlink(temporary)
        if durable:
            sync_folder(path.parent)
    return True


def _name_first(temporary: Path, path: Path) -> None:
    """Give a file its name, or raise FileExistsError; its temporary name may stay."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if _renamed(temporary, path, NOREPLACE):
            return
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        os.rename(temporary, path)


def move(source: Path, target: Path) -> None:
    """Move a file within the store, replacing what `target` was; nothing happens if `source` is gone already."""
    with reported(target):
        target.parent.mkdir(exist_ok=True)
        try:
            os.replace(source, target)
        except FileNotFoundError:
            if not target.parent.is_dir():
                raise
            return
        sync_folder(target.parent)
        sync_folder(source.parent)


def link(source: Path, target: Path) -> None:
    """Give a file of the store a further name, unless that name is taken; without hard links, a copy has it.

    Raises StoreUnwritable.
    """
    with reported(target), suppress(FileExistsError):
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            write_bytes(target, source.read_bytes(), exclusive=True)
        sync_folder(target.parent)


def exchange(first: Path, second: Path, aside: Path) -> None:
    """Exchange two folders of one file system, by one call where the system has it (Linux: renameat2).

    Elsewhere the first becomes `aside`, and then `second` the first: whoever looks between the two finds no folder.
    Raises StoreUnwritable.
    """
    with reported(first):
        sync_folder(second)
        if not _renamed(first, second, EXCHANGE):
            os.rename(first, aside)
            os.rename(second, first)
            os.rename(aside, second)
        sync_folder(first.parent)


NOREPLACE, EXCHANGE = 1, 2  # of renameat2


def _renamed(first: Path, second: Path, how: int) -> bool:
    """Whether the system renamed a file unless the new name was taken, or exchanged two names, in one call."""
    try:
        call = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here = -100  # AT_FDCWD: paths are as for this process
    return bool(call(here, os.fsencode(first), here, os.fsencode(second), how) == 0)


def remove(path: Path) -> None:
    """Remove a file or a folder with all in it, if it is there. A link is removed, never followed."""
    with reported(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def make_folder(path: Path, parents: bool = False) -> None:
    """Make a folder, if it is not there, and flush the entry to the disk.

    `parents` too only where a store begins: a store that vanished under a run must not come back in part.
    """
    with reported(path):
        if not path.is_dir():
            if os.path.lexists(path) and not path.is_dir():  # nor one that another process has just made
                what = "a link that leads nowhere" if path.is_symlink() else "a file"
                raise FileExistsError(errno.EEXIST, f"it is {what}, and should be a folder")
            path.mkdir(parents=parents, exist_ok=True)
            sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk; file systems that cannot (some network ones) are taken at their word."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn an OSError into StoreUnwritable: one sentence with the path, the reason and the free space."""
    try:
        yield
    except OSError as error:
        raise StoreUnwritable(f"cannot read or write {path}: {error.strerror or error}{_free(path)}") from error


def _free(path: Path) -> str:
    for folder in path.parents:
        with suppress(OSError):
            return f" ({shutil.disk_usage(folder).free:,} bytes free)"
    return ""
