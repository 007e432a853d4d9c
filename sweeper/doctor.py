"""What `sweeper doctor` examines: versions, devices, limits, Ray's authentication, data sets, disk and a store.

It changes nothing and downloads nothing. PyTorch is imported here to be asked for its devices.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import sweeper
from sweeper.errors import SweeperError
from sweeper.machine.resources import machine_facts
from sweeper.provenance import git_revision, source_digest
from sweeper.store import Store
from sweeper.store.health import Health, health
from sweeper.store.lock import describe
from sweeper.wording import plural

PACKAGES = (
    "torch", "numpy", "ray", "optuna", "pandas", "pyarrow", "matplotlib", "scipy", "scikit-learn",
    "threadpoolctl",
    "pydantic", "ruamel.yaml", "typer", "rich", "safetensors", "filelock", "certifi", "pillow", "psutil",
)  # fmt: skip
RAY = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")


def examine(store: Path | None) -> dict[str, Any]:
    """Everything, as plain values. `problems` has a sentence for each thing that should be mended.

    `exit_code` is 0, or that of the store's fault: 65 where it is damaged or newer.
    """
    found: dict[str, Any] = {
        "json_version": 1,
        "versions": {"sweeper": sweeper.__version__, "python": platform.python_version()}
        | {name: _version(name) for name in PACKAGES},
        "source": {"revision": git_revision(), "digest": source_digest()},
        "machine": machine_facts(),
        "devices": _devices(),
        "ray": _ray(),
        "data": _data(),
        "disk": _disk(store),
        "store": None,
        "run": None,
        "exit_code": 0,
    }
    if store is not None:
        try:
            opened = Store.open(store)
            found["store"] = _store(opened)
            found["run"] = running(opened)
            found["exit_code"] = 65 if found["store"]["damaged"] else 74 if found["store"]["unreadable"] else 0
        except SweeperError as fault:
            found["store"], found["exit_code"] = {"path": str(store), "fault": str(fault)}, fault.exit_code
    return found | {"problems": list(_problems(found))}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> dict[str, Any]:
    """What PyTorch can compute on."""
    try:
        import torch
    except ImportError as fault:
        return {"fault": str(fault), "gpus": []}
    gpus: list[dict[str, Any]] = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        gpus.append({"name": torch.cuda.get_device_name(number)})
        with suppress(RuntimeError):  # in use by another process alone
            free, total = torch.cuda.mem_get_info(number)
            gpus[-1] |= {"memory_bytes": total, "free_bytes": free}
    return {"cuda_of_torch": torch.version.cuda, "gpus": gpus, "threads": torch.get_num_threads()}


def _ray() -> dict[str, Any]:
    """Whether Ray asks for a token, as the environment says, and who may read the token files that there are."""
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    files = []
    for place in [*([given] if given else []), "~/.ray/auth_token"]:
        with suppress(RuntimeError):  # of a user without a home folder
            files += [path] if (path := Path(place).expanduser()).is_file() else []
    return {
        "auth_mode": os.environ.get("RAY_AUTH_MODE"),
        "tokens": [{"path": str(path), "mode": _mode(path)} for path in files],
    }


def _mode(path: Path) -> str | None:
    try:
        return f"{stat.S_IMODE(path.stat().st_mode):04o}"
    except OSError:
        return None


def _data() -> list[dict[str, Any]]:
    """Each data set, its decoded images verified by their digest; nothing is downloaded. Of texts of the user's own,
    which have no registered digest, what a study has to say of each."""
    from models.cell.registry import DATASETS
    from models.data.own_text import NONE_HERE, corpora, described

    registered = [name for name, entry in DATASETS.items() if not entry.declared()]
    found = [_looked_at(name, "verified", partial(_loaded, name)) for name in registered]
    found += [_looked_at(f"text {name}", "found", partial(described, name)) for name in corpora()]
    return found if len(found) > len(registered) else [*found, {"name": "text", "state": "missing", "why": NONE_HERE}]


def _loaded(name: str) -> str:
    """Load a data set, of which there is nothing to say then."""
    from models.data import load

    load(name)
    return ""


def _looked_at(name: str, state: str, look: Callable[[], str]) -> dict[str, Any]:
    """A data set and its `state`, with what `look` says; other states where that raises."""
    from models.data import DataCorrupt, DataMissing
    from models.data.sources import offline

    try:
        with offline():
            why = look()
    except DataMissing as fault:
        state, why = "missing", str(fault)
    except (DataCorrupt, OSError) as fault:
        state, why = "damaged", str(fault)
    return {"name": name, "state": state, "why": why}


def _disk(store: Path | None) -> list[dict[str, Any]]:
    from models.data.sources import cache_folder

    places = {"store": store or Path("results"), "data cache": cache_folder(), "temporary": Path(tempfile.gettempdir())}
    found = []
    for what, path in places.items():
        there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
        with suppress(OSError):
            found.append({"what": what, "path": str(path), "free_bytes": shutil.disk_usage(there).free})
    return found


def _store(store: Store) -> dict[str, Any]:
    found: Health = health(store)
    listed = {
        name: [{"path": str(fault.path), "reason": fault.reason} for fault in faults]
        for name, faults in (("damaged", found.damaged), ("left_alone", found.left_alone))
    }
    unreadable = sum(fault.unreadable for fault in found.left_alone)
    return {"path": str(store.paths.root)} | asdict(found) | listed | {"unreadable": unreadable}


def running(store: Store) -> dict[str, Any] | None:
    """The run on the store, the ports on which its processes on this machine listen, and who may read Ray's token."""
    import psutil

    holder = store.holder()
    if holder is None:
        return None
    here = holder["host"] == platform.node()
    processes: list[psutil.Process] = []
    with suppress(psutil.Error):
        if here:
            driver = psutil.Process(holder["pid"])
            processes = [driver, *driver.children(recursive=True)]
    ports, ray = [], {}
    for process in processes:
        with suppress(psutil.Error):
            ports += [
                {"process": process.name(), "pid": process.pid, "address": each.laddr.ip, "port": each.laddr.port}
                for each in process.net_connections(kind="tcp")
                if each.status == psutil.CONN_LISTEN
            ]
        with suppress(psutil.Error):
            if process.name() == "raylet":
                ray = {name: process.environ().get(name) for name in RAY}
    token = ray.get("RAY_AUTH_TOKEN_PATH")
    return {
        "held_by": describe(holder),
        "here": here,
        "processes": len(processes),
        "ports": sorted(ports, key=lambda each: (each["port"], each["pid"])),
        "auth_mode": ray.get("RAY_AUTH_MODE"),
        "token": token and {"path": token, "mode": _mode(Path(token)), "folder_mode": _mode(Path(token).parent)},
    }


