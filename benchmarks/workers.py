"""What a second worker on a second core adds: the same stacks trained by one process, and by one on every core at once.

Cores share caches, memory and their clock, so two of them are less than twice one.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from argparse import ArgumentParser, Namespace
from multiprocessing.connection import Connection

from benchmarks.measure import circumstances, ratio, table
from benchmarks.workload import MODELS


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["4x40", "quickstart"], help="[default: both]")
    parser.add_argument("--workers", type=int, default=cores, help="processes  [default: the cores, %(default)s]")
    parser.add_argument("--cells", type=int, default=12, help="cells in each stack  [default: %(default)s]")
    parser.add_argument("--steps", type=int, default=10, help="training steps per round  [default: %(default)s]")
    parser.add_argument("--repeats", type=int, default=9, help="rounds  [default: %(default)s]")


def run(args: Namespace) -> None:
    """Rounds of one worker and of all of them, in turn."""
    circumstances(f"Stacks of {args.cells}, one thread per worker, median of {args.repeats} rounds.")
    rows = []
    for model in args.models:
        alone, together = _times(model, args)
        gain = ratio([args.workers * seconds for seconds in alone], together)
        rows.append([model, gain, f"{args.cells * args.steps / sorted(alone)[len(alone) // 2]:.0f}"])
    table(["", f"{args.workers} workers ÷ one (lowest–highest)", "cell-steps per second of one"], rows)


def _times(model: str, args: Namespace) -> tuple[list[float], list[float]]:
    """Wall seconds of each round: of one worker alone, and of the last of all workers."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(args.workers):
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, model, args.cells, args.steps))
        process.start()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    alone, together = [], []
    for _ in range(args.repeats):
        for chosen, found in ((pipes[:1], alone), (pipes, together)):
            begun = time.perf_counter()
            for pipe in chosen:
                pipe.send(True)
            for pipe in chosen:
                pipe.recv()
            found.append(time.perf_counter() - begun)
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(False)
        process.join()
    return alone, together


def _work(pipe: Connection, model: str, count: int, steps: int) -> None:
    """A worker: trains `steps` whenever it is told to."""
    from benchmarks.workload import advance, as_in_a_worker, cells, images
    from models.stack.stack import Stack

    as_in_a_worker()
    train = advance(Stack(cells(model, count, batch_size=64), images(model)), steps)
    train()
    pipe.send(True)
    while pipe.recv():
        train()
        pipe.send(True)
