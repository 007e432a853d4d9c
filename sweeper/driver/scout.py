"""What a Ray cluster has, asked by a process of its own before the run joins it.

A node lets its first driver in when its first workers are up. Where these do not come up that driver waits for ever and
holds Python's lock, so that neither a limit nor a signal can reach it: better a process that can be killed.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import Any

from sweeper.driver.ray_auth import use_token
from sweeper.driver.ray_environment import ADVICE
from sweeper.driver.ray_logs import RayLogs, folder_of_cluster
from sweeper.driver.scratch import scratch_folder, sweep
from sweeper.driver.session import START_S, ray_session
from sweeper.errors import SweeperError, WorkersUnavailable
from sweeper.machine import Machine
from sweeper.wording import duration, last_line

GPU_BYTES = 16 << 30  # taken for a cluster's GPUs, whose memory Ray does not tell
LOOK_S = 0.2

_CODE = """
import json, sys
sys.path[:], sys.argv = json.loads(sys.argv[1]), ["sweeper", *sys.argv[2:]]
from sweeper.driver.scout import tell
tell(sys.argv[1], float(sys.argv[2]))
"""


def cluster(address: str, limit_s: float = START_S) -> Machine:
    """What the Ray cluster at `address` has, all nodes together; a GPU is taken to have `GPU_BYTES`.

    Raises StudyError without a token, WorkersUnavailable if there is no answer within `limit_s`, SweeperError if it
    cannot be joined.
    """
    use_token(address)
    logs = RayLogs(folder_of_cluster(address), from_now=True)
    argv = [sys.executable, "-c", _CODE, json.dumps(sys.path), address, str(limit_s)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    scout = subprocess.Popen(argv, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload]
    where = f"cannot join the Ray cluster at {address}"
    try:
        until = time.monotonic() + limit_s
        while scout.poll() is None and time.monotonic() < until:
            time.sleep(LOOK_S)
        if scout.poll() is None:
            raise WorkersUnavailable(logs.explain(f"{where}: no answer within {duration(limit_s)}", ADVICE))
    finally:
        scout.kill()
        said, complaint = scout.communicate()
        sweep(scratch_folder())
    answer: dict[str, Any] = json.loads(said) if said else {"fault": f"{where}: {last_line(complaint)}"}
    if "fault" in answer:
        raise SweeperError(answer["fault"])
    return Machine(answer["cores"], answer["memory_bytes"], (GPU_BYTES,) * answer["gpus"])


def tell(address: str, limit_s: float) -> None:
    """Print what `cluster` asks for, as JSON."""
    signal.alarm(int(limit_s) + 10)  # whatever became of who asked
    answer: dict[str, Any]
    try:
        with ray_session(address, 0, 0, limit_s):
            import ray

            total = ray.cluster_resources()  # type: ignore[no-untyped-call]
        answer = {name: int(total.get(key, 0)) for name, key in (("memory_bytes", "memory"), ("gpus", "GPU"))}
        answer["cores"] = int(total.get("CPU", 1))
    except SweeperError as fault:
        answer = {"fault": str(fault)}
    print(json.dumps(answer), flush=True)
