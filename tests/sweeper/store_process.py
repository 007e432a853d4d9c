"""Processes that work on a store and are killed: run by the tests as `store_process.py MODE STORE`.

The process imports everything once and uses none of it, so that forking it is cheap and safe.
"""

import os
import random
import signal
import sys
import time

import numpy as np
import pandas  # noqa: F401  (pyarrow would import it in every child)
from store_rows import cell_id, history, row

from sweeper.store import Store
from tests.sweeper.unflushed import do_not_flush


def tensors(step: int, cells: int = 3) -> dict[str, np.ndarray]:
    """Weights that tell the step and the cell."""
    numbers = np.arange(cells, dtype=np.float32)[:, None, None] + np.float32(step)
    return {"weight": np.broadcast_to(numbers, (cells, 40, 50)), "step": np.full(cells, step)}


def work(root: str, acknowledged: int) -> None:
    """Commit cells without end, extend every third, and write checkpoints; say what is committed once it is."""
    store = Store.open(root, create=True)
    with store.lock():
        if store.repair():
            os._exit(3)
        number = len(store.committed())
        while True:
            for steps in (500, 1000) if number % 3 == 0 else (500,):
                store.commit(row(number, steps), history(number, steps))
                os.write(acknowledged, f"{number} {steps}\n".encode())
                meta = {"cell_ids": [cell_id(n) for n in range(3)], "number": number}
                store.save_running("attempt", 10 * number + steps, tensors(10 * number + steps), meta)
            number += 1


def kills(root: str) -> None:
    """For every line of the input: let a process work, and SIGKILL it at a random moment.

    Four of five have committed something by then, however busy the machine is.
    """
    acknowledged = os.open(f"{root}.acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    rng = random.Random(5)
    for number, _ in enumerate(sys.stdin):
        before, begun = os.fstat(acknowledged).st_size, time.monotonic()
        child = os.fork()
        if child == 0:
            work(root, acknowledged)
        while number % 5 and os.fstat(acknowledged).st_size == before and time.monotonic() < begun + 60:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.005, 0.1))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {status}", flush=True)


def race(root: str, processes: int = 20, cells: int = 4) -> None:
    """Let many processes commit the same cells at once; print each process's number of accepted commits."""
    starts, go = os.pipe()
    children = []
    for _ in range(processes):
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(starts, 1)  # returns when the parent closes its end
            store = Store.open(root)
            accepted = sum(store.commit(row(n, host=str(os.getpid())), history(n)) for n in range(cells))
            os._exit(accepted)
        children.append(child)
    os.close(go)
    print(*[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])


def hold(root: str) -> None:
    """Hold the store's lock until killed."""
    with Store.open(root).lock():
        print(os.getpid(), flush=True)
        time.sleep(60)


if __name__ == "__main__":
    do_not_flush()
    {"kills": kills, "race": race, "hold": hold}[sys.argv[1]](sys.argv[2])
