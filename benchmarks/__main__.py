"""`python -m benchmarks NAME [options]`: prints Markdown tables on stdout."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

NAMES = (
    "train", "jax", "profile", "calls", "heap", "tune", "workers", "gpu", "convolutions", "smoothing", "precision",
    "evaluation", "memory", "methods", "overhead", "stacks", "scheduling", "inner", "planning", "store", "report",
    "refinement", "figure1",
)  # fmt: skip


def main() -> None:
    """Run one benchmark, or list them all."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="name", metavar="NAME", required=len(sys.argv) > 1)
    for name in NAMES:
        module = import_module(f"benchmarks.{name}")
        summary = (module.__doc__ or "").split("\n")[0]
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.options(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args()
    if args.name is None:
        parser.print_help()
    else:
        args.run(args)


if __name__ == "__main__":
    main()
