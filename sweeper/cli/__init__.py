"""The command line: everything that speaks to people."""

from sweeper.cli.commands.studies import app, main

__all__ = ["app", "main"]
