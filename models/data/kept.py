"""Decoded images kept in the cache folder, for data sets that take long to decode."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.data.sources import cache_folder


def kept(folder: str, file: str, sha256: str) -> npt.NDArray[Any] | None:
    """The array that an earlier run kept under that name, if its numbers have this digest; a file of others goes."""
    path = _path(folder, file)
    try:
        with path.open("rb") as opened:
            images = np.lib.format.read_array(opened, allow_pickle=False)
        if hashlib.sha256(np.ascontiguousarray(images).data).hexdigest() == sha256:
            return images
    except (FileNotFoundError, PermissionError):
        return None
    except (ValueError, OSError, EOFError):
        pass  # not an array, or a torn one: the same as an array of other content
    with suppress(OSError):
        path.unlink()
    return None


def keep(folder: str, file: str, images: npt.NDArray[Any]) -> None:
    """Keep an array for the next process, whole or not at all; an unwritable cache is no error."""
    path = _path(folder, file)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with open(temporary, "xb") as opened:  # others may read it, where the umask lets them
                np.save(opened, images, allow_pickle=False)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise


def _path(folder: str, file: str) -> Path:
    return cache_folder() / folder / file
