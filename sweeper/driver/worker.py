"""What a worker does with a job: train its cells from wherever the store says they stand, evaluate, commit.

The store decides everything: a worker that starts after a kill reads there how far its cells are. So a job may be run
again at any time, by any process, and does only what is missing.

Beside this loop: `start` (from where), `clock` (what is due when), `rows` (what is written of a cell).
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import torch

from models.cell import cell_id
from models.evaluation.evaluate import evaluate
from models.evaluation.pictures import draw_pictures
from models.kernels import compiled, elementwise
from sweeper.driver.clock import Clock
from sweeper.driver.log import log
from sweeper.driver.rows import CellRecord, cell_row, quick_evaluation, record_history
from sweeper.driver.start import Start, find_starts, make_stack
from sweeper.driver.states import arrays_of, arrays_to_keep
from sweeper.planning import Job
from sweeper.store import Store
from sweeper.store.pictures import to_png

Stop = Callable[[], bool]


class Stopped(Exception):
    """The run was asked to stop; a checkpoint was written."""


class Worker:
    """One attempt at a job, under this name in `running/`; `stop` is asked every `LOOK_S` or more often."""

    def __init__(self, job: Job, store: Store, attempt: str, stop: Stop):
        self.job, self.store, self.attempt, self.stop = job, store, attempt, stop
        self.clock = Clock(job.checkpoint_s)

    def run(self) -> None:
        """Everything of the job that is missing, one stack for each step its cells stand at.

        Raises Stopped when asked to stop, a checkpoint written; StoreUnwritable; and whatever training raises.
        """
        attempt, self.kept = self.attempt, self.store.states()
        starts = find_starts(self.job, self.store, self.kept, lambda line: log(self.store, attempt, line))
        for start in starts:
            # Of a folder's checkpoints the newest steps stay, so stacks that stand at different steps share none.
            self.attempt = attempt if len(starts) == 1 else f"{attempt}-{start.step}"
            self._begin(start)
            self._train(start.step)
            if self.records:
                self._evaluate(trained=self.stack.step > start.step)
            del self.stack  # its memory, before the next one is made
            self.store.remove_running(self.attempt)
        self.store.remove_running(attempt)

    def _begin(self, start: Start) -> None:
        """Make the stack, and a record of each of its cells."""
        self.stack = stack = make_stack(start, self.job, self.store, self.kept)
        ids = [cell_id(cell) for cell in start.cells]
        self.records = [CellRecord.of(name, start.metas.get(name)) for name in ids]
        self.clock.start(stack.step)
        if stack.device.type == "cpu" and stack.dtype == torch.float32 and compiled.wanted():
            self._heartbeat("compiling")
            compiled.library()
            self.clock.start(stack.step)
        self._heartbeat("training")

    def _train(self, start: int) -> None:
        """Step after step from `start` to the job's last: history at fixed steps, checkpoints by the clock."""
        job, stack = self.job, self.stack
        if start < job.steps:
            for record in self.records:
                record.uses(elementwise.kernels(stack.device, stack.dtype, stack.cells[0].precision))
        if not start and job.every:
            self._record_history()
        while stack.step < job.steps and self.records:
            stack.train(stack.step + 1)
            if job.every and stack.step % job.every == 0:
                self._let_go_of_diverged()
                self._let_go_of_ended()
                self._record_history()
            if self.clock.look_due():
                self._let_go_of_ended()
                self._checkpoint_if_due()
                self._heartbeat("training")
        self._let_go_of_diverged()
        self._let_go_of_ended()

    def _record_history(self) -> None:
        """A record of the curves for each cell, from the first validation images and one chain per image."""
        if not self.records:
            return
        measured = evaluate(self.stack, quick_evaluation(self.job), quick=True)
        record_history(self.records, self.stack, self.job, measured)
        self.stack.restart_mean()

    def _let_go_of_diverged(self) -> None:
        """Commit the cells that diverged and take them out of the stack, which keeps them if it has no others."""
        if not self.records:
            return
        gone = [i for i, at in enumerate(self.stack.diverged_at.tolist()) if at >= 0]
        if not gone:
            return
        self._charge()
        for i in gone:
            self._commit(i, None, 0.0)
        stay = [i for i in range(len(self.records)) if i not in gone]
        if stay:
            self.stack.select(stay)
        self.records = [self.records[i] for i in stay]

    def _let_go_of_ended(self) -> None:
        """Evaluate and commit the cells whose schedule has ended, as they were then, and take them out of the stack."""
        ended = self.stack.state.get("schedule_ended_at")
        if ended is None or not self.records or not bool((ended >= 0).any()):
            return
        self._checkpoint()  # the evaluation may take long, and must not cost the training of the others
        whole, records, steps = self.stack, self.records, ended.tolist()
        for step in sorted({each for each in steps if each >= 0}):
            places = [i for i, each in enumerate(steps) if each == step]
            self.stack, self.records = whole.cut(places), [records[i] for i in places]
            self.stack.step = step
            self._evaluate(trained=False)
        stay = [i for i, each in enumerate(steps) if each < 0]
        self.stack, self.records = whole, [records[i] for i in stay]
        if stay:
            whole.select(stay)
        self.clock.start(whole.step)

    def _checkpoint_if_due(self) -> None:
        """A checkpoint when the clock says so, or when the run is to stop; then Stopped is raised."""
        stopping = self.stop()
        if stopping or self.clock.checkpoint_due():
            self._let_go_of_diverged()
            if self.records:
                self._checkpoint()
        if stopping:
            raise Stopped

    def _checkpoint(self) -> None:
        self._charge()
        cells = zip(self.records, self.stack.cells, strict=True)
        meta = {
            "cell_ids": [record.cell_id for record in self.records],
            "cells": {record.cell_id: {"cell": cell.to_json()} | record.meta() for record, cell in cells},
        }
        self.store.save_running(self.attempt, self.stack.step, arrays_of(self.stack), meta)
        self.clock.checkpointed()

    def _evaluate(self, trained: bool) -> None:
        """Final evaluation, pictures, kept states, commits; `trained`: whether the state is in no checkpoint yet."""
        job, stack = self.job, self.stack
        self._charge()
        if trained:
            self._checkpoint()  # the evaluation may take long, and must not cost the training
        self._heartbeat("evaluating")
        begun = time.monotonic()
        rows = evaluate(stack, job.evaluation, between=self._between_evaluations)
        drawn: list[bytes | None] = [None] * len(rows)
        if job.pictures and stack.dataset.kind != "tokens":  # sentences are no pictures
            drawn = [to_png(each) for each in draw_pictures(stack, job.evaluation, job.pictures)]
        evaluation_s = (time.monotonic() - begun) / len(self.records)
        for i, (row, pictures) in enumerate(zip(rows, drawn, strict=True)):
            if not (math.isfinite(row["elbo"]) and math.isfinite(row["iw_bound"])):
                stack.diverged_at[i] = stack.step  # the last update, which no later step was there to notice
                self._commit(i, None, evaluation_s)
                continue
            if job.keep != "none" and self.kept.get(self.records[i].cell_id) != stack.step:
                self._keep(i)
            self._commit(i, row, evaluation_s, pictures)

    def _between_evaluations(self) -> None:
        """Heartbeats and requests to stop; no checkpoint is due, because the training is saved."""
        if self.clock.look_due():
            if self.stop():
                raise Stopped
            self._heartbeat("evaluating")

    def _keep(self, i: int) -> None:
        record, keep = self.records[i], self.job.keep
        meta = record.meta() | {"trainable": keep == "full"}
        self.store.save_state(record.cell_id, self.stack.step, arrays_to_keep(self.stack, i, keep), meta)

    def _commit(
        self, i: int, evaluated: dict[str, Any] | None, evaluation_s: float, pictures: bytes | None = None
    ) -> None:
        """The cell's row and history; `evaluated` None: it diverged."""
        record = self.records[i]
        row = cell_row(self.stack, i, self.job, record, self.attempt, evaluated, evaluation_s)
        self.store.commit(row, [each for each in record.history if each["step"] <= row["step"]], pictures)

    def _charge(self) -> None:
        """Charge the time since the clock's last lap to the cells, each its share."""
        spent = self.clock.lap(self.stack.step)
        for record in self.records:
            record.train_s += spent / len(self.records)

    def _heartbeat(self, phase: str) -> None:
        """Say how far the stack is; nothing where all its cells have diverged."""
        if not self.records:
            return
        stack, job = self.stack, self.job
        self.store.write_progress(
            self.attempt,
            {
                "phase": phase,
                "cells": len(self.records),
                "cell_ids": [record.cell_id for record in self.records],
                "architecture": job.cells[0].architecture,
                "data": job.cells[0].data_words,
                "step": stack.step,
                "steps": job.steps,
                "stack_step_s": self.clock.step_s(stack.step),
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "at": time.time(),
            },
        )
