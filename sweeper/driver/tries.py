"""How often a job is tried, and in how large stacks: what to do where its code raises, or memory runs out."""

from __future__ import annotations

import math
import traceback
from dataclasses import replace

import torch

from models.heap import give_freed_memory_back, keep_freed_memory
from sweeper.driver.worker import Stop, Stopped, Worker, log, log_path
from sweeper.errors import StoreUnwritable, SweeperError
from sweeper.planning import Job
from sweeper.planning.jobs import fitting_key
from sweeper.provenance import provenance
from sweeper.store import Store
from sweeper.wording import last_line, plural

ATTEMPTS = 3  # of a job whose code raises; the last takes its cells one by one, so that one cannot fail the others


def carry_out(job: Job, store: Store, attempt: str, stop: Stop) -> None:
    """Do a job, up to `ATTEMPTS` times. Cells that fail for good are recorded in the store, not raised.

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
    torch.set_float32_matmul_precision("highest")  # whatever an image's environment says: see `models.products`
    keep_freed_memory()
    most = len(job.cells)
    died = max((int(note.get("cells", 0)) for note in store.forget_progress(attempt)), default=0)
    if died > 1:
        most = math.ceil(died / 2)
        log(store, attempt, f"a process died with a stack of {died} cells: at most {most} from here on")
    for number in range(1, ATTEMPTS + 1):
        whole = [job] if number < ATTEMPTS else [replace(job, cells=(cell,)) for cell in job.cells]
        failures = {}
        for part_number, part in enumerate(whole):
            name = attempt if len(whole) == 1 else f"{attempt}.{part_number}"
            try:
                _within_memory(part, store, name, stop, most)
            except (Stopped, StoreUnwritable):
                raise
            except Exception as fault:
                if part.device == "cuda" and not _answers():
                    store.forget_progress(name)  # what died is not the stack
                    raise SweeperError(f"the GPU does not answer: {last_line(traceback.format_exc())}") from fault
                failures[part] = traceback.format_exc()
                what = f"try {number} of {ATTEMPTS} of {plural(len(part.cells), 'cell')} failed"
                log(store, attempt, f"{what}: {last_line(failures[part])}", failures[part])
        if not failures:
            return
    for part, text in failures.items():
        store.record_failure(part.cell_ids, attempt, text, str(log_path(store, attempt)))


def _within_memory(job: Job, store: Store, attempt: str, stop: Stop, most: int) -> None:
    """One try at a job in stacks of at most `most` cells, half as many each time that memory runs out.

    The size that fitted is remembered in the store for this machine and shape, for other workers and later plans.
    """
    key = fitting_key(job.cells[0], job.device)
    cells, number = job.cells, 0
    while cells:
        most = min(most, store.fitting(key) or most)
        part = replace(job, cells=cells[:most])
        name = attempt if part == job else f"{attempt}.{number}"
        number += 1
        worker = Worker(part, store, name, stop)
        try:
            worker.run()
            cells = cells[most:]
            continue
        except (Stopped, StoreUnwritable):
            raise
        except Exception as fault:
            store.clear_progress(worker.attempt)
            if len(part.cells) == 1 or not out_of_memory(fault):
                raise
            reason = str(fault).split("\n")[0]
        del worker  # with its stack, whose memory is free from here on
        give_freed_memory_back()
        most = math.ceil(len(part.cells) / 2)
        log(store, attempt, f"no memory for a stack of {len(part.cells)} cells: at most {most} from here on ({reason})")
        store.note_fitting(key, most, {"architecture": job.cells[0].architecture, "host": provenance()["host"]})
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
