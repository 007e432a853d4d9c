"""What a store measured beside what somebody published.

For every printed number of a reference (`sweeper.study.reference`) the store's cells that are meant are looked up, one
result for each setting of whatever the reference leaves open. A quantity of cells is their mean over seeds with the
95 % t interval (3 seeds or more); onset and midpoint are those of the cells' curve over ρ, with the interval that is at
least half a grid step. Beside it stand the difference, whether it is within the reference's margin, and each condition
that is not the one published. Only numbers measured under the published conditions decide whether a store agrees with
its reference: what 10,000 steps give does not contradict what 1,000,000 gave. What they can be asked all the same is
whether the published lines lie the same way round (`sweeper.compare_order`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from models.cell import FIELDS, canonical_json
from sweeper.analysis.critical import MIN_SEEDS
from sweeper.analysis.curves import Curve, curves, select
from sweeper.analysis.intervals import t_half_width
from sweeper.analysis.variants import variants
from sweeper.study.reference import CRITICAL, Published, Reference
from sweeper.wording import plural

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.compare_order import Order

# Columns of conditions, in the order in which they are named; fields of a cell follow, and the number of seeds.
MEASURED = {"steps": "step", "split": "split", "images": "images", "iw_samples": "iw_samples"}
SEEDS = "seeds"
_USUAL = {name: option.default for name, option in FIELDS.items() if not option.required}

Verdict = Literal["within", "outside", "no number", "not in the store"]


@dataclass(frozen=True)
class Beside:
    """One printed number and what the store has of it.

    `value`: measured, one number or one per layer, with `low`, `high` where there are 3 seeds or more; `difference`:
    measured − published, from the nearer end of an interval (0 inside it); `setting`: what tells these cells from
    others that are meant too; `differs`: conditions that are not those published, in words; `reason`: why there is no
    number; `by_seed`: a single number seed by seed.
    """

    published: Published
    verdict: Verdict
    value: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    difference: tuple[float, ...] = ()
    seeds: int = 0
    setting: str = ""
    differs: tuple[str, ...] = ()
    reason: str = ""
    by_seed: Mapping[int, float] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether it decides: a number, measured under the published conditions, over however many seeds."""
        return self.verdict in ("within", "outside") and all(said.startswith(SEEDS) for said in self.differs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        seeds = {str(seed): value for seed, value in self.by_seed.items()}
        return {**vars(self), "published": dict(vars(self.published)), "judged": self.judged, "by_seed": seeds}


@dataclass(frozen=True)
class Compared:
    """All printed numbers of a reference beside a store's."""

    reference: Reference
    beside: tuple[Beside, ...]
    orders: tuple[Order, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a number measured under the published conditions is outside its margin."""
        return any(one.judged and one.verdict == "outside" for one in self.beside)

    def coverage(self) -> str:
        """How many of the printed numbers the store has, and how many of those decide."""
        every = len(self.reference.published)
        here = {id(one.published) for one in self.beside if one.verdict != "not in the store"}
        judged = [one for one in self.beside if one.judged]
        outside = sum(one.verdict == "outside" for one in judged)
        text = f"{self.reference.name}: {len(here)} of {every} printed numbers are in the store, "
        if not judged:
            return text + "none under the published conditions: nothing is decided"
        return text + f"{plural(len(judged), 'result')} under the published conditions, {outside} outside the margin"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "reference": self.reference.name,
            "source": self.reference.source,
            "note": self.reference.note,
            "failed": self.failed,
            "coverage": self.coverage(),
            "entries": [one.to_dict() for one in self.beside],
            "orders": [order.to_dict() for order in self.orders],
        }


def compare(
    cells: pd.DataFrame,
    reference: Reference,
    rho_ref: float | None = None,
    order_parameter: str = "kl_top",
    history: pd.DataFrame | None = None,
) -> Compared:
    """Every printed number of `reference` beside what `cells` (a store's rows) say of it.

    rho_ref, order_parameter: of onset and midpoint, as in a study's `analysis`; history: for one on validation images.
    """
    kept = select(cells) if len(cells) else cells
    rows = [row._asdict() | {"fields": json.loads(row.cell)} for row in kept.itertuples(index=False)]
    known = {row["cell_id"]: row for row in rows}
    lines = curves(kept, order_parameter, rho_ref, history=history)
    from sweeper.compare_order import orders

    found: list[Beside] = []
    for published in reference.published:
        if published.quantity in CRITICAL:
            meant = [curve for curve in lines if published.fits(curve.fields, along=("rho", "seed"))]
            settings = variants([curve.fields for curve in meant])
            results = [_of_curve(published, curve, known, text) for curve, text in zip(meant, settings, strict=True)]
        else:
            groups = _groups([row for row in rows if published.fits(row["fields"])])
            settings = variants([group[0]["fields"] for group in groups], unsaid=("seed",))
            results = [_of_cells(published, group, text) for group, text in zip(groups, settings, strict=True)]
        found += results or [Beside(published, "not in the store")]
    return Compared(reference, tuple(found), orders(found))


def _groups(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Rows that differ in nothing but the seed."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        others = {name: value for name, value in row["fields"].items() if name != "seed"}
        groups.setdefault(canonical_json(others), []).append(row)
    return list(groups.values())


def _of_cells(published: Published, rows: Sequence[Mapping[str, Any]], setting: str) -> Beside:
    done = [row for row in rows if row["state"] == "done"]
    values = [np.atleast_1d(row[published.quantity]) for row in done if row[published.quantity] is not None]
    if not values:
        lost = sum(row["state"] == "diverged" for row in rows)
        reason = f"{plural(lost, 'cell')} diverged" if lost else f"{published.quantity} was not evaluated"
        return Beside(published, "no number", setting=setting, reason=reason)
    table = np.stack(values).astype(np.float64)  # (seeds, numbers)
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    mean = table.mean(axis=0)
    by_seed = {row["seed"]: float(row[published.quantity]) for row in done} if table.shape == (len(done), 1) else {}
    if len(table) >= MIN_SEEDS:
        half = t_half_width(table)
        low, high = tuple((mean - half).tolist()), tuple((mean + half).tolist())
    return _judged(published, tuple(mean.tolist()), low, high, len(table), setting, done, by_seed)


def _of_curve(published: Published, curve: Curve, known: Mapping[str, Mapping[str, Any]], setting: str) -> Beside:
    critical = getattr(curve.transition, published.quantity)
    if critical.value is None:
        return Beside(published, "no number", setting=setting, reason=critical.reason)
    rows = [known[name] for name in curve.cell_ids.ravel() if name and known[name]["state"] == "done"]
    ends = (critical.low,), (critical.high,)
    return _judged(published, (critical.value,), *ends, len(critical.seeds), setting, rows)


def _judged(
    published: Published,
    value: tuple[float, ...],
    low: tuple[float, ...],
    high: tuple[float, ...],
    seeds: int,
    setting: str,
    rows: Sequence[Mapping[str, Any]],
    by_seed: Mapping[int, float] | None = None,
) -> Beside:
    if published.value:
        difference = tuple(float(a - b) for a, b in zip(value, published.value, strict=True))
    else:
        assert published.interval is not None  # one of the two is given
        first, last = published.interval
        difference = tuple(float(min(v - first, 0.0) + max(v - last, 0.0)) for v in value)
    within = all(abs(each) <= published.margin + 1e-12 for each in difference)
    return Beside(
        published, "within" if within else "outside", value, low, high, difference, seeds, setting,
        _differences(published, rows, seeds), by_seed=by_seed or {},
    )  # fmt: skip


def _differences(published: Published, rows: Sequence[Mapping[str, Any]], seeds: int) -> tuple[str, ...]:
    """Each condition that is not the one published, steps first: `steps 10,000 here, 1,000,000 there`."""
    last = len(MEASURED)
    place = {name: index for index, name in enumerate(MEASURED)} | {SEEDS: last + 1}
    said = []
    for name in sorted(published.conditions, key=lambda name: place.get(name, last)):
        there = published.conditions[name]
        here = Counter([seeds]) if name == SEEDS else Counter(_condition(row, name) for row in rows)
        if set(here) != {there}:
            values = " and ".join(_text(value) for value in sorted(here, key=str))
            said.append(f"{name.replace('_', ' ')} {values} here, {_text(there)} there")
    return tuple(said)


def _condition(row: Mapping[str, Any], name: str) -> Any:
    """What a condition is in a row; one from before the field existed is at its default."""
    return row[MEASURED[name]] if name in MEASURED else row["fields"].get(name, _USUAL.get(name))


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
