"""What this machine has: cores, memory and GPUs that this process may use. No torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path


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
    quota, limit, used = _container()
    memory = min(int(psutil.virtual_memory().available), limit - used) if limit else psutil.virtual_memory().available
    return Machine(max(1, min(cores, int(quota or cores))), int(memory), _gpus())


def _container() -> tuple[float, int, int]:
    """Cores, memory limit and memory in use of this control group (version 2); 0 where there is no limit."""
    root = Path("/sys/fs/cgroup")
    quota, limit, used = 0.0, 0, 0
    with suppress(OSError, ValueError):
        share, period = (root / "cpu.max").read_text().split()
        quota = 0.0 if share == "max" else int(share) / int(period)
    with suppress(OSError, ValueError):
        limit = int((root / "memory.max").read_text())
        used = int((root / "memory.current").read_text())
    return quota, limit, used


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
