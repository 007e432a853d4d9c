"""How fast training is beside a compiled, vectorised JAX step of the same cells, in an environment of its own.

The environment is made by the first run, in the cache folder; JAX is no dependency of sweeper.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Times, circumstances, ratio, table
from benchmarks.workload import MODELS, as_in_a_worker, cells, images
from models.cell import cell_size
from models.data.sources import cache_folder

PINNED = ("jax==0.10.2", "jaxlib==0.10.2", "optax==0.2.8")
TOLERANCE = 1e-5


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["4x40", "quickstart"])
    parser.add_argument("--batch", type=int, help="batch size  [default: 128 of MNIST's size, 64 of the digits']")
    parser.add_argument("--stacks", type=int, nargs="+", default=[1, 16, 39], help="[default: 1 16 39]")
    parser.add_argument("--repeats", type=int, default=7, help="rounds  [default: %(default)s]")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each in a round, about  [default: %(default)s]")


def run(args: Namespace) -> None:
    """A table for each model: one row per stack."""
    python = environment()
    as_in_a_worker()
    circumstances(f"{', '.join(PINNED)}; float32, S = 5, one core each, by turns; median of {args.repeats} rounds.")
    for model in args.models:
        batch = args.batch or (128 if MODELS[model]["data"] == "mnist" else 64)
        rows = [_compared(python, model, count, batch, args) for count in args.stacks]
        header = ["cell-steps per second and core, sweeper", "JAX", "sweeper ÷ JAX (lowest–highest)", "of wall time"]
        table([f"{model}, batch {batch}: cells", *header], rows)


def environment() -> Path:
    """The interpreter of an environment with JAX, made where there is none yet."""
    folder = cache_folder() / "benchmarks" / "-".join(PINNED)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (folder / "ready").exists():
        print(f"making an environment with {', '.join(PINNED)} in {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PINNED], check=True)
        (folder / "ready").touch()
    return python


def _compared(python: Path, model: str, count: int, batch: int, args: Namespace) -> list[object]:
    """A row: the same cells trained by a stack and by the peer."""
    from models.stack.stack import Stack

    # Of one seed, however many: JAX's cells share their minibatches and noise.
    chosen = [cells(model, 1, batch_size=batch, rho=0.99 - 0.02 * place)[0] for place in range(count)]
    stack = Stack(chosen, images(model))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "given.npz"
        expected = _hand_over(stack, file)
        # -I: this folder, which has modules of the names `jax` and `profile`, is not on its path.
        program = Path(__file__).with_name("jax_peer.py")
        peer = subprocess.Popen(
            [str(python), "-I", str(program), str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with peer:
            found = np.array(_answer(peer, check=True))
            if np.abs(found - expected).max() > TOLERANCE * np.abs(expected).max():
                raise ValueError(f"the objective of {model} is {expected} here and {found} in JAX")
            flops = cell_size(stack.cells[0]).flops
            steps = max(2, round(args.seconds * 4e10 / (flops * count)))
            ours, theirs = Times(), Times()
            for number in range(args.repeats + 1):
                for mine in (True, False) if number % 2 else (False, True):
                    seconds = _trained(stack, steps) if mine else _answer(peer, train=steps)
                    if number:  # the first round compiles
                        (ours if mine else theirs).wall.append(seconds["wall"])
                        (ours if mine else theirs).cpu.append(seconds["cpu"])
            assert peer.stdin is not None
            peer.stdin.close()
    rates = [f"{steps * count / statistics.median(each.cpu):.0f}" for each in (ours, theirs)]
    return [count, *rates, ratio(theirs.cpu, ours.cpu), ratio(theirs.wall, ours.wall)]


def _trained(stack: Any, steps: int) -> dict[str, float]:
    """Train the stack further; seconds that it took."""
    begun = time.perf_counter(), time.thread_time()
    stack.train(stack.step + steps)
    return {"wall": time.perf_counter() - begun[0], "cpu": time.thread_time() - begun[1]}


def _answer(peer: subprocess.Popen[str], **request: Any) -> Any:
    """What the peer answers to a request."""
    assert peer.stdin is not None and peer.stdout is not None
    peer.stdin.write(json.dumps(request) + "\n")
    peer.stdin.flush()
    line = peer.stdout.readline()
    if not line:
        raise RuntimeError(f"the program with JAX ended with code {peer.wait()}")
    return json.loads(line)


def _hand_over(stack: Any, file: Path) -> np.ndarray:
    """Write the stack's parameters, and images and noise of a step; returns the objective of each cell at these."""
    import torch

    from models.draws.draws import Purpose

    cell = stack.cells[0]
    with torch.no_grad():
        x = stack.minibatch(0)
        noise = [
            stack.draws.normal(Purpose.LATENT, (1, cell.batch_size, units), 0, layer)
            for layer, units in enumerate(cell.latent_sizes, 1)
        ]
        smoothing = stack.objective.smoothing(stack.draws, 0, cell.latent_sizes, cell.batch_size)
        value = stack.objective.value(stack.network.terms(stack.params, x, noise, smoothing), 0)
        arrays = {f"params/{name}": np.asarray(each) for name, each in stack.params.items()}
        arrays |= {f"noise/{i}": np.asarray(each[0]).reshape(cell.batch_size, -1) for i, each in enumerate(noise)}
        shape = cell.smoothing_samples, cell.batch_size, -1
        arrays |= {f"smoothing/{i}": np.asarray(each[0]).reshape(shape) for i, each in enumerate(smoothing.noise)}
        arrays |= {
            "x": np.asarray(x[0, 0]),
            "rho": np.array([each.rho for each in stack.cells], np.float32),
            "images": stack.dataset.train,
            "layers": np.array(cell.depth),
            "learning_rate": np.array(cell.learning_rate),
        }
    np.savez(file, **arrays)
    return np.asarray(value, np.float64)
