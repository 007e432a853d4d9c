"""Cells: what they are, which names and options they may use, what they need. Nothing here imports torch."""

from models.cell.cell import CONTINUE, Cell
from models.cell.checks import CellError, unfit
from models.cell.declared import FIELDS, RANGES, options_of_role, owners
from models.cell.entry import Entry
from models.cell.fields import Option, option, parse_sizes
from models.cell.identity import cell_id, cell_size, cell_work, joint_steps
from models.cell.latents import latent_units
from models.cell.registry import DATASETS, REGISTRIES, ROLES, UNSMOOTHED, UnknownName, find
from models.cell.values import canonical_json, nine_digits

__all__ = [
    "CONTINUE",
    "DATASETS",
    "FIELDS",
    "RANGES",
    "REGISTRIES",
    "ROLES",
    "UNSMOOTHED",
    "Cell",
    "CellError",
    "Entry",
    "Option",
    "UnknownName",
    "canonical_json",
    "cell_id",
    "cell_size",
    "cell_work",
    "find",
    "joint_steps",
    "latent_units",
    "nine_digits",
    "option",
    "options_of_role",
    "owners",
    "parse_sizes",
    "unfit",
]
