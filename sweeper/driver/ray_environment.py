"""The environment of Ray and its workers: theirs alone, whatever a shell, a pod or `uv run` has put there."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sweeper.errors import SweeperError

ADVICE = "`--executor inline` does without Ray"

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_CLIENT_MODE": "0",  # of a program that speaks to a Ray elsewhere through a proxy
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # Else a driver is let in when the first workers are up, and where these do not come up it holds Python's lock for
    # ever, so that no signal reaches it. Tune's workers are started otherwise and gain nothing by those.
    "RAY_prestart_worker_first_driver": "0",
}
UV = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"  # has Ray pack the current folder, and start workers by `uv run` in its copy


def refuse_settings_that_end_ray() -> None:
    """Raise SweeperError where Ray's own settings hold what it cannot read: importing it then ends the process without
    a word. RAY_memory_usage_threshold=90% is one, and an empty number another. Tried in another process."""
    names = [name for name in os.environ if name.startswith("RAY_") and name[4:5].islower() and name not in QUIET]
    if not names or "ray" in sys.modules or _imports_ray(names):
        return
    faulty = [name for name in names if not _imports_ray([name])] or names
    said = ", ".join(f"{name}={os.environ[name]!r}" for name in faulty)
    raise SweeperError(f"Ray cannot start with {said} in the environment: correct it, or unset it; {ADVICE}")


def _imports_ray(names: list[str]) -> bool:
    """Whether a process that has only these of Ray's settings lives through the import."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_") or name in names}
    return subprocess.run([sys.executable, "-c", "import ray._raylet"], env=env, capture_output=True).returncode >= 0


@contextmanager
def hooks_off(address: str | None) -> Iterator[None]:
    """Without the variables by which others would change how workers are started, or what they import.

    On a cluster a job that was submitted to it has brought its own environment, which stays, below what a run sets.
    """
    off = ["RAY_RUNTIME_ENV_HOOK"]
    if address is None:
        off += ["RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_OVERRIDE_RESOURCES", "RAY_OVERRIDE_LABELS"]  # a pod's, of a cluster
        off += ["PYTHONPATH"] if sys.flags.ignore_environment else []  # as in `python -I`
    else:
        os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
    kept = {name: os.environ.pop(name) for name in off if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


class OwnPath(list[str]):
    """A path for workers that Ray cannot put the current folder and the script's in front of, as it would."""

    def extend(self, more: Any) -> None:
        """Ray's way to add them."""


def python_path() -> list[str]:
    """Where the driver looks for modules, the last place first: so Ray wants it."""
    return [os.path.abspath(entry) for entry in reversed(sys.path)]


def quoted_python() -> dict[str, str]:
    """What Ray 2.60 needs where Python's path has a space: it starts workers by a shell line that does not quote it."""
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"py_executable": quoted}