def _problems(found: dict[str, Any]) -> Iterator[str]:
    """What should be mended, and how."""
    devices, here, ray = found["devices"], found["machine"], found["ray"]
    if "fault" in devices:
        yield f"PyTorch cannot be imported: {devices['fault']}"
    elif here["gpus_of_the_driver"] > len(devices["gpus"]):
        yield (
            f"the driver shows {plural(here['gpus_of_the_driver'], 'GPU')}, PyTorch {len(devices['gpus'])}: "
            f"install a PyTorch for CUDA (this one: {devices['cuda_of_torch'] or 'without'}), or use run.device=cpu"
        )
    elif here["gpus_of_the_driver"] < len(devices["gpus"]):
        yield (
            f"PyTorch sees {plural(len(devices['gpus']), 'GPU')}, nvidia-smi {here['gpus_of_the_driver']}: runs are "
            "planned by what nvidia-smi says, which should be on the PATH and list them"
        )
    if (ray["auth_mode"] or "token") == "disabled":
        yield "RAY_AUTH_MODE=disabled lets anyone who reaches Ray's ports run code: unset it (no run starts with it)"
    for token in ray["tokens"]:
        if token["mode"] and int(token["mode"], 8) & 0o077:
            yield f"others can read Ray's token: chmod 600 {token['path']}"
    for data in found["data"]:
        if data["state"] == "damaged":
            yield f"data set {data['name']}: {data['why']}"
    run = found["run"]
    open_ports = [each for each in (run or {}).get("ports", ()) if each["address"] not in ("127.0.0.1", "::1")]
    if open_ports and run["auth_mode"] != "token":
        yield f"{plural(len(open_ports), 'port')} of the run can be reached from elsewhere, without a token"
    store = found["store"]
    if store and "fault" in store:
        yield store["fault"]
    elif store and store["unreadable"]:
        yield (
            f"this user may not read {plural(store['unreadable'], 'file')} of the store, which may be whole: ask the "
            "owner for the right to (chmod)"
        )
    if store and store.get("damaged"):
        yield (
            f"{plural(len(store['damaged']), 'file')} of the store are damaged: the next `sweeper run` moves rows "
            "to the quarantine and trains their cells again; `sweeper merge` takes whole ones from another copy"
        )
