"""What one more stack costs beside its training and evaluation: scheduling, building it, a checkpoint, its row.

`sweeper run` of stacks that are one small cell each, of a few of them and of many. What a run's rows give for training
and evaluation is taken from its wall time; the difference in the rest, over the difference in number, is what one more
stack costs, with its share of planning and report. Ray's start and imports cancel: both runs have them once.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

import sweeper
from benchmarks.measure import circumstances, table, timed

STUDY = """
name: stacks
cells: {{data: digits, latents: 10-10, seed: {{from: 1, to: {stacks}, step: 1}}}}
train: {{steps: 10, keep: {keep}}}
evaluation: {{every: 0, importance_samples: 1, pictures: 0}}
run: {{executor: {executor}, workers: 1, max_stack: 1, device: cpu}}
"""


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--few", type=int, default=20, help="[default: %(default)s]")
    parser.add_argument("--many", type=int, default=120, help="[default: %(default)s]")
    parser.add_argument("--repeats", type=int, default=3, help="rounds  [default: %(default)s]")


def run(args: Namespace) -> None:
    """Runs of few and of many stacks, in turn, through Ray and without."""
    circumstances(f"{args.few} and {args.many} stacks, one worker, median of {args.repeats} rounds.")
    kinds = [(executor, keep) for executor in ("ray", "inline") for keep in ("full", "none")]
    found: dict[tuple[str, str], list[float]] = {kind: [] for kind in kinds}
    for _ in range(args.repeats):
        for kind in kinds:
            few, many = (_rest(stacks, *kind) for stacks in (args.few, args.many))
            found[kind].append(1000 * (many - few) / (args.many - args.few))
    rows = [
        [f"`executor: {executor}`, `keep: {keep}`", f"{statistics.median(ms):.0f} ({min(ms):.0f}–{max(ms):.0f})"]
        for (executor, keep), ms in found.items()
    ]
    table(["one more stack", "ms (lowest–highest)"], rows)


def _rest(stacks: int, executor: str, keep: str) -> float:
    """Seconds of a run of so many stacks beside their training and evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        path, store = Path(folder) / "stacks.yaml", Path(folder) / "store"
        path.write_text(STUDY.format(stacks=stacks, executor=executor, keep=keep), encoding="utf-8")
        command = [sys.executable, "-m", "sweeper", "run", str(path), "--store", str(store)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        seconds = timed(lambda: subprocess.run(command, check=True, **quiet))
        rows = sweeper.load(store)
        return seconds - float(rows.wall_s.sum() + rows.evaluation_s.sum())
