"""What the benchmarks share: interleaved timing, ratios, and tables that say under which circumstances.

What is compared runs in turn, forwards and then backwards, in one process: a machine that gets slower or busier slows
all of it alike. A ratio is the median of the ratios of one round, with the lowest and highest beside it. Two clocks:
the wall's, and the processor time of the measuring thread, which other programs on the machine disturb less.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from sweeper.machine.resources import processor
from sweeper.provenance import git_revision


@dataclass(frozen=True)
class Times:
    """Seconds of each round of one candidate: by the wall's clock, and of this thread's processor time."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


Seconds = dict[str, Times]


def timing_options(parser: ArgumentParser, steps: int) -> None:
    """`--threads`, `--repeats` and `--steps` of a benchmark of training."""
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch  [default: %(default)s]")
    parser.add_argument("--repeats", type=int, default=9, help="rounds  [default: %(default)s]")
    parser.add_argument("--steps", type=int, default=steps, help="training steps per round  [default: %(default)s]")


def in_own_process(module: str, **case: Any) -> dict[str, float]:
    """What `module` measures of a case in a process of its own, whose memory no other case has touched.

    As a program the module is given the case as JSON, and prints numbers by name as JSON.
    """
    command = [sys.executable, "-W", "ignore", "-m", module, json.dumps(case)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def interleaved(candidates: Mapping[str, Callable[[], object]], repeats: int) -> Seconds:
    """Seconds of each candidate, one call per round, after a round that does not count."""
    times = {name: Times() for name in candidates}
    for number in range(repeats + 1):
        order = list(candidates) if number % 2 else list(candidates)[::-1]
        for name in order:
            begun = time.perf_counter(), time.thread_time()
            candidates[name]()
            if number:
                times[name].wall.append(time.perf_counter() - begun[0])
                times[name].cpu.append(time.thread_time() - begun[1])
    return times


def timed(action: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def spent(action: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds of one call, and processor seconds of this process and of those that it started and waited for."""
    own, others = time.process_time(), os.times()
    wall = timed(action)
    children = sum(os.times()[2:4]) - sum(others[2:4])
    return wall, time.process_time() - own + children


def ratio(times: Sequence[float], others: Sequence[float]) -> str:
    """How many times as long as the others, round by round: `1.83 (1.79–1.90)`."""
    each = sorted(mine / other for mine, other in zip(times, others, strict=True))
    return f"{statistics.median(each):.2f} ({each[0]:.2f}–{each[-1]:.2f})"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table: first column left, the others right."""
    print(f"| {' | '.join(header)} |")
    print("|" + "|".join(["---", *["---:"] * (len(header) - 1)]) + "|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)
    print()


def circumstances(*notes: str) -> None:
    """Print what the numbers depend on: machine, load when it began, versions, and what else `notes` says."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "ray", "pandas", "pyarrow"))
    print(f"{processor()}, {cores} cores, load {os.getloadavg()[0]:.1f} at the start; {platform.system()}.")
    print(f"Python {platform.python_version()}, {packages}; revision {git_revision()}.")
    print(*notes, sep="\n")
    print()
