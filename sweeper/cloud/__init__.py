"""Stores in a bucket: `s3://bucket/prefix`, `gs://…`, `az://…`. A run works on a copy in a folder of this machine.

The copy is a store like any other, `<cache>/stores/<digest of the URL>`; what is new in it goes to the bucket every few
seconds and before a run says that it is done. It may be deleted while no run uses it, and is then fetched again.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from models.data.sources import expanded
from sweeper.errors import StoreInUse, StoreUnwritable

if TYPE_CHECKING:
    from sweeper.cloud.lease import Lease
    from sweeper.cloud.mirror import Mirror

PUSH_S = 15.0  # between two looks for what is new
_URL = re.compile(r"(s3|gs|az):/+([^/].*?)/*")  # a path with two slashes has one left


def url_of(store: Path | str) -> str | None:
    """The URL of a store in a bucket; None if it is a folder."""
    match = _URL.fullmatch(str(store))
    return f"{match[1]}://{match[2]}" if match else None


def working_copy(url: str) -> Path:
    """Where this machine's copy of a bucket's store lies."""
    from models.data.sources import cache_folder

    return cache_folder() / "stores" / hashlib.sha256(url.encode()).hexdigest()[:16]


def to_read(store: Path | str, missing_ok: bool = False) -> Path:
    """The folder to read a store from: of one in a bucket the copy, brought up to date unless a run here uses it.

    Raises StoreUnwritable (also where there is no store, unless `missing_ok`), StoreNewer, StudyError.
    """
    url = url_of(store)
    if url is None:
        return expanded(str(store)) if str(store).startswith("~") else Path(store)
    from sweeper.cloud.mirror import Mirror
    from sweeper.cloud.objects import Bucket
    from sweeper.store.paths import StorePaths

    root = working_copy(url)
    with suppress(StoreInUse), _alone(root):
        Mirror(Bucket(url), root).pull()
    if not missing_ok and not StorePaths(root).version.exists():
        raise StoreUnwritable(f"no store at {url}")
    return root


@contextmanager
def to_run(store: Path) -> Iterator[Path]:
    """The folder for a run to work in; inside, what is new in it goes to the bucket, and all of it before this ends.

    Raises StoreInUse, StoreUnwritable (the copy then has what the bucket lacks, and the same command takes it there),
    StoreNewer, StudyError.
    """
    url = url_of(store)
    if url is None:
        yield store
        return
    from sweeper.cloud.lease import Lease
    from sweeper.cloud.mirror import Mirror
    from sweeper.cloud.objects import Bucket
    from sweeper.store.paths import StorePaths

    root = working_copy(url)
    with _alone(root) as copy:
        bucket = Bucket(url)
        lease = Lease(bucket, copy)
        lease.acquire()
        mirror = Mirror(bucket, root)
        try:
            with _Repeated(lease.renew):
                mirror.pull()
                try:
                    with _Repeated(mirror.push, lease):
                        yield root
                finally:
                    if StorePaths(root).version.exists():
                        _last_push(mirror, lease)
        except StoreUnwritable:
            raise  # the service may be out of reach: then the lease ends by itself
        except BaseException:
            with suppress(StoreUnwritable, StoreInUse):
                lease.release()
            raise
        lease.release()


def _last_push(mirror: Mirror, lease: Lease) -> None:
    try:
        lease.renew()
        mirror.push()
    except StoreUnwritable as fault:
        raise StoreUnwritable(
            f"{fault}; what is not there yet is whole in {mirror.paths.root}: the same command takes it there"
        ) from fault


class _Repeated:
    """A thread that does something every `PUSH_S` seconds while inside, until the lease is lost.

    A fault is not the run's: it trains on, and the last push decides.
    """

    def __init__(self, action: Callable[[], object], lease: Lease | None = None):
        self.action, self.lease = action, lease
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _repeat(self) -> None:
        while not self._done.wait(PUSH_S):
            with suppress(StoreUnwritable):
                try:
                    if self.lease is None or self.lease.held:
                        self.action()
                except StoreInUse:
                    return


@contextmanager
def _alone(root: Path) -> Iterator[str]:
    """Be the one process that uses a working copy; its name, new for a new one. Raises StoreInUse."""
    from filelock import FileLock, Timeout

    from sweeper.store.atomic import reported, write_bytes

    name = root.with_suffix(".name")
    with reported(root):
        root.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(root.with_suffix(".lock"), timeout=0):
                if not name.exists():
                    write_bytes(name, secrets.token_hex(8).encode())
                yield name.read_text()
        except Timeout:
            raise StoreInUse(f"{root} is in use by another process of this machine: wait for it, or stop it") from None
