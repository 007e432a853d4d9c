"""Numbers of a store beside others: `sweeper predict` and `sweeper compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.commands.opening import open_store_of_study
from sweeper.cli.options import Debug, Json, StorePath, at_home
from sweeper.cli.output import JSON_VERSION, say, show_json, show_lines, show_table


def predict(
    store: StorePath,
    below: Annotated[
        float | None, typer.Option(help="ρ of the uncollapsed cells, safely below.  [default: the study's rho_ref]")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="objectives, noise or stability; repeatable.  [default: all three]", show_default=False),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Predict the critical ρ from cells at one smaller ρ and at ρ = 1, beside the one that was found."""
    from sweeper.analysis.prediction import METHODS, prediction_table
    from sweeper.cli.words.predict import PREDICTION_HEADER, batches_line, prediction_lines, prediction_rows
    from sweeper.prediction import predictions

    study, opened = open_store_of_study(store)
    for name in set(method or ()) - set(METHODS):
        raise typer.BadParameter(f"{name!r} is none of {', '.join(METHODS)}", param_hint="--method")
    chosen = [known for known in METHODS if not method or known in method]
    found = predictions(study, opened, below, lambda *done: say(batches_line(*done)), chosen)
    if as_json:
        show_json(prediction_table(found).to_dict("records"))
    else:
        show_table(PREDICTION_HEADER, prediction_rows(found))
        show_lines(prediction_lines(found))


def compare(
    store: StorePath,
    reference: Annotated[
        Path,
        typer.Option(
            "--reference",
            metavar="FILE",
            help="Published numbers, YAML, as in studies/paper/printed/.",
            callback=at_home,
        ),
    ],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print what a store measured beside published numbers; exit 1 if it disagrees under the same conditions."""
    from sweeper.cli.words.compare import COMPARED_HEADER, compared_lines, compared_table
    from sweeper.cloud import to_read
    from sweeper.compare import compare as beside
    from sweeper.store import Store
    from sweeper.study import load_study
    from sweeper.study.analysis import Analysis
    from sweeper.study.reference import load_reference

    published = load_reference(reference)
    opened = Store.open(to_read(store))
    analysis = load_study(opened.paths.study).analysis if opened.paths.study.exists() else Analysis()
    found = beside(opened.cells(), published, analysis.rho_ref, analysis.order_parameter, opened.history())
    if as_json:
        show_json({"json_version": JSON_VERSION} | found.to_dict())
    else:
        if rows := compared_table(found):
            show_table(COMPARED_HEADER, rows)
        show_lines(compared_lines(found))
    if found.failed:
        raise typer.Exit(1)
