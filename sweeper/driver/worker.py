"""What a worker does with a stack: train it from wherever the store says it stands, evaluate, commit.

The store decides everything: a worker that starts after a kill reads there how far its cells are. So an order may be
run again at any time, by any process, and does only what is missing.
"""

from __future__ import annotations

import math
import os
import resource
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import models.data
from models.cell import Cell, cell_id, cell_size, registry
from models.cell.continuation import Passed, origin
from models.evaluation.evaluate import evaluate
from models.evaluation.pictures import draw_pictures
from models.evaluation.settings import Evaluation
from models.kernels import compiled, elementwise
from models.stack.stack import Stack
from sweeper.errors import StoreDamaged
from sweeper.plan import Order
from sweeper.provenance import processor, provenance
from sweeper.store import Store
from sweeper.store.columns import EVALUATION, SCHEMA_VERSION
from sweeper.store.pictures import to_png
from sweeper.store.records import Record

LOOK_S = 0.5  # at most, between two looks at the clock's tasks: progress, checkpoints, stop requests
_HISTORY = ("split", "images", "elbo", "reconstruction", "kl_total", "kl_per_layer", "kl_top", "active_units_one_pass")
_COUNTERS = ("active", "diverged_at", "objective_sum", "objective_steps")

Stop = Callable[[], bool]


class Stopped(Exception):
    """The run was asked to stop; a checkpoint was written."""


def log_path(store: Store, attempt: str) -> Path:
    """What an attempt has to say stands here."""
    return store.paths.log_file(attempt)


