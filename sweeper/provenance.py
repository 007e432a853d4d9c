"""Where a number came from: versions, source, machine. No torch."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import models
import sweeper

_SOURCE = [Path(package.__file__ or "").parent for package in (models, sweeper)]


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@cache
def source_digest() -> str:
    """SHA-256 of the project's source files, cut to 16 hexadecimal digits: driver and workers must agree on it."""
    digest = hashlib.sha256()
    for root in _SOURCE:
        for path in sorted(path for ending in ("py", "c", "h") for path in root.rglob(f"*.{ending}")):
            digest.update(f"{root.name}/{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def git_revision() -> str | None:
    """Revision of the checkout the source runs from, `+` added if it was edited; None outside a checkout."""
    root = _SOURCE[0].parent
    if not (root / ".git").exists():
        return None
    try:
        describe = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # not a hook's
        done = subprocess.run(describe, capture_output=True, text=True, timeout=10, check=True, env=ours)
        return done.stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def provenance() -> dict[str, Any]:
    """The columns of a row that say with what it was made; the device's own are the worker's to add."""
    return {
        "host": socket.gethostname(),
        "git_revision": git_revision(),
        "version_sweeper": sweeper.__version__,
        "version_python": platform.python_version(),
        "version_torch": _version("torch"),
        "version_numpy": _version("numpy"),
    }
