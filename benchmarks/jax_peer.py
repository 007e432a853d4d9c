"""The peer of `python -m benchmarks jax`: `jit(vmap(scan(step)))` of a hierarchical VAE, as a good JAX user writes it.

A program of its own that imports JAX, Optax and NumPy and nothing of sweeper; it runs in an environment of its own. Its
argument names a file of NumPy arrays; then it reads requests from standard input, a line of JSON each, and answers
each with one: `{"train": steps}` → seconds of the wall and of the processor, `{"check": true}` → the objective of every
cell at the parameters, images and noise of the file.

The model and objective are those of `benchmarks.textbook`, the work of a step the same: bottom-up inference, generative
maps above p(x|z₁) averaged over S samples, sampled terms below the top, an analytic KL there. All cells share their
minibatches and noise, as those of a seed do in models/.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from functools import partial
from typing import Any

if __name__ == "__main__":  # before JAX looks at how many cores there are
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
import optax

Params = dict[str, Any]
LOG_2PI = math.log(2 * math.pi)


def hidden(layers: Params, h: Any) -> Any:
    """Linear and tanh in turn."""
    for name in sorted((each for each in layers if each.isdigit()), key=int):
        h = jnp.tanh(h @ layers[name]["weight"] + layers[name]["bias"])
    return h


def linear(layer: Params, h: Any) -> Any:
    """An affine map."""
    return h @ layer["weight"] + layer["bias"]


def gaussian(layers: Params, h: Any) -> tuple[Any, Any]:
    """Mean and deviation of a diagonal Gaussian, from a network with two heads."""
    h = hidden(layers, h)
    return linear(layers["mean"], h), jax.nn.softplus(linear(layers["deviation"], h) + 0.5413) + 1e-6


def log_normal(x: Any, mean: Any, deviation: Any) -> Any:
    """Log density, summed over units."""
    return (-0.5 * ((x - mean) / deviation) ** 2 - jnp.log(deviation) - 0.5 * LOG_2PI).sum(-1)


def objective(params: Params, rho: Any, x: Any, noise: list[Any], smoothing: list[Any]) -> Any:
    """Nats per image of a batch x [B, D]; noise of layer i [B, n_i], of smoothing from layer 2 up [S, B, n_i]."""
    inference, generative = params["inference"], params["generative"]
    z, layers = x, []
    for i, drawn in enumerate(noise, start=1):
        mean, deviation = gaussian(inference[str(i)], z)
        z = mean + deviation * drawn
        layers.append((z, mean, deviation))
    logits = linear(generative["1"]["mean"], hidden(generative["1"], layers[0][0]))
    value = (x * logits - jax.nn.softplus(logits)).sum(-1)
    for i, (here, above, drawn) in enumerate(zip(layers, layers[1:], smoothing, strict=False), start=2):
        z, mean, deviation = above
        moved = rho * z + (1 - rho) * mean + jnp.sqrt(1 - rho**2) * deviation * drawn  # [S, B, n]
        p_mean, p_deviation = gaussian(generative[str(i)], moved)
        value = value + log_normal(here[0], p_mean.mean(0), p_deviation.mean(0)) - log_normal(*here)
    _, mean, deviation = layers[-1]
    return (value - (0.5 * (mean**2 + deviation**2 - 1) - jnp.log(deviation)).sum(-1)).mean()


class Peer:
    """All cells of a file, their optimiser and their draws."""

    def __init__(self, given: dict[str, Any]):
        self.params: Params = {}
        for name, values in given.items():
            if name.startswith("params/"):
                *path, last = name.removeprefix("params/").split(".")
                place = self.params
                for part in path:
                    place = place.setdefault(part, {})
                place[last] = jnp.asarray(values)
        self.rho, self.images = jnp.asarray(given["rho"]), jnp.asarray(given["images"])
        self.x = jnp.asarray(given["x"])
        self.noise = [jnp.asarray(given[f"noise/{i}"]) for i in range(int(given["layers"]))]
        self.smoothing = [jnp.asarray(given[f"smoothing/{i}"]) for i in range(int(given["layers"]) - 1)]
        self.adam = optax.adam(float(given["learning_rate"]))
        self.state = jax.vmap(self.adam.init)(self.params)
        self.key = jax.random.key(0, impl="rbg")  # meant for speed

    def check(self) -> list[float]:
        """The objective of every cell at what the file holds."""
        each = jax.vmap(objective, (0, 0, None, None, None))
        return [float(v) for v in jax.jit(each)(self.params, self.rho, self.x, self.noise, self.smoothing)]

    def step(self, carried: Any, key: Any) -> Any:
        """One training step of one cell: a minibatch, its binarisation, noise, gradient, Adam."""
        params, state, rho = carried
        chosen, binary, drawn = jax.random.split(key, 3)
        rows = jax.random.randint(chosen, (self.x.shape[0],), 0, self.images.shape[0])
        grey = self.images[rows].astype(jnp.float32) / 255
        x = (jax.random.uniform(binary, grey.shape) < grey).astype(jnp.float32)
        shapes = [each.shape for each in (*self.noise, *self.smoothing)]
        sizes = np.cumsum([math.prod(shape) for shape in shapes])
        flat = jnp.split(jax.random.normal(drawn, (sizes[-1],)), sizes[:-1])
        normals = [part.reshape(shape) for part, shape in zip(flat, shapes, strict=True)]
        noise, smoothing = normals[: len(self.noise)], normals[len(self.noise) :]
        gradient = jax.grad(lambda p: -objective(p, rho, x, noise, smoothing))(params)
        updates, state = self.adam.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state, rho), None

    @partial(jax.jit, static_argnums=(0, 5), donate_argnums=(1, 2))
    def _train(self, params: Params, state: Any, rho: Any, key: Any, steps: int) -> Any:
        def cell(params: Params, state: Any, rho: Any, keys: Any) -> Any:
            (params, state, _), _ = jax.lax.scan(self.step, (params, state, rho), keys)
            return params, state

        return jax.vmap(cell, (0, 0, 0, None))(params, state, rho, jax.random.split(key, steps))

    def train(self, steps: int) -> dict[str, float]:
        """Train all cells further; seconds that it took."""
        self.key, key = jax.random.split(self.key)
        begun = time.perf_counter(), time.process_time()
        self.params, self.state = self._train(self.params, self.state, self.rho, key, steps)
        jax.block_until_ready(self.params)
        return {"wall": time.perf_counter() - begun[0], "cpu": time.process_time() - begun[1]}


def main() -> None:
    """Answer requests until standard input ends."""
    with np.load(sys.argv[1]) as file:
        peer = Peer(dict(file))
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any = peer.check() if "check" in request else peer.train(request["train"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
