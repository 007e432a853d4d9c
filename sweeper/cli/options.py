"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer


def at_home(given: Any) -> Any:
    """Paths as they are given; `~` is for us to replace where no shell did, as in `--store=~/results`."""
    if isinstance(given, (list, tuple)):
        return [at_home(each) for each in given]
    try:
        return given and given.expanduser()
    except RuntimeError:
        raise typer.BadParameter(f"{given}: no home folder is known (is HOME set?): write the path in full") from None


def _debug(on: bool) -> None:
    if on:
        os.environ["SWEEPER_DEBUG"] = "1"


StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="Study file, YAML.", callback=at_home)]
StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of results.", callback=at_home)]
StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of results.  [default: results/<study name>]", callback=at_home),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override of the study, as in train.steps=1000; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of words.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.", callback=_debug)]
