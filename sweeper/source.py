"""sweeper's two packages are those that lie beside this file, whatever else is called `models` where Python looks.

Others use that name: for a folder of weights in the current directory, for a package beside a script, for what stands
in PYTHONPATH. The command `sweeper` and its workers import their own all the same; a script that could not have both is
told so at once. What is here knows the standard library alone, because everything else comes after it.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import ModuleType

ROOT = str(Path(__file__).absolute().parents[1])
PACKAGES = ("models", "sweeper")


class Beside:
    """Finds the two packages in the folder `root`, and nothing else: an entry of `sys.meta_path`."""

    def __init__(self, root: str):
        self.root = root

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Python's interface."""
        return PathFinder.find_spec(name, [self.root]) if name in PACKAGES else None


def prefer(root: str) -> None:
    """Import the two packages from `root`, if both are there, before any search of Python's path."""
    known = any(getattr(finder, "root", None) == root for finder in sys.meta_path)
    if not known and all(os.path.isfile(os.path.join(root, name, "__init__.py")) for name in PACKAGES):
        sys.meta_path.insert(0, Beside(root))


def claim() -> None:
    """Make sure of `models` as soon as sweeper is imported.

    Raises ImportError where another package of that name is imported already, or would be imported by a script that
    uses sweeper as a library. A folder `models` without code hides nothing and is passed over.
    """
    command = _is_command()
    if command:
        _leave_current_folder()
    if (loaded := sys.modules.get("models")) is not None:
        places = list(getattr(loaded, "__path__", [getattr(loaded, "__file__", None) or "?"]))
        if not any(_is_ours(place) for place in places):
            raise _conflict(places[0])
    elif not command and (place := _other_on_path()):
        raise _conflict(place)
    else:
        prefer(ROOT)


def _is_ours(place: str) -> bool:
    return os.path.realpath(place) == os.path.realpath(os.path.join(ROOT, "models"))


def _other_on_path() -> str | None:
    """Code called `models` that Python finds before ours."""
    spec = find_spec("models")
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    if any(_is_ours(folder) for folder in folders[:1]):
        return None
    if spec.has_location and spec.origin:  # a module, or a package with an __init__.py
        return folders[0] if folders else spec.origin
    return next((folder for folder in folders if any(Path(folder).glob("*.py"))), None)


def _conflict(place: str) -> ImportError:
    return ImportError(
        f"{place} is what Python imports as `models`, and sweeper has a package of that name ({ROOT}/models): rename "
        "the former, or take its folder out of Python's path, to which a script's own folder and PYTHONPATH belong; "
        "the command `sweeper` works beside it"
    )


def _is_command() -> bool:
    """Whether this process is the command `sweeper`, or `python -m sweeper`, and has no code of anyone else's."""
    return _as_module() or Path(sys.argv[0] if sys.argv else "").stem == "sweeper"


def _as_module() -> bool:
    """Whether Python is just looking for what `-m sweeper` names."""
    asked = [(before + word).endswith("msweeper") for before, word in pairwise(["", *sys.orig_argv])]
    return sys.argv[:1] == ["-m"] and any(asked)


def _leave_current_folder() -> None:
    """`python -m` puts the current folder first, so that any module there comes before those of the libraries."""
    if _as_module() and not sys.flags.safe_path and sys.path and not os.path.samefile(sys.path[0], ROOT):
        del sys.path[0]
