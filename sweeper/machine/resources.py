"""What this machine has: its processor, and the cores, memory and GPUs that this process may use. No torch."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from sweeper.machine.control_groups import limits


@dataclass(frozen=True)
class Machine:
    """Cores this process may run on, available memory, and the memory of each GPU, bytes."""

    cores: int
    memory_bytes: int
    gpu_memory_bytes: tuple[int, ...]


ANYWHERE = Machine(1, 1 << 50, (1 << 50,))  # for a plan of which only the cells are looked at, as `status` does


@cache
def machine() -> Machine:
    """The machine as it stands when first asked."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = limits()
    free = int(psutil.virtual_memory().available)
    return Machine(
        max(1, min(cores, int(allowed.cores or cores))),
        free if allowed.memory_bytes is None else min(free, allowed.memory_bytes),
        _gpus(),
    )


def machine_facts() -> dict[str, Any]:
    """What is known of this machine, as plain values: all there is of it beside what this process may use."""
    import psutil

    here, allowed = machine(), limits()
    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "cores_allowed": here.cores,
        "cores_by_control_group": allowed.cores,
        "memory_bytes": psutil.virtual_memory().total,
        "memory_free_bytes": here.memory_bytes,
        "memory_left_in_control_group_bytes": allowed.memory_bytes,
        "gpus_of_the_driver": len(here.gpu_memory_bytes),
    }


@cache
def processor() -> str:
    """The CPU's model, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().split("\n"):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpus() -> tuple[int, ...]:
    """Memory of each GPU this process may use: those of CUDA_VISIBLE_DEVICES up to the first that is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    found: dict[str, int] = {}
    for line in answer.split("\n"):
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 3 and parts[2].isdigit():
            found[parts[0]] = found[parts[1]] = int(parts[2]) << 20
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name for name in found if name.isdigit()] if visible is None else visible.split(",")
    return tuple(found[name.strip()] for name in takewhile(lambda name: name.strip() in found, names))
