"""A job carried out in this process: tried again where its code raises, in smaller stacks where memory runs out.

How often, and in how large stacks, is `retry_policy`'s to say.
"""

from __future__ import annotations

import traceback
from dataclasses import replace

import torch

from models.stack.heap import give_freed_memory_back, keep_freed_memory
from sweeper.driver.log import log, log_path
from sweeper.driver.retry_policy import DEFAULT, OutOfMemory, Raised, RetryPolicy, halved
from sweeper.driver.worker import Stop, Stopped, Worker
from sweeper.errors import StoreUnwritable, SweeperError
from sweeper.planning import Job
from sweeper.planning.jobs import fitting_key
from sweeper.provenance import provenance
from sweeper.store import Store
from sweeper.wording import last_line, plural


def carry_out(job: Job, store: Store, attempt: str, stop: Stop, policy: RetryPolicy = DEFAULT) -> None:
    """Do a job, again and again as `policy` says. Cells that fail for good are recorded in the store, not raised.

    A stack for which memory ran out, or whose process died (the system may have ended it for its memory), goes on from
    its checkpoint as two of half the size.

    Args:
        attempt: a name of its own for this job's folder in `running/`.
        stop: asked about twice a second; when it says yes a checkpoint is written and Stopped raised.

    Raises:
        Stopped: see above. StoreUnwritable: nothing can be saved, so nothing is tried again. SweeperError: the GPU is
            lost to this process; another may go on from the checkpoint.
    """
    torch.set_num_threads(job.threads)
    torch.set_float32_matmul_precision("highest")  # whatever an image's environment says: see `models.kernels.products`
    keep_freed_memory()
    max_stack = _left_by_a_dead_process(job, store, attempt)
    parts, times = {attempt: job}, 0
    while True:
        failures = _try_each(parts, store, attempt, stop, max_stack, policy, times + 1)
        if not failures:
            return
        times += 1
        decision = policy.after(Raised(times))
        if not decision.retry:
            break
        if decision.alone and len(job.cells) > 1:
            parts = {f"{attempt}.{i}": replace(job, cells=(cell,)) for i, cell in enumerate(job.cells)}
    for name, text in failures.items():
        store.record_failure(parts[name].cell_ids, attempt, text, str(log_path(store, attempt)))


def _left_by_a_dead_process(job: Job, store: Store, attempt: str) -> int:
    """Most cells of a stack, given the last words of processes that this attempt had before, which are forgotten."""
    died = max((int(note.get("cells", 0)) for note in store.forget_progress(attempt)), default=0)
    if not halved(died):
        return len(job.cells)
    log(store, attempt, f"a process died with a stack of {died} cells: at most {halved(died)} from here on")
    return halved(died)


def _try_each(
    parts: dict[str, Job], store: Store, attempt: str, stop: Stop, max_stack: int, policy: RetryPolicy, number: int
) -> dict[str, str]:
    """The `number`-th attempt at each part of a job, by the part's own attempt; returns what was raised by those that
    failed. Raises as `carry_out` does."""
    failures = {}
    for name, part in parts.items():
        try:
            _within_memory(part, store, name, stop, max_stack, policy)
        except (Stopped, StoreUnwritable):
            raise
        except Exception as fault:
            if part.device == "cuda" and not _answers():
                store.forget_progress(name)  # what died is not the stack
                raise SweeperError(f"the GPU does not answer: {last_line(traceback.format_exc())}") from fault
            failures[name] = traceback.format_exc()
            what = f"attempt {number} of {policy.max_attempts} at {plural(len(part.cells), 'cell')} failed"
            log(store, attempt, f"{what}: {last_line(failures[name])}", failures[name])
    return failures


def _within_memory(job: Job, store: Store, attempt: str, stop: Stop, max_stack: int, policy: RetryPolicy) -> None:
    """One attempt at a job in stacks of at most `max_stack` cells, half as many each time that memory runs out.

    The size that fitted is remembered in the store for this machine and shape, for other workers and later plans.
    """
    key = fitting_key(job.cells[0], job.device)
    cells, number = job.cells, 0
    while cells:
        max_stack = min(max_stack, store.fitting(key) or max_stack)
        part = replace(job, cells=cells[:max_stack])
        name = attempt if part == job else f"{attempt}.{number}"
        number += 1
        worker = Worker(part, store, name, stop)
        try:
            worker.run()
            cells = cells[max_stack:]
            continue
        except (Stopped, StoreUnwritable):
            raise
        except Exception as fault:
            store.clear_progress(worker.attempt)
            if not out_of_memory(fault):
                raise
            decision = policy.after(OutOfMemory(len(part.cells)))
            if not decision.retry:
                raise
            reason = str(fault).split("\n")[0]
        del worker  # with its stack, whose memory is free from here on
        give_freed_memory_back()
        max_stack = decision.max_stack
        what = f"no memory for a stack of {len(part.cells)} cells: at most {max_stack} from here on ({reason})"
        log(store, attempt, what)
        store.note_fitting(key, max_stack, {"architecture": job.cells[0].architecture, "host": provenance()["host"]})
        if job.device == "cuda":
            torch.cuda.empty_cache()
    store.remove_running(attempt)


def _answers() -> bool:
    """Whether this process can still use its GPU: after some faults of one every call fails."""
    try:
        torch.cuda.synchronize()
    except (RuntimeError, AssertionError):  # the second: this torch has no CUDA
        return False
    return True


def out_of_memory(fault: BaseException) -> bool:
    """Whether memory ran out, of the machine or of a GPU. torch says so of a CPU only in words."""
    words = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory", "alloc_failed")
    text = str(fault).lower()
    return isinstance(fault, MemoryError) or (isinstance(fault, RuntimeError) and any(word in text for word in words))
