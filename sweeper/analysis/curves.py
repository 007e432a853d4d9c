"""From a store's rows to curves: the order parameter over a control parameter, once per seed, for each setting of
everything else.

A curve holds the cells that share every field but the control parameter and the seed. A cell at the physical end of the
control parameter has no say in fields that have no effect there, and belongs to every curve that reaches it: plain
cells (`vae`, which is what `ou` at ρ = 1 is filed as) are the ρ = 1 end of every smoothed curve whose other fields they
share, whatever its S. Over training steps the points of a curve are the steps of its cells' history.
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

from models.cell import CONTINUE, REGISTRIES, Cell, canonical_json, latent_units
from models.cell.continuation import branch, cold_start
from models.cell.words import architecture_without
from sweeper.analysis.critical import find_transition
from sweeper.analysis.shapes import Fit, fit_shapes, nearer
from sweeper.analysis.transition import Transition
from sweeper.analysis.variants import NAMED, variants
from sweeper.parameters.control import RHO, STEPS, Array, Axis
from sweeper.parameters.order import parse_order_parameter

OF_A_ROW = (  # what `_curve` asks of a row, beside the control parameter
    "cell_id", "cell", "data", "data_digest", "architecture", "objective", "seed", "state", "step", "order_parameter",
)  # fmt: skip
MEASURED = ["kl_top", "kl_total", "kl_per_layer"]  # what an order parameter needs of the history


@dataclass(frozen=True, eq=False)
class Curve:
    """One order parameter over a control parameter, that of `axis`.

    `control`: (points,), its values, ascending; `values`: (seeds, points), NaN where no cell gave one; `diverged`:
    (seeds, points); `cell_ids`: (seeds, points), "" where there is no cell. `fields` are the cell's fields but the
    control parameter and the seed; `variant` names those that tell the curve from others of the same data set and
    architecture, "" if there are none.
    `steps`: smallest and largest number of committed steps of the cells that did not diverge. `reference`: the control
    parameter's value that counts as uncollapsed.
    """

    data: str
    architecture: str
    objective: str
    variant: str
    fields: Mapping[str, Any]
    axis: Axis
    control: Array
    seeds: tuple[int, ...]
    values: Array
    diverged: np.ndarray[Any, np.dtype[np.bool_]]
    cell_ids: np.ndarray[Any, np.dtype[Any]]
    steps: tuple[int, int]
    reference: float

    @property
    def label(self) -> str:
        """`digits · mlp 10-10-10 (64-64)`, and the variant."""
        return " · ".join(part for part in (self.data, self.architecture, self.variant) if part)

    @property
    def layer_units(self) -> tuple[int, ...]:
        """Units of layers 1 … L, as the network of these fields has them."""
        network = REGISTRIES["network"].get(str(self.fields.get("network")))
        if network is None:
            return latent_units(self.fields["latents"])
        said = {name: self.fields[name] for name in network.declared() if self.fields.get(name) is not None}
        sizes: tuple[int, ...] = network.options(**said).latent_sizes
        return sizes

    @cached_property
    def transition(self) -> Transition:
        """Onset and midpoint of this curve."""
        return find_transition(self.control, self.values, self.reference, self.seeds, self.diverged, self.axis)

    @cached_property
    def fits(self) -> list[dict[str, Fit]]:
        """The families fitted to each seed; {} for a seed with too few points."""
        return [fit_shapes(self.control, row, self.reference, self.axis) for row in self.values]

    @cached_property
    def fits_near(self) -> list[dict[str, Fit]]:
        """The shapes fitted to each seed without the window's far points; {} for a seed with too few points."""
        reference = nearer(self.control, self.reference, self.axis)
        return [fit_shapes(self.control, row, reference, self.axis) for row in self.values]


