"""One run at a time on an object store: an object says who runs, and is written anew as long as that run lives.

Ages are differences between two stamps of the service's own clock, so no machine's clock matters. A lease cannot stop a
run that was paused for longer than it lasts: two may then run at once until the first notices. What keeps the results
right even then is that a row is created once (`sweeper.cloud.mirror`).
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from sweeper.cloud.objects import Bucket, Seen
from sweeper.errors import StoreInUse
from sweeper.store.lock import describe

NAME = "lock.json"
LEASE_S = 120.0  # after so long without a heartbeat a holder is taken for dead


class Lease:
    """Held from `acquire` to `release`, if `renew` is called every few seconds."""

    def __init__(self, bucket: Bucket, copy: str):
        """`copy` names the working copy: who holds that has outlived whatever ran on it before."""
        self.bucket, self.copy = bucket, copy
        self._seen: Seen | None = None
        self._note: dict[str, Any] = {}
        self._one = threading.Lock()

    @property
    def held(self) -> bool:
        """Whether nobody has been seen to take over."""
        return self._seen is not None

    def acquire(self) -> None:
        """Raises StoreInUse, naming the holder and its last heartbeat; StoreUnwritable."""
        self._note = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join(sys.argv),
            "copy": self.copy,
            "run": secrets.token_hex(8),
            "signs_of_life": 0,  # no two are alike, as a service tells objects apart by their content
        }
        self._seen = self.bucket.create(NAME, self._sign())
        while self._seen is None:
            there = self.bucket.get(NAME)
            if there is None:
                self._seen = self.bucket.create(NAME, self._sign())
                continue
            holder = _read(there[0])
            if holder is None or holder["copy"] != self.copy:
                self._refuse_if_alive(holder, there[1])
            self._seen = self.bucket.replace(NAME, self._sign(), there[1])

    def _sign(self) -> bytes:
        self._note["signs_of_life"] += 1
        return json.dumps(self._note).encode()

    def _refuse_if_alive(self, holder: dict[str, Any] | None, seen: Seen) -> None:
        age = (self.bucket.now() - seen.at).total_seconds() if seen.at else 0.0
        if age < LEASE_S:
            raise StoreInUse(
                f"{self.bucket.url} is in use by {describe(holder)}, last heard of {max(age, 0.0):.0f} s ago: wait for "
                f"it, or stop it; {LEASE_S:.0f} s after its last heartbeat it is taken for dead"
            )

    def renew(self) -> None:
        """A heartbeat. Raises StoreInUse if another run has taken over meanwhile; StoreUnwritable."""
        with self._one:
            if self._seen is not None:
                self._seen = self.bucket.replace(NAME, self._sign(), self._seen) or self._again()
            if self._seen is None:
                raise StoreInUse(
                    f"{self.bucket.url} was taken over by another run while this one was out of reach for more than "
                    f"{LEASE_S:.0f} s: nothing more is uploaded"
                )

    def _again(self) -> Seen | None:
        """The lease where it is still this run's: a heartbeat arrived of which only the answer was lost."""
        there = self.bucket.get(NAME)
        if there is None or (_read(there[0]) or {}).get("run") != self._note["run"]:
            return None
        return self.bucket.replace(NAME, self._sign(), there[1])

    def release(self) -> None:
        """Others may run. Raises StoreUnwritable."""
        if self._seen is not None:
            self.renew()
            self.bucket.delete(NAME)
            self._seen = None


def _read(data: bytes) -> dict[str, Any] | None:
    try:
        note = json.loads(data)
        datetime.fromisoformat(note["started_at"])
        return {key: note[key] for key in ("host", "pid", "started_at", "command", "copy", "run")}
    except (ValueError, KeyError, TypeError):
        return None
