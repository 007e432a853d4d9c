"""A prefix of a bucket as a flat folder of objects, each written whole in one request, or not at all.

`obstore` speaks to S3, Google Cloud Storage and Azure, tries failed requests again, and has the conditional writes that
everything here rests on: `create` fails where the object exists, `replace` where it is not the one that was seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sweeper.errors import StoreUnwritable, StudyError

if TYPE_CHECKING:
    from obstore import UpdateVersion

PATIENCE_S = 60.0  # for tries of one request that fail at once
REQUEST_S = 300.0  # for one try, which may have a large checkpoint to carry


@dataclass(frozen=True)
class Seen:
    """An object as it was when it was seen: `mark` changes with its content; `at` is by the service's clock."""

    mark: str
    at: datetime | None = None
    version: str | None = None

    @property
    def condition(self) -> UpdateVersion:
        """The condition that the object is still of this version."""
        return {"e_tag": self.mark} if self.version is None else {"e_tag": self.mark, "version": self.version}


class Bucket:
    """The objects below `url`. Every method raises StoreUnwritable where the service fails it again and again."""

    def __init__(self, url: str):
        """Nothing is asked of the service yet. Raises StudyError without `obstore`, or where `url` is of no service."""
        try:
            from obstore import exceptions
            from obstore.store import from_url
        except ImportError as fault:
            raise StudyError(f'{url}: object stores need a package more: pip install "sweeper[cloud]"') from fault
        self.url, self._errors = url, exceptions
        retry: Any = {
            "max_retries": 20,
            "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=10), "base": 2},
            "retry_timeout": timedelta(seconds=PATIENCE_S),
        }
        options: Any = {  # which take the place of obstore's own look at the environment
            "timeout": timedelta(seconds=REQUEST_S),
            "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true"),
        }
        try:
            self._store: Any = from_url(url, client_options=options, retry_config=retry)
        except (exceptions.BaseError, ValueError) as fault:
            raise StudyError(f"{url}: {_line(fault)}") from fault

    def list(self) -> dict[str, Seen]:
        """All objects by name."""
        with self._reported("list"):
            return {meta["path"]: _seen(meta) for part in self._store.list() for meta in part}

    def get(self, name: str) -> tuple[bytes, Seen] | None:
        """An object's content, and what it was then; None where there is none."""
        with self._reported(f"read {name}"):
            try:
                found = self._store.get(name)
                return bytes(found.bytes()), _seen(found.meta)
            except (FileNotFoundError, self._errors.NotFoundError):
                return None

    def put(self, name: str, data: bytes) -> Seen:
        """Write an object, in place of what is there."""
        with self._reported(f"write {name}"):
            return _seen(self._store.put(name, data, use_multipart=False))

    def create(self, name: str, data: bytes) -> Seen | None:
        """Write an object, unless one of this name is there: then None, and nothing is changed."""
        with self._reported(f"write {name}"):
            try:
                return _seen(self._store.put(name, data, mode="create", use_multipart=False))
            except (FileExistsError, self._errors.AlreadyExistsError, self._errors.PreconditionError):
                return None

    def replace(self, name: str, data: bytes, before: Seen) -> Seen | None:
        """Write an object in place of the one that was seen; None if it is another by now, or gone."""
        with self._reported(f"write {name}"):
            try:
                return _seen(self._store.put(name, data, mode=before.condition, use_multipart=False))
            except (FileNotFoundError, self._errors.NotFoundError, self._errors.PreconditionError):
                return None

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self._reported(f"remove {name}"):
            try:
                self._store.delete(name)
            except (FileNotFoundError, self._errors.NotFoundError):
                return

    def now(self) -> datetime:
        """The time by the service's clock, which is the one that stamps its objects."""
        self.put("clock", b"")
        with self._reported("read clock"):
            at: datetime = self._store.head("clock")["last_modified"]
        return at

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        try:
            yield
        except (self._errors.BaseError, OSError, ValueError) as fault:
            raise StoreUnwritable(f"{self.url}: cannot {what}: {_line(fault)}") from fault


def _seen(meta: Any) -> Seen:
    return Seen(meta["e_tag"] or "", meta.get("last_modified"), meta.get("version"))


def _line(fault: BaseException) -> str:
    """What a service said, in one line."""
    text = " ".join(str(fault).split("Debug source")[0].split())
    return text[:300] or type(fault).__name__
