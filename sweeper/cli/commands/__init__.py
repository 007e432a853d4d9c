"""Every command of `sweeper`, in the order in which its help lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeper.cli.commands.exports import export
from sweeper.cli.commands.numbers import compare, predict
from sweeper.cli.commands.stores import doctor, merge, report, status
from sweeper.cli.commands.studies import plan, run, schema
from sweeper.cli.output import show

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: importing the coloured one takes a fifth of a second
    help="Train grids of hierarchical VAEs, resume whatever was interrupted, and find the critical ρ.",
    epilog="Exit codes: 0 done, 1 cells or a comparison failed, 2 usage or study error, 65 store damaged or newer, "
    "69 no workers, 74 I/O, 75 store in use, 130, 143 and other 128 + signal interrupted.",
)


def _version(on: bool) -> None:
    if on:
        from sweeper import __version__

        show(f"sweeper {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that come before a command."""


for command in (run, plan, status, report, doctor, merge, predict, compare, schema):
    app.command()(command)
app.add_typer(export, name="export")