def select(cells: pd.DataFrame, asked: Collection[str] | None = None) -> pd.DataFrame:
    """The rows that a study asks for (all, if `asked` is None), one per cell: the one with most steps. Their `data` is
    the data set in words, where its options tell several of one name apart."""
    rows = cells if asked is None else cells[cells["cell_id"].isin(list(asked))]
    kept = rows.sort_values(["cell_id", "step"], kind="stable").drop_duplicates("cell_id", keep="last")
    several = kept["data"].isin([name for name, entry in REGISTRIES["data"].items() if entry.declared()])
    if not several.any():
        return kept
    words = [
        Cell.from_json(text).data_words if said else name
        for text, name, said in zip(kept["cell"], kept["data"], several, strict=True)
    ]
    return kept.assign(data=words)


def curves(
    cells: pd.DataFrame,
    order_parameter: str = "kl_top",
    reference: float | None = None,
    axis: Axis = RHO,
    history: pd.DataFrame | None = None,
) -> list[Curve]:
    """All curves of `cells` (one row per cell, the columns of a store), by data set, architecture and variant.

    `order_parameter`: see `sweeper.parameters.order`; networks without its layer are left out. It is taken from
    `history` where the control parameter is `steps` or it is one on validation images, else from `cells`.
    `reference` [the axis's, 0.8 for ρ]: the control parameter's value that counts as uncollapsed.
    Raises ValueError if there is no such order parameter, no reference, or no history where it is taken from that.
    """
    parameter = parse_order_parameter(order_parameter)
    if len(cells) == 0:
        return []
    reference = axis.reference if reference is None else reference
    if reference is None:
        raise ValueError(f"reference: which {axis.name} counts as uncollapsed? It has no default")
    if axis.name == STEPS.name:
        if history is None or not parameter.in_history:
            raise ValueError("curves over steps need the history, and an order parameter that it has")
        cells = _over_steps(cells, history)
    elif parameter.on_validation:
        if history is None:
            raise ValueError(
                f"order_parameter {order_parameter}: what was measured on validation images is in the history"
            )
        cells = at_their_last_step(cells, history)
    if parameter.layer is not None:
        cells = cells[cells["depth"] >= parameter.layer]
    cells = _with_control(cells, axis)
    cells = cells.assign(order_parameter=parameter.of(cells))
    groups: dict[str, list[Any]] = {}
    needed = [name for name in cells if name in (*OF_A_ROW, axis.name)]
    for row in cells[needed].itertuples(index=False):  # of all columns it takes ten times as long
        groups.setdefault(_key(row.data_digest, json.loads(row.cell), axis), []).append(row)
    _begin_branches(groups, axis)
    ends = {key: _end_key(rows[0], axis) for key, rows in groups.items()}
    reaching = {end for key, end in ends.items() if end != key}
    found = []
    for key, rows in groups.items():
        if ends[key] == key and key in reaching and all(getattr(row, axis.name) == axis.end for row in rows):
            continue  # no more than the end of other curves
        end = [row for row in groups.get(ends[key] or "", ()) if getattr(row, axis.name) == axis.end]
        found.append(_curve(rows, end if ends[key] != key else [], axis, reference))
    return sorted(_with_variants(found), key=lambda curve: (curve.data, _natural(curve.architecture), curve.variant))


def _with_control(cells: pd.DataFrame, axis: Axis) -> pd.DataFrame:
    """The cells that have the control parameter, where it is an option of some: null in a row is no such option, or,
    of an earlier version of the columns, its default."""
    if axis.name not in cells or not cells[axis.name].isna().any():
        return cells
    values = [Cell.from_json(text).flat()[axis.name] for text in cells["cell"]]
    filled = cells.assign(**{axis.name: pd.Series(values, index=cells.index, dtype="float64")})
    return filled[filled[axis.name].notna()]


