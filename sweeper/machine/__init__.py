"""What a machine has (cores, memory, GPUs), what of it a process may use, and what was killed for memory."""

from sweeper.machine.control_groups import killed_for_memory
from sweeper.machine.resources import ANYWHERE, Machine, machine, processor

__all__ = ["ANYWHERE", "Machine", "killed_for_memory", "machine", "processor"]
