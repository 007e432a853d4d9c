"""The token that Ray asks for: it runs whatever reaches its ports, which are open on all interfaces of a machine.

So whoever speaks to it must know a token. A Ray of our own gets a new one, in a file that only this user can read; for
one that is up already the user's is taken, and must be as private. Without a token nothing is started or joined.
"""

from __future__ import annotations

import os
import secrets
import stat
from functools import cache
from pathlib import Path

from sweeper.errors import StudyError

DEFAULT_PATH = Path(".ray") / "auth_token"  # in the home folder; where Ray looks last


def new_token(folder: Path) -> None:
    """Make the next Ray that this process starts ask for a new token, kept in `folder`. Raises StudyError."""
    _refuse_open()
    token = folder / "token"
    token.touch(0o600)
    token.write_text(_token())
    os.environ.pop("RAY_AUTH_TOKEN", None)  # it would come before the file
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}


def use_token(address: str) -> None:
    """Speak to the Ray at `address` by the token that the user has for it. Raises StudyError where there is none."""
    _refuse_open()
    os.environ["RAY_AUTH_MODE"] = os.environ.get("RAY_AUTH_MODE") or "token"
    if os.environ["RAY_AUTH_MODE"].lower() != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")  # which Ray takes before its own place
    path = Path(given or "~" / DEFAULT_PATH)
    try:
        path = path.expanduser()
        mode = stat.S_IMODE(path.stat().st_mode)
    except (OSError, RuntimeError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else "this user has no home folder (is HOME set?)"
        raise StudyError(
            f"no token for the Ray cluster at {address}: {path}: {why}; put the cluster's there, or name "
            "its file with RAY_AUTH_TOKEN_PATH (docs/cluster.md has how to start one with a token)"
        ) from fault
    if mode & 0o077:
        raise StudyError(f"others can read the token of the Ray cluster, {path} (mode {mode:04o}): chmod 600 {path}")
    if given:
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)  # Ray knows no ~


def _refuse_open() -> None:
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        raise StudyError(
            "RAY_AUTH_MODE=disabled lets anyone who reaches Ray's ports run code as this user: unset it; "
            "`--executor inline` does without Ray"
        )


@cache
def _token() -> str:
    """A secret, the same for every start of Ray in this process, because Ray remembers the first it sees."""
    return secrets.token_hex(32)
