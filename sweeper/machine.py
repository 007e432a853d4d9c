"""What this machine has: cores, memory and GPUs that this process may use. No torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Machine:
    """Cores this process may run on, available memory, and the memory of each GPU, bytes."""

    cores: int
    memory_bytes: int
    gpu_memory_bytes: tuple[int, ...]


@cache
def machine() -> Machine:
    """The machine as it stands when first asked."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(cores, int(psutil.virtual_memory().available), _gpus())


def _gpus() -> tuple[int, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return ()
    query = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    memory = [int(line) << 20 for line in answer.split("\n") if line.strip().isdigit()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(memory[: len(visible.split(","))] if visible else memory)