def log(store: Store, attempt: str, line: str, more: str = "") -> None:
    """A line for people, on stderr and with `more` in the store: a worker's stderr goes when Ray does."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
    with suppress(OSError), open(log_path(store, attempt), "a", encoding="utf-8") as file:
        file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {line}\n{more}")


class Worker:
    """One try at an order, as the attempt of this name in `running/`; `stop` is asked every `LOOK_S` or oftener."""

    def __init__(self, order: Order, store: Store, attempt: str, stop: Stop):
        self.order, self.store, self.attempt, self.stop = order, store, attempt, stop
        self.looked = self.saved = time.monotonic()
        self.look_s = min(LOOK_S, order.checkpoint_s)

    def run(self) -> None:
        """Everything of the order that is missing, one stack for each step its cells stand at.

        Raises Stopped when asked to stop, a checkpoint written; StoreUnwritable; and whatever training raises.
        """
        groups, attempt = self._by_start(), self.attempt
        for start, cells in sorted(groups.items()):
            # Of a folder's checkpoints the newest steps stay, so stacks that stand at different steps share none.
            self.attempt = attempt if len(groups) == 1 else f"{attempt}-{start}"
            self._train(cells, start)
            self.store.remove_running(self.attempt)
        self.store.remove_running(attempt)

    def _by_start(self) -> dict[int, list[Cell]]:
        """The order's unfinished cells by the step of the best state that loads."""
        committed, evaluations = self.store.committed(), self.order.evaluation.accepted()
        self.states: dict[str, dict[str, np.ndarray]] = {}
        self.metas: dict[str, dict[str, Any]] = {}
        groups: dict[int, list[Cell]] = defaultdict(list)
        running, self.kept = self.store.running(), self.store.states()
        for cell in self.order.cells:
            name = cell_id(cell)
            if not any(row.satisfies(self.order.steps, evaluations) for row in committed.get(name, [])):
                groups[self._find_state(name, self.kept.get(name, 0), running)].append(cell)
        return groups

    def _find_state(self, name: str, kept: int, running: Sequence[Record]) -> int:
        """Load a cell's most advanced state that is whole, and return its step (0: none)."""
        found: list[tuple[int, Record | None]] = [(kept, None)] if 0 < kept <= self.order.steps else []
        found += [(r.step, r) for r in running if name in r.cell_ids and 0 < r.step <= self.order.steps]
        for step, record in sorted(found, key=lambda entry: -entry[0]):
            try:
                if record is None:
                    tensors, meta = self.store.load_state(name)
                    tensors = {k: t.reshape(1) if k in _COUNTERS else t[None] for k, t in tensors.items()}
                else:
                    tensors, meta = self.store.load_running(record.attempt, record.step, [name])
                    meta = meta["cells"][name]
            except StoreDamaged as fault:
                log(self.store, self.attempt, f"not used: {fault}")
                continue
            if not any(k.startswith("adam.m/") for k in tensors) and step < self.order.steps:
                continue  # weights alone cannot be trained further
            self.states[name], self.metas[name] = tensors, meta
            return step
        return 0

    def _train(self, cells: Sequence[Cell], start: int) -> None:
        order = self.order
        ids = [cell_id(cell) for cell in cells]
        stack = Stack(cells, models.data.load(cells[0].data), order.device)
        if start:
            stack.load(self._stacked(stack, ids), start)
        else:
            self._take_over(stack)
        self.history = {name: list(self.metas[name]["history"]) if start else [] for name in ids}
        self.train_s = {name: float(self.metas[name]["train_s"]) if start else 0.0 for name in ids}
        # what did the passes beside matrix products so far; None: trained in part by a version that does not say
        self.kernels: dict[str, list[str] | None] = {
            name: self.metas[name].get("kernels") if start else [] for name in ids
        }
        self.stack, self.ids, self.start = stack, ids, start
        self._start_clock()
        if stack.device.type == "cpu" and stack.dtype == torch.float32 and compiled.wanted():
            self._say("compiling")
            compiled.library()
            self._start_clock()
        self._say("training")
        here = elementwise.kernels(stack.device, stack.dtype)
        if start < order.steps:
            for name, known in self.kernels.items():
                self.kernels[name] = None if known is None else sorted({*known, here})
        if not start and order.every:
            self._record_history()
        while stack.step < order.steps and self.ids:
            stack.train(stack.step + 1)
            if order.every and stack.step % order.every == 0:
                self._let_go_of_diverged()
                self._record_history()
            if time.monotonic() - self.looked >= self.look_s:
                self._look()
        self._let_go_of_diverged()
        if self.ids:
            self._finish()
        del self.stack  # its memory, before the next one is made

    def _take_over(self, stack: Stack) -> None:
        """Give cells that continue from others the weights of these. Raises StoreDamaged where they are gone."""
        tensors = stack.tensors()
        for i, cell in enumerate(stack.cells):
            passed, before = Passed.of(cell.procedure), origin(cell)
            if passed is None or before is None:
                continue
            if self.kept.get(cell_id(before)) != passed.steps:
                raise StoreDamaged(f"{cell_id(cell)} continues from {cell_id(before)}, whose state is not there")
            state, _ = self.store.load_state(cell_id(before))
            for name in stack.params:
                tensors[f"param/{name}"][i].copy_(torch.from_numpy(state[f"param/{name}"]))

    def _stacked(self, stack: Stack, ids: Sequence[str]) -> dict[str, torch.Tensor]:
        """The loaded states as one stack; moments that were not kept are zero (such a state is only evaluated)."""
        stacked = {}
        for key, like in stack.tensors().items():
            parts = [self.states[name].get(key) for name in ids]
            whole = [p for p in parts if p is not None]
            if len(whole) == len(parts):
                stacked[key] = torch.from_numpy(np.concatenate(whole))
            elif key.startswith("adam."):
                stacked[key] = like
            else:
                raise StoreDamaged(f"a kept state of {', '.join(ids)} lacks {key}")
        for name in ids:
            del self.states[name]
        return stacked

    # the clock -----------------------------------------------------------------------------------------------------

    def _start_clock(self) -> None:
        self.begun = time.monotonic()
        self.at_begin = self.stack.step

    def _stop_clock(self) -> None:
        """Charge the time since the clock started to the cells, each its share."""
        spent = time.monotonic() - self.begun
        for name in self.ids:
            self.train_s[name] += spent / len(self.ids)
        self.begun = time.monotonic()

    def _look(self) -> None:
        """Say how far the stack is; checkpoint when it is time, or when the run is to stop."""
        now = self.looked = time.monotonic()
        stopping = self.stop()
        if stopping or now - self.saved >= self.order.checkpoint_s:
            self._let_go_of_diverged()
            if self.ids:
                self._checkpoint()
            if stopping:
                raise Stopped
        if self.ids:
            self._say("training")

    def _look_while_evaluating(self) -> None:
        """The same where no checkpoint is due, because the training is saved."""
        if time.monotonic() - self.looked >= self.look_s:
            self.looked = time.monotonic()
            if self.stop():
                raise Stopped
            self._say("evaluating")

    def _say(self, phase: str) -> None:
        stack, order = self.stack, self.order
        trained = stack.step - self.at_begin
        self.store.write_progress(
            self.attempt,
            {
                "phase": phase,
                "cells": len(self.ids),
                "cell_ids": self.ids,
                "architecture": order.cells[0].architecture,
                "data": order.cells[0].data,
                "step": stack.step,
                "steps": order.steps,
                "stack_step_s": (time.monotonic() - self.begun) / trained if trained else None,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "at": time.time(),
            },
        )

    # what is written -----------------------------------------------------------------------------------------------

    def _record_history(self) -> None:
        """A row of the curves for each cell, from the first validation images and one chain per image."""
        stack, order = self.stack, self.order
        if not self.ids:
            return
        quick = Evaluation(
            importance_samples=1, images=order.validation_images, split="validation", seed=order.evaluation.seed
        )
        rates = stack.optimizer.learning_rate(stack.step).flatten().tolist()
        weights = stack.objective.kl_weight.at(stack.step).tolist()
        rows = evaluate(stack, quick, quick=True)
        for name, row, objective, rate, weight in zip(
            self.ids, rows, stack.mean_objective(), rates, weights, strict=True
        ):
            self.history[name].append(
                {key: row[key] for key in _HISTORY}
                | {"cell_id": name, "study": order.study, "step": stack.step, "train_objective": objective}
                | {"learning_rate": rate, "kl_weight": weight}
            )
        stack.restart_mean()

    def _checkpoint(self) -> None:
        self._stop_clock()
        self.at_begin = self.stack.step
        cells = {
            name: {
                "cell": cell.to_json(),
                "history": self.history[name],
                "train_s": self.train_s[name],
                "kernels": self.kernels[name],
            }
            for name, cell in zip(self.ids, self.stack.cells, strict=True)
        }
        meta = {"cell_ids": self.ids, "cells": cells}
        self.store.save_running(self.attempt, self.stack.step, _numpy(self.stack.tensors()), meta)
        self.saved = time.monotonic()

    def _let_go_of_diverged(self) -> None:
        """Commit the cells that diverged and take them out of the stack, which keeps them if it has no others."""
        if not self.ids:
            return
        gone = [i for i, at in enumerate(self.stack.diverged_at.tolist()) if at >= 0]
        if not gone:
            return
        self._stop_clock()
        self.at_begin = self.stack.step
        for i in gone:
            self._commit(i, None, 0.0)
        stay = [i for i in range(len(self.ids)) if i not in gone]
        if stay:
            self.stack.select(stay)
        self.ids = [self.ids[i] for i in stay]

    def _finish(self) -> None:
        """Final evaluation, kept states, commits."""
        order, stack = self.order, self.stack
        self._stop_clock()
        if stack.step > self.start:
            self._checkpoint()  # the evaluation may take long, and must not cost the training
        self._say("evaluating")
        begun = time.monotonic()
        rows = evaluate(stack, order.evaluation, between=self._look_while_evaluating)
        count = order.pictures
        drawn = (
            [to_png(each) for each in draw_pictures(stack, order.evaluation, count)] if count else [None] * len(rows)
        )
        evaluation_s = (time.monotonic() - begun) / len(self.ids)
        for i, (row, pictures) in enumerate(zip(rows, drawn, strict=True)):
            if not (math.isfinite(row["elbo"]) and math.isfinite(row["iw_bound"])):
                stack.diverged_at[i] = stack.step  # the last update, which no later step was there to notice
                self._commit(i, None, evaluation_s)
                continue
            if order.keep != "none" and self.kept.get(self.ids[i]) != stack.step:
                self._keep(i)
            self._commit(i, row, evaluation_s, pictures)

    def _keep(self, i: int) -> None:
        wanted = ("param/",) if self.order.keep == "weights" else ("",)
        own = {k: t[i : i + 1] for k, t in self.stack.tensors().items() if k.startswith(wanted) or k in _COUNTERS}
        meta = {
            "history": self.history[self.ids[i]],
            "train_s": self.train_s[self.ids[i]],
            "kernels": self.kernels[self.ids[i]],
            "trainable": self.order.keep == "full",
        }
        self.store.save_state(self.ids[i], self.stack.step, {k: t[0] for k, t in _numpy(own).items()}, meta)

    def _commit(
        self, i: int, evaluated: dict[str, Any] | None, evaluation_s: float, pictures: bytes | None = None
    ) -> None:
        """The cell's row and history; `evaluated` None: it diverged."""
        order, stack, name = self.order, self.stack, self.ids[i]
        cell = stack.cells[i]
        diverged_at = None if evaluated else int(stack.diverged_at[i])
        steps = stack.step if evaluated else diverged_at
        trained_s = self.train_s[name]
        row = (
            asdict(cell)
            | {"latents": list(cell.latent_sizes), "depth": cell.depth, "architecture": cell.architecture}
            | {"study": order.study, "cell_id": name, "cell": cell.to_json(), "schema_version": SCHEMA_VERSION}
            | {"data_digest": registry.find("data", cell.data).digest}
            | {"state": "done" if evaluated else "diverged", "step": steps, "steps_asked": order.steps}
            | {"diverged_at": diverged_at, "evaluation_id": order.evaluation.id() if evaluated else None}
            | (evaluated or dict.fromkeys(column.name for column in EVALUATION if column.name != "evaluation_id"))
            | {"train_objective": self._last_objective(i) if evaluated else None}
            | {"parameters": cell_size(cell).parameters}
            | {"wall_s": trained_s, "step_s": trained_s / max(steps or 0, 1), "evaluation_s": evaluation_s}
            | {"peak_memory_bytes": _peak_memory(stack.device), "stack_cells": len(self.ids)}
            | {"kernels": ", ".join(known) if (known := self.kernels[name]) is not None else None}
            | {"evaluation_kernels": elementwise.kernels(stack.device, stack.dtype) if evaluated else None}
            | {"device": stack.device.type, "device_name": _device_name(stack.device), "threads": order.threads}
            | {"attempt": self.attempt, "finished_at": datetime.now(UTC), "draws": stack.draws.name}
            | provenance()
        )
        self.store.commit(row, [h for h in self.history[name] if h["step"] <= (steps or 0)], pictures)

    def _last_objective(self, i: int) -> float | None:
        """Mean training objective since the last history row, or over the interval that ended there."""
        since = self.stack.mean_objective()[i]
        history = self.history[self.ids[i]]
        return since if since is not None or not history else history[-1]["train_objective"]


def _numpy(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(tensor.cpu().numpy()) for name, tensor in tensors.items()}


def _peak_memory(device: torch.device) -> int:
    """Largest memory so far, bytes: of the process, or on the GPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
