"""What a control group allows this process: a container's, a batch job's or a session's. Linux, versions 1 and 2.

A limit holds for a group and all groups below it, so every group from this process's own up to the root is asked. A
container often sees its own group as the root, whatever its name is outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

UNLIMITED = 1 << 60  # version 1 says so with a number near 2⁶³


@dataclass(frozen=True)
class Limits:
    """`cores`: the CPU time allowed, in cores; `memory_bytes`: what may still be used. None: no limit."""

    cores: float | None
    memory_bytes: int | None


def limits(mounted: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Limits:
    """The strictest limits on this process, None where there is none or where the system does not tell."""
    names = _groups(own)
    cores, memory = [], []
    for group in _upwards(mounted, names[""]):
        with suppress(OSError, ValueError):
            quota, period = (group / "cpu.max").read_text().split()
            cores.append(float("inf") if quota == "max" else int(quota) / int(period))
        memory.append(_left(group, "memory.max", "memory.current", "inactive_file"))
    for group in _upwards(mounted / "cpu", names["cpu"]):
        with suppress(OSError, ValueError):
            quota = (group / "cpu.cfs_quota_us").read_text()
            cores.append(float("inf") if int(quota) < 0 else int(quota) / _number(group / "cpu.cfs_period_us"))
    for group in _upwards(mounted / "memory", names["memory"]):
        memory.append(_left(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))
    fewest, least = min(cores, default=float("inf")), min(memory, default=UNLIMITED)
    return Limits(None if fewest == float("inf") else fewest, None if least >= UNLIMITED else max(least, 0))


def killed_for_memory(
    mounted: Path = Path("/sys/fs/cgroup"),
    own: Path = Path("/proc/self/cgroup"),
    system: Path = Path("/proc/vmstat"),
) -> int:
    """How many processes the system has killed for want of memory, in this process's group or else anywhere."""
    names = _groups(own)
    places = [group / "memory.events" for group in _upwards(mounted, names[""])]
    places += [group / "memory.oom_control" for group in _upwards(mounted / "memory", names["memory"])]
    for path in [*places, system]:
        with suppress(OSError, ValueError):
            for name, number in (line.split() for line in path.read_text().splitlines()):
                if name == "oom_kill":
                    return int(number)
    return 0


def _groups(own: Path) -> dict[str, str]:
    """The group of this process by controller, that of version 2 under an empty name."""
    names = {"": "/", "cpu": "/", "memory": "/"}
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            names |= dict.fromkeys(controllers.split(","), name)
    return names


def _upwards(root: Path, name: str) -> Iterator[Path]:
    """The group `name` below `root`, and those above it."""
    group = root / name.strip("/")
    yield group
    while group != root:
        group = group.parent
        yield group


def _left(group: Path, limit: str, used: str, reclaimable: str) -> int:
    """Bytes that a group may still use: files that the system holds in memory and can drop do not count as used."""
    with suppress(OSError, ValueError):
        most = _number(group / limit)
        kept = 0
        with suppress(OSError, ValueError):
            lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
            kept = sum(int(number) for name, number in lines if name == reclaimable)
        return most - _number(group / used) + kept if most < UNLIMITED else UNLIMITED
    return UNLIMITED


def _number(path: Path) -> int:
    text = path.read_text().strip()
    return UNLIMITED if text == "max" else int(text)
