"""The one faulty procedure: `joint`, with a fault that is planted before its steps. It is registered in joint's place.

So cells keep their ids, and what tests replace is an entry of the registry, not a method of `models`. In the process of
a test the hooks of `planted` are called with the stack; in others the variable FAULT says what happens, as JSON:
`kind`, the `rho` of the cell and the `step` from which on it does; with `once`, a path, only the first time.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from models.cell.registry import PROCEDURES
from models.procedures.joint import Joint
from models.stack.stack import Stack

NO_MEMORY = (
    "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes"
)
HOOKS: list[Callable[[Stack], object]] = []

# For processes of their own, in a sitecustomize.py: it must not load torch, as most of Ray's processes do not.
REGISTER = """
from dataclasses import replace
from models.cell.registry import PROCEDURES
for name in ("joint", "continue"):
    PROCEDURES[name] = replace(PROCEDURES[name], target="tests.sweeper.faulty_procedure:Faulty")
"""


class Faulty(Joint):
    """`joint`, after whatever was planted."""

    def step(self, stack: Stack) -> None:
        """One minibatch."""
        for hook in [*HOOKS, by_environment]:
            hook(stack)
        super().step(stack)


def register() -> None:
    """Have all cells of this process trained by it."""
    for name in ("joint", "continue"):
        PROCEDURES[name] = replace(PROCEDURES[name], target=f"{__name__}:Faulty")


@contextmanager
def planted(hook: Callable[[Stack], object]) -> Iterator[None]:
    """While inside, every training step of this process is preceded by `hook(stack)`."""
    before = dict(PROCEDURES)
    register()
    HOOKS.insert(0, hook)  # the last one planted comes first
    try:
        yield
    finally:
        HOOKS.remove(hook)
        PROCEDURES.update(before)


def by_environment(stack: Stack) -> None:
    """What FAULT says."""
    fault = json.loads(os.environ.get("FAULT", "null"))
    if fault is None or stack.step < fault["step"]:
        return
    hit = [i for i, cell in enumerate(stack.cells) if cell.rho == fault["rho"]]
    if not hit:
        return
    if "once" in fault:
        try:
            Path(fault["once"]).touch(exist_ok=False)
        except FileExistsError:
            return
    KINDS[fault["kind"]](stack, hit)


def raises(stack: Stack, hit: list[int]) -> None:
    raise RuntimeError(f"planted at step {stack.step}")


def diverges(stack: Stack, hit: list[int]) -> None:
    for tensor in stack.params.values():
        tensor.data[hit] = float("nan")


def lacks_memory(stack: Stack, hit: list[int]) -> None:
    if len(stack.cells) > 2:
        raise RuntimeError(NO_MEMORY)


def killed(stack: Stack, hit: list[int]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(stack: Stack, hit: list[int]) -> None:
    threading.Event().wait()


KINDS = {each.__name__: each for each in (raises, diverges, lacks_memory, killed, hangs)}
