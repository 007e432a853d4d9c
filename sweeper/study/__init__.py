"""Study files: typed YAML, grids over any field of a cell, every fault with its place."""

from sweeper.study.json_schema import json_schema
from sweeper.study.load import load_study, study_from
from sweeper.study.study import Study

__all__ = ["Study", "json_schema", "load_study", "study_from"]
