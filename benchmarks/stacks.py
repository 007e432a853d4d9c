"""What one more stack costs beside its training: scheduling, building it, evaluating two images, writing its row.

`sweeper run` of stacks that are one small cell and one step each, of a few of them and of many; the difference in wall
time over the difference in number, so that Ray's start, imports and the report cancel, which both have once.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

from benchmarks.measure import circumstances, interleaved, table

STUDY = """
name: stacks
cells: {{data: digits, latents: 10-10, seed: {{from: 1, to: {stacks}, step: 1}}}}
train: {{steps: 1, keep: none}}
evaluation: {{every: 0, importance_samples: 1, images: 2, pictures: 0}}
run: {{executor: {executor}, workers: 1, max_stack: 1, device: cpu}}
"""


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--few", type=int, default=20, help="[default: %(default)s]")
    parser.add_argument("--many", type=int, default=220, help="[default: %(default)s]")
    parser.add_argument("--repeats", type=int, default=3, help="rounds  [default: %(default)s]")


def run(args: Namespace) -> None:
    """Runs of few and of many stacks, in turn, through Ray and without."""
    circumstances(f"{args.few} and {args.many} stacks, one worker, median of {args.repeats} rounds.")

    def sweep(executor: str, stacks: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "stacks.yaml"
            path.write_text(STUDY.format(stacks=stacks, executor=executor), encoding="utf-8")
            command = [sys.executable, "-m", "sweeper", "run", str(path), "--store", str(Path(folder) / "store")]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    executors, numbers = ("ray", "inline"), (args.few, args.many)
    times = interleaved({f"{e} {n}": partial(sweep, e, n) for e in executors for n in numbers}, args.repeats)
    rows = []
    for executor in executors:
        pairs = zip(*(times[f"{executor} {number}"].wall for number in numbers), strict=True)
        each = sorted(1000 * (many - few) / (args.many - args.few) for few, many in pairs)
        rows.append([f"`executor: {executor}`", f"{each[len(each) // 2]:.0f} ({each[0]:.0f}–{each[-1]:.0f})"])
    table(["one more stack of one step", "ms (lowest–highest)"], rows)
