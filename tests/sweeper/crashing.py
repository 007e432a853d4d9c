"""Crashes at each call of the operating system in turn, as SQLite's tests have them."""

import os
import random
import shutil

from sweeper.store import Store, atomic


class Crash(BaseException):
    """The process is dead: nothing that it would still do happens."""


class Crashing:
    """Lets `left` calls of the operating system through, then dies in the next one and in all that follow."""

    def __init__(self, left):
        self.left, self.calls = left, 0

    def tick(self):
        self.calls += 1
        if self.calls > self.left:
            raise Crash

    def wrap(self, function):
        def called(*arguments, **options):
            self.tick()
            return function(*arguments, **options)

        return called

    def open(self, path, mode):
        self.tick()
        return HalfWritten(open(path, mode), self)


class HalfWritten:
    """A file of which a crash leaves the first half."""

    def __init__(self, file, crashing):
        self.file, self.crashing = file, crashing

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        try:
            self.crashing.tick()
        except Crash:
            self.file.write(data[: len(data) // 2])
            raise
        self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


def crash_everywhere(monkeypatch, tmp_path, prepare, act, check, every=1):
    """`act` on a store as `prepare` makes it, crashing at each call in turn; `check` what is left. Returns the crashes.

    The store is made once and copied for each crash; where `prepare` makes none, `act` is given where one would be.

    every: of so many calls one, another one each time that the tests run.
    """
    first = random.randrange(every)
    print(f"crashes at calls {first}, {first + every}, …")
    prepared = tmp_path / "prepared"
    prepare(prepared)
    for crashes, k in enumerate(range(first, 200, every)):
        root = tmp_path / f"store {k}"
        if prepared.exists():
            shutil.copytree(prepared, root)
        store = Store.open(root) if prepared.exists() else root
        crashing = Crashing(k)
        with monkeypatch.context() as patch:
            for name in ("link", "replace", "fsync", "unlink", "rename", "mkdir"):
                patch.setattr(os, name, crashing.wrap(getattr(os, name)))
            patch.setattr(atomic, "open", crashing.open, raising=False)
            patch.setattr(atomic, "_renamed", crashing.wrap(atomic._renamed))
            try:
                act(store)
                finished = True
            except Crash:
                finished = False
        check(root, finished)
        if finished:
            return crashes
    raise AssertionError("never finished")
