"""From a store's rows to curves: the order parameter over ρ, once per seed, for each setting of everything else.

A curve holds the cells that share every field but ρ and the seed. Plain cells (objective `vae`, which is where `ou` at
ρ = 1 is filed) are the ρ = 1 end of every smoothed curve whose other fields they share, whatever its S.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from models.cell import canonical_json
from sweeper.analysis.critical import Array, Transition, find_transition
from sweeper.analysis.families import Fit, fit_families

ALONG = ("rho", "seed")  # what varies within a curve
SMOOTHING = ("objective", "smoothing_samples", "smoothing")  # what a plain cell has no say in
SHOWN = ("data", "network", "latents", "hidden", "activation")  # said by data set and architecture


@dataclass(frozen=True, eq=False)
class Curve:
    """One order parameter over ρ.

    `rho`: (points,), ascending; `values`: (seeds, points), NaN where no cell gave one; `diverged`: (seeds, points);
    `cell_ids`: (seeds, points), "" where there is no cell. `fields` are the cell's fields but ρ and seed; `variant`
    names those that tell the curve from others of the same data set and architecture, "" if there are none.
    `steps`: smallest and largest number of committed steps of the cells that did not diverge.
    """

    data: str
    architecture: str
    objective: str
    variant: str
    fields: Mapping[str, Any]
    rho: Array
    seeds: tuple[int, ...]
    values: Array
    diverged: np.ndarray[Any, np.dtype[np.bool_]]
    cell_ids: np.ndarray[Any, np.dtype[Any]]
    steps: tuple[int, int]
    rho_ref: float

    @property
    def label(self) -> str:
        """`digits · mlp 10-10-10 (64-64)`, and the variant."""
        return " · ".join(part for part in (self.data, self.architecture, self.variant) if part)

    @cached_property
    def transition(self) -> Transition:
        """Onset and midpoint of this curve."""
        return find_transition(self.rho, self.values, self.rho_ref, self.seeds, self.diverged)

    @cached_property
    def fits(self) -> list[dict[str, Fit]]:
        """The families fitted to each seed; {} for a seed with too few points."""
        return [fit_families(self.rho, row, self.rho_ref) for row in self.values]


def select(cells: pd.DataFrame, asked: Collection[str] | None = None) -> pd.DataFrame:
    """The rows that a study asks for (all, if `asked` is None), one a cell: the one with most steps."""
    rows = cells if asked is None else cells[cells["cell_id"].isin(list(asked))]
    return rows.sort_values(["cell_id", "step"], kind="stable").drop_duplicates("cell_id", keep="last")


def curves(cells: pd.DataFrame, order_parameter: str = "kl_top", rho_ref: float = 0.8) -> list[Curve]:
    """All curves of `cells` (one row a cell, the columns of a store), by data set, architecture and variant.

    `order_parameter` names a column of numbers. Raises ValueError if there is none of that name.
    """
    if len(cells) == 0:
        return []
    if order_parameter not in cells or not pd.api.types.is_numeric_dtype(cells[order_parameter]):
        numbers = [name for name in cells if pd.api.types.is_numeric_dtype(cells[name])]
        raise ValueError(
            f"order parameter: no column of numbers {order_parameter!r} here (there are {', '.join(numbers)})"
        )
    plain: dict[str, list[Any]] = {}
    smoothed: dict[tuple[str, str], list[Any]] = {}
    for row in cells.itertuples(index=False):
        fields = {name: value for name, value in json.loads(row.cell).items() if name not in ALONG}
        base = canonical_json([row.data_digest, {k: v for k, v in fields.items() if k not in SMOOTHING}])
        if fields["objective"] == "vae":
            plain.setdefault(base, []).append(row)
        else:
            smoothed.setdefault((base, canonical_json(fields)), []).append(row)
    groups = [(rows, plain.get(base, [])) for (base, _), rows in smoothed.items()]
    groups += [(rows, []) for base, rows in plain.items() if not any(base == other for other, _ in smoothed)]
    found = [_curve(rows, end, order_parameter, rho_ref) for rows, end in groups]
    return sorted(_with_variants(found), key=lambda curve: (curve.data, _natural(curve.architecture), curve.variant))


def _curve(rows: Sequence[Any], end: Sequence[Any], order_parameter: str, rho_ref: float) -> Curve:
    first, members = rows[0], [*rows, *end]
    rho = sorted({row.rho for row in members})
    # A store may hold plain cells of more seeds than the smoothed curve has: they are no part of it.
    seeds = sorted({row.seed for row in rows})
    values = np.full((len(seeds), len(rho)), np.nan)
    diverged = np.zeros(values.shape, bool)
    ids = np.full(values.shape, "", dtype=object)
    steps = []
    for row in members:
        if row.seed in seeds:
            place = seeds.index(row.seed), rho.index(row.rho)
            value = getattr(row, order_parameter)
            diverged[place] = row.state == "diverged"
            values[place] = np.nan if diverged[place] or value is None else value
            ids[place] = row.cell_id
            if not diverged[place]:
                steps.append(int(row.step))
    fields = {name: value for name, value in json.loads(first.cell).items() if name not in ALONG}
    return Curve(
        data=first.data,
        architecture=first.architecture,
        objective=first.objective,
        variant="",
        fields=fields,
        rho=np.array(rho, dtype=np.float64),
        seeds=tuple(int(seed) for seed in seeds),
        values=values,
        diverged=diverged,
        cell_ids=ids,
        steps=(min(steps, default=0), max(steps, default=0)),
        rho_ref=rho_ref,
    )


def _with_variants(found: Sequence[Curve]) -> list[Curve]:
    """Each curve with the fields that differ among those of its data set and architecture put into words."""
    named = []
    for curve in found:
        alike = [c.fields for c in found if (c.data, c.architecture) == (curve.data, curve.architecture)]
        names = sorted({name for fields in alike for name in fields} - set(SHOWN))
        different = [name for name in names if len({canonical_json(fields.get(name)) for fields in alike}) > 1]
        said = [f"{name.replace('_', ' ')} {curve.fields.get(name)}" for name in different]
        named.append(replace(curve, variant=", ".join(said)))
    return named


def _natural(text: str) -> tuple[int, list[tuple[int, str]]]:
    """Shallower networks first, then sizes as numbers."""
    return text.split(" (")[0].count("-"), [(int(part or 0), part) for part in re.split(r"\D+", text)]
