"""What was found of versions, machine, data, disk, a store and a run on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sweeper.wording import duration, plural, size


def doctor_lines(found: dict[str, Any]) -> list[str]:
    """One line per finding of `sweeper.doctor.examine`."""
    here, devices, ray = found["machine"], found["devices"], found["ray"]
    out = ["versions: " + ", ".join(f"{name} {each or 'missing'}" for name, each in found["versions"].items())]
    out.append(f"source: revision {found['source']['revision'] or 'unknown'}, digest {found['source']['digest']}")
    out.append(f"machine: {here['system']}, {here['processor']}, {plural(here['cores'], 'core')}")
    quota, left = here["cores_by_control_group"], here["memory_left_in_control_group_bytes"]
    group = f"{quota:g} cores, " if quota else "no limit of cores, "
    group += f"{size(left)} left" if left is not None else "no limit of memory"
    out.append(
        f"for us: {plural(here['cores_allowed'], 'core')}, {size(here['memory_free_bytes'])} of "
        f"{size(here['memory_bytes'])} free; control group: {group}"
    )
    for gpu in devices["gpus"]:
        free = f"{size(gpu['free_bytes'])} of {size(gpu['memory_bytes'])} free" if "free_bytes" in gpu else "in use"
        out.append(f"GPU: {gpu['name']}, {free}")
    if not devices["gpus"]:
        out.append(
            f"no GPU (PyTorch for {'CUDA ' + devices['cuda_of_torch'] if devices.get('cuda_of_torch') else 'CPU'})"
        )
    tokens = "".join(f"; {each['path']} has mode {each['mode']}" for each in ray["tokens"])
    out.append(f"Ray: token authentication {ray['auth_mode'] or 'on, with a token of the run'}{tokens}")
    out += [
        f"data set {each['name']}: {each['state']}{': ' + each['why'] if each['why'] else ''}" for each in found["data"]
    ]
    out += [f"disk for {each['what']}: {size(each['free_bytes'])} free at {each['path']}" for each in found["disk"]]
    if found["store"] and "fault" not in found["store"]:
        out += _store_lines(found["store"])
    if found["run"]:
        out += _run_lines(found["run"])
    return [*out, *(f"problem: {each}" for each in found["problems"])] + ["no problem found"] * (not found["problems"])


def _store_lines(store: dict[str, Any]) -> Iterator[str]:
    yield (
        f"store {store['path']}: {plural(store['cells'], 'cell')}, {plural(store['states'], 'kept state')}, "
        f"{size(sum(store['sizes'].values()))}; every file verified, {len(store['damaged'])} damaged"
    )
    beside = {
        "unfinished stacks": store["unfinished"],
        "superseded rows": store["superseded"],
        "files in quarantine": store["aside"],
        "histories without a row": store["histories_alone"],
        "states without a row": store["states_alone"],
        "temporary files": store["temporary"],
    }
    if any(beside.values()):
        age = store["temporary_age_s"]
        yield (
            "  beside them: "
            + ", ".join(f"{what}: {count:,}" for what, count in beside.items() if count)
            + (f" (the youngest {duration(age)} old)" if age is not None else "")
        )
    yield from (f"  damaged: {fault['path']}: {fault['reason']}" for fault in store["damaged"])
    yield from (f"  left alone: {fault['path']}: {fault['reason']}" for fault in store["left_alone"])


def _run_lines(run: dict[str, Any]) -> Iterator[str]:
    yield f"run: {run['held_by']}" + ("" if run["here"] else "; its processes are on that machine")
    token = run["token"]
    if token:
        modes = f"{token['path']} has mode {token['mode']}, its folder {token['folder_mode']}"
        yield f"  Ray: authentication {run['auth_mode']}, {modes}"
    yield from (
        f"  listens: {each['address']} port {each['port']} ({each['process']}, process {each['pid']})"
        for each in run["ports"]
    )
    if run["here"] and not run["ports"]:
        yield f"  {plural(run['processes'], 'process')}, none listens on a port"