def at_their_last_step(cells: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """The cells with what the history measured at their last step in place of what the final evaluation did."""
    measured = [name for name in MEASURED if name in history]
    last = history.merge(cells[["cell_id", "step"]], on=["cell_id", "step"])[["cell_id", *measured]]
    return cells.drop(columns=MEASURED, errors="ignore").merge(last, on="cell_id", how="left")


def _over_steps(cells: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and evaluated step: what the history measured there, with what the cell is."""
    measured = history.drop(columns="study").rename(columns={"step": STEPS.name})
    kept = cells[[name for name in cells if name == "cell_id" or name not in measured]]
    return kept.merge(measured, on="cell_id")


def _begin_branches(groups: Mapping[str, list[Any]], axis: Axis) -> None:
    """Give branches of cells that continue from each other the cold starts with which they begin."""
    if axis.name != RHO.name:
        return
    cold = {row.cell: row for rows in groups.values() for row in rows}
    for rows in groups.values():
        if Cell.from_json(rows[0].cell).procedure.startswith(CONTINUE):
            starts = dict.fromkeys(cold_start(Cell.from_json(row.cell)).to_json() for row in rows)
            rows += [cold[start] for start in starts if start in cold]


def _fields(cell: Mapping[str, Any], axis: Axis) -> dict[str, Any]:
    """The cell's fields but those that vary along a curve."""
    fields = {name: value for name, value in cell.items() if name not in (axis.name, "seed")}
    return fields | {"procedure": branch(cell["procedure"], cell["rho"])}


def _key(digest: str, cell: Mapping[str, Any], axis: Axis) -> str:
    return canonical_json([digest, _fields(cell, axis)])


def _end_key(row: Any, axis: Axis) -> str | None:
    """The key under which the cells at the physical end of the row's curve are found; None where there is no end."""
    if axis.end is None or axis.name == STEPS.name:
        return None
    end = Cell(**{**json.loads(row.cell), axis.name: axis.end}).canonical()
    return _key(row.data_digest, end.written(), axis)


def _curve(rows: Sequence[Any], end: Sequence[Any], axis: Axis, reference: float) -> Curve:
    first, members = rows[0], [*rows, *end]
    control = sorted({getattr(row, axis.name) for row in members})
    # A store may hold cells at the end of more seeds than the curve has: they are no part of it.
    seeds = sorted({row.seed for row in rows})
    values = np.full((len(seeds), len(control)), np.nan)
    diverged = np.zeros(values.shape, bool)
    ids = np.full(values.shape, "", dtype=object)
    steps = []
    for row in members:
        if row.seed in seeds:
            place = seeds.index(row.seed), control.index(getattr(row, axis.name))
            lost = row.state == "diverged"
            values[place] = np.nan if lost and axis.name != STEPS.name else row.order_parameter
            diverged[place[0] if axis.name == STEPS.name else place] = lost
            ids[place] = row.cell_id
            if not lost:
                steps.append(int(row.step))
    values[np.isinf(values)] = np.nan  # what overflowed is no value, here as in the transition
    diverged &= np.isnan(values)  # over steps a cell has values up to its divergence
    return Curve(
        data=first.data,
        architecture=_architecture(rows, axis),
        objective=first.objective,
        variant="",
        fields=_fields(json.loads(first.cell), axis),
        axis=axis,
        control=np.array(control, dtype=np.float64),
        seeds=tuple(int(seed) for seed in seeds),
        values=values,
        diverged=diverged,
        cell_ids=ids,
        steps=(min(steps, default=0), max(steps, default=0)),
        reference=reference,
    )


def _architecture(rows: Sequence[Any], axis: Axis) -> str:
    """The rows' architecture in words; where it has the control parameter, `…` stands for that."""
    written = {str(row.architecture) for row in rows}
    return written.pop() if len(written) == 1 else architecture_without(Cell.from_json(rows[0].cell), axis.name)


def _with_variants(found: Sequence[Curve]) -> list[Curve]:
    """Each curve with the fields that differ among those of its data set and architecture put into words."""
    alike: dict[tuple[str, str], list[Curve]] = {}
    for curve in found:
        alike.setdefault((curve.data, curve.architecture), []).append(curve)
    return [
        replace(curve, variant=words)
        for some in alike.values()
        for curve, words in zip(some, variants([each.fields for each in some], NAMED), strict=True)
    ]


def _natural(text: str) -> tuple[int, list[tuple[int, str]]]:
    """Shallower networks first, then sizes as numbers."""
    return text.split(" (")[0].count("-"), [(int(part or 0), part) for part in re.split(r"\D+", text)]
