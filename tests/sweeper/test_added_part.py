"""A part with options of its own is one new file and one line: everything else follows from these."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, environment

PART = '''
from dataclasses import dataclass

from models.cell.fields import option
from models.objectives.spec import ElboOptions


@dataclass(frozen=True)
class TemperedOptions(ElboOptions):
    """The ELBO, its reconstruction term tempered."""

    temperature: float = option(
        1.0, "temperature of log p(x)", low=0.1, high=10.0, since=3, symbol="T", label="temperature T", collapses="high"
    )
    tempering: str = option("whole", "what is tempered", choices=("whole", "half"), shape=True, since=3)


def __getattr__(name):  # the code loads torch, so it is made when it is asked for
    if name != "Tempered":
        raise AttributeError(name)
    from models.objectives.elbo import Vae
    from models.parameters import column

    class Tempered(Vae):
        def __init__(self, cells, like):
            super().__init__(cells, like)
            self.temperature = column([cell.options("objective").temperature for cell in cells], like, 1)

        def value(self, terms, step):
            return super().value(terms, step) / self.temperature

    return Tempered
'''
LINE = '    "tempered": Entry("models.objectives.tempered:Tempered", TemperedOptions),\n'
STUDY = {
    "name": "added",
    "cells": {
        "data": "digits", "latents": "3-2", "hidden": "8", "objective": ["vae", "tempered"], "temperature": [1, 2],
        "tempering": "half", "batch_size": 16, "seed": 0,
    },
    "train": {"steps": 5},
    "evaluation": {"every": 0, "images": 20, "importance_samples": 2, "validation_images": 20, "pictures": 0},
    "run": {"executor": "inline", "device": "cpu"},
    "analysis": {"control": "temperature", "reference": 1},
}  # fmt: skip
UNSAVED = """
from sweeper.analysis import figures
from sweeper.cli import main
figures.save = lambda figure, folder, name: []  # figures are made; saving them takes longer than all the rest
main()
"""
CHECK = """
import json, sys
import pandas
from models.cell import Cell, CellError
from sweeper.parameters.control import axis_of
from sweeper.study import json_schema
from sweeper.study.field_table import field_table
rows = pandas.read_parquet(sys.argv[1] + "/cells").sort_values(["objective", "temperature"])
try:
    Cell("digits", "3-2", 0, temperature=2.0)
except CellError as fault:
    refused = str(fault)
print(json.dumps({
    "objective": rows["objective"].tolist(), "temperature": rows["temperature"].fillna(0).tolist(),
    "tempering": rows["tempering"].fillna("").tolist(), "ids": rows["cell_id"].nunique(),
    "schema": list(json_schema()["$defs"]["CellBlock"]["properties"]),
    "refused": refused, "axis": axis_of("temperature").label, "table": "`temperature`" in field_table(),
}))
"""


def test_a_new_part_with_two_options_is_one_file_and_one_line(tmp_path):
    """It is planned, trained, evaluated and stored; its options are columns, and only its cells have them."""
    for package in ("models", "sweeper"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "models/objectives/tempered.py").write_text(PART)
    registry = tmp_path / "models/cell/registry.py"
    text = registry.read_text().replace(
        "OBJECTIVES: dict[str, Entry] = {\n", "OBJECTIVES: dict[str, Entry] = {\n" + LINE
    )
    first = "from models.objectives.spec import"
    registry.write_text(text.replace(first, f"from models.objectives.tempered import TemperedOptions\n{first}", 1))
    (tmp_path / "added.yaml").write_text(json.dumps(STUDY))

    def python(*argv: str) -> str:
        done = subprocess.run(
            [sys.executable, *argv], cwd=tmp_path, env=environment(PYTHONPATH=str(tmp_path)), text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    python("-c", UNSAVED, "run", "added.yaml", "--store", "store")
    found = json.loads(python("-c", CHECK, str(Path("store"))))
    assert found["objective"] == ["tempered", "tempered", "vae"] and found["ids"] == 3
    assert found["temperature"] == [1.0, 2.0, 0.0] and found["tempering"] == ["half", "half", ""]
    assert "temperature is an option of objective tempered" in found["refused"]
    assert found["axis"] == "temperature T (scale of log T)" and found["table"]
    assert {"temperature", "tempering"} <= set(found["schema"])
