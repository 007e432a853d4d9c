"""What Ray's own logs say about why no worker comes up."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

import psutil

MAX_LINES = 6  # of one file, the last ones
MAX_CHARACTERS = 240  # of one line
MAX_BYTES = 200_000  # of one file, its end
_FILES = (
    "raylet.err", "worker-*.err", "runtime_env_*.err", "runtime_env_*.log", "gcs_server.err", "raylet.out",
    "gcs_server.out",
)  # fmt: skip
_ERROR = re.compile(r"\b(ERROR|FATAL|CRITICAL)\b| [EC] \d+ \d+\]")
_PLACE = re.compile(r"^.*?\] (\([\w ]+\) )?(?=\w+\.cc:\d+)|^[\d:, -]{19,}\s*")  # date, process and the like
_MARK = re.compile(r"^:(job_id|actor_name|task_name):")
_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_SECRET = re.compile("SECRET|TOKEN|PASSWORD|KEY", re.IGNORECASE)


def folder_of_cluster(address: str) -> Path:
    """Where this machine's node of the cluster at `address` writes; if there is none, a folder that is not there."""
    port = address.rpartition(":")[2]
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or []
        options = dict(word.lstrip("-").split("=", 1) for word in words[1:] if "=" in word)
        its_port = options.get("gcs-address", "").rpartition(":")[2]
        if process.info["name"] == "raylet" and "log_dir" in options and (address == "auto" or its_port == port):
            return Path(options["log_dir"])
    return Path("(no node of it on this machine)")


class RayLogs:
    """The logs of the session that writes to `folder`; `from_now`: before all, what is added from here on.

    On a cluster these are the logs of the driver's own node, as far as they may be read.
    """

    def __init__(self, folder: Path, from_now: bool = False):
        self.folder = folder
        self.begins = {path: path.stat().st_size for path in self._files()} if from_now else {}

    def _files(self) -> Iterator[Path]:
        with suppress(OSError):
            for pattern in _FILES:
                yield from sorted(self.folder.glob(pattern))

    def explain(self, headline: str, advice: str) -> str:
        """A message: what is the matter, what the logs say, what to do."""
        quoted = [f"  {line}" for line in self.lines()]
        says = "; Ray's logs say:" if quoted else f"; Ray's logs in {self.folder} say nothing of it"
        return "\n".join([headline + says, *quoted, advice])

    def lines(self) -> list[str]:
        """What looks like a reason, each line once, after the name of its file: all of stderr, and errors elsewhere."""
        return self._lines(self.begins) or self._lines({})

    def _lines(self, begins: Mapping[Path, int]) -> list[str]:
        seen: set[str] = set()
        said: list[str] = []
        for path in self._files():
            found = []
            for line in reversed(_read(path, begins.get(path, 0)).splitlines()):
                text = _PLACE.sub("", _TERMINAL.sub("", line)).rstrip()
                wanted = path.suffix == ".err" or _ERROR.search(line)
                key = re.sub(r"[0-9a-f]{8,}|\d+", "#", text)
                if wanted and text.strip() and not _MARK.match(text) and key not in seen:
                    seen.add(key)
                    found.append(f"{path.name}: {_without_secrets(text, os.environ)[:MAX_CHARACTERS]}")
            said += reversed(list(islice(found, MAX_LINES)))
        return said


def _read(path: Path, begin: int) -> str:
    with suppress(OSError), open(path, "rb") as file:
        file.seek(max(begin, path.stat().st_size - MAX_BYTES))
        return file.read().decode(errors="replace")
    return ""


def _without_secrets(text: str, variables: Mapping[str, str]) -> str:
    """A failing environment is logged with its variables, among them what opens a bucket."""
    for name, value in variables.items():
        if _SECRET.search(name) and len(value) >= 8:
            text = text.replace(value, "***")
    return text
