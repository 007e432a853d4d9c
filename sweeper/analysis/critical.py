"""Where the order parameter vanishes: onset and midpoint of one curve, with an interval or the reason for none.

A curve is the order parameter (top-layer KL, nats) over a control parameter (ρ), once per seed. All is done in the
axis's coordinate x, which ascends away from collapse (`sweeper.parameters.control`): for ρ, x = log u with
u = 1 − ρ, and ρ = 1 (x = −∞) is the collapsed end:

    level     floor + q (value at the reference − floor), q = 0.1 for the onset, 0.5 for the midpoint; per seed
    crossing  where the seed's monotone curve crosses the level
    value     the mean of the seeds' crossings in x, back-transformed: for ρ it never passes 1
    interval  95 %, over seeds, joined with what the grid leaves open (`sweeper.analysis.intervals`)

The rules, each with its reason:

- *Window*: the grid from the reference to the collapsed end. What the curve does farther away (for ρ, under stronger
  smoothing) has no say.
- *Monotone curve*: see `sweeper.analysis.monotone`. It crosses every level once, and equals the data wherever they are
  monotone. Where the mean curve falls on the way from collapse to the reference by more than a tenth of its range, and
  by more than the seeds scatter, there is no number: a monotone curve through it would be another curve.
- *Floor*: the collapsed points are the one nearest to collapse (ρ = 1, or the largest ρ) and the grid points next to it
  whose mean over seeds lies above that one's by no more than two standard errors of such a difference, this tolerance
  being held between 0.5 % and 2.5 % of the drop. The points are chosen for all seeds together (a choice seed by seed
  would pick low noise) and averaged per seed. With little noise that is ρ = 1 and its equals; a rising tail cannot lift
  the floor.
- *Resolved or not*: where a seed's rise over the gap it crosses in and the two steps beside lies mostly in that gap
  (`MAX_SHARE` of the slopes), interpolation says nothing about where in the gap the crossing is. If that is so for half
  of the seeds or more, the bracket of the gaps is the headline, its middle the value, and `resolved` is false.
- *Physical end*: nothing can be interpolated between ρ = 1 and the last point before it, so where a seed's
  crossing lies there, no number is given but a `bound`: the mean over seeds with such crossings put at that point, plus
  t(S − 1) standard errors. It errs to the safe side, as the crossings lie beyond.
- *A floor*: a number needs a second point on it, above the first by no more than 2.5 % of the drop and two standard
  errors (these being at most as much again), and two points below the crossing. Else a curve that falls all the way,
  such as a power law, would have an onset.
- *One value*: seeds whose crossings form two groups far apart have no critical value in common; a single seed apart
  from all others is named in the warnings (`sweeper.analysis.modes`).

How often intervals hold the truth is measured on planted curves: see docs/transition.md. Without the part that
interpolation leaves open the interval of an onset covers 92, 90 and 88 % at 3, 5 and 10 seeds, and by chords alone 91,
89 and 84 %, because the bias of an interpolation is the same in every seed and no number of seeds averages it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sweeper.analysis.critical_value import critical_value
from sweeper.analysis.floor import MAX_TAIL, collapsed, falls, flat, noise, tolerance
from sweeper.analysis.monotone import Monotone
from sweeper.analysis.transition import FRACTIONS, Critical, Transition
from sweeper.parameters.control import RHO, Array, Axis

BAND = (0.05, 0.20)  # other levels at which an onset could be said to be
MIN_SEEDS = 3
MIN_POINTS = 4  # of a seed's curve within the window
MAX_FLOOR = 0.05  # of the value at the reference: above it the floor has not collapsed


def find_transition(
    control: ArrayLike,
    values: ArrayLike,
    reference: float | None = None,
    seeds: Sequence[int] | None = None,
    diverged: ArrayLike | None = None,
    axis: Axis = RHO,
) -> Transition:
    """Onset and midpoint of one curve.

    control: (points,), each once, any order. values: (seeds, points), the order parameter, NaN where a cell gave none.
    reference: where the curve counts as uncollapsed [the axis's, 0.8 for ρ]; between grid points it is interpolated in
    x. seeds: their names [0 … S − 1]. diverged: (seeds, points), true where a cell diverged; other gaps are missing
    cells. axis: of the control parameter [ρ].
    Raises ValueError on wrong shapes or values of the control parameter, and where no reference is given or known.
    A curve that allows no number is not an error: see `reason`.
    """
    control = np.asarray(control, dtype=np.float64)
    values = np.asarray(values, dtype=np.float64)
    if control.ndim != 1 or values.ndim != 2 or values.shape[1] != len(control):
        raise ValueError(
            f"values should have shape (seeds, {control.size}), got {values.shape} for {axis.name} of {control.shape}"
        )
    x = axis.coordinate(control)
    if len(x) == 0 or len(set(x.tolist())) < len(x):
        raise ValueError(f"{axis.name} should hold distinct numbers, got {control.tolist()}")
    reference = axis.reference if reference is None else reference
    if reference is None:
        raise ValueError(f"reference: which {axis.name} counts as uncollapsed? It has no default")
    names = list(range(len(values))) if seeds is None else [int(seed) for seed in seeds]
    lost = np.zeros(values.shape, bool) if diverged is None else np.asarray(diverged, bool)
    if len(names) != len(values) or lost.shape != values.shape:
        raise ValueError(f"seeds and diverged should match values of shape {values.shape}")
    order = np.argsort(x)  # from collapse on: x and the order parameter ascend
    control, x, values, lost = control[order], x[order], np.where(lost, np.nan, values)[:, order], lost[:, order]
    values[~np.isfinite(values)] = np.nan
    found = _transition(control, x, values, reference, tuple(names), axis)
    n_diverged, n_missing = int(lost.sum()), int((np.isnan(values) & ~lost).sum())
    onset, midpoint = (replace(each, n_diverged=n_diverged, n_missing=n_missing) for each in found.criticals)
    found = replace(found, onset=onset, midpoint=midpoint)
    return found if onset.value is None else _with_other_reference(found, control, x, values, axis)


def _transition(
    control: Array, x: Array, values: Array, reference: float, names: tuple[int, ...], axis: Axis
) -> Transition:
    """`find_transition` of a curve whose points ascend in x."""

    def refused(reason: str, **known: object) -> Transition:
        onset, midpoint = (Critical(kind, reason=reason) for kind in FRACTIONS)
        return Transition(reference, onset, midpoint, **known)  # type: ignore[arg-type]

    x_ref = float(axis.coordinate(reference))
    finite = x[np.isfinite(x)]
    if len(finite) == 0 or not finite[0] <= x_ref <= finite[-1]:
        return refused(f"reference outside the grid: {axis.at(reference)} is not within {_span(axis, control, x)}")
    window = x <= x_ref
    height = np.array([_at(x, row, x_ref) for row in values])
    enough = np.isfinite(values[:, window]).sum(1) >= MIN_POINTS
    usable = np.isfinite(values[:, 0]) & np.isfinite(height) & enough
    if usable.sum() < MIN_SEEDS:
        return refused(
            f"fewer than {MIN_SEEDS} usable seeds: {int(usable.sum())} of {len(names)} have a value at "
            f"{axis.at(control[0])}, at the reference {axis.at(reference)} and at {MIN_POINTS} points or more "
            f"from there to the collapsed end"
        )
    names = tuple(name for name, use in zip(names, usable, strict=True) if use)
    height, curves = height[usable], values[usable]
    inner = window & (x < x_ref)
    grid, at_grid = np.append(x[inner], x_ref), np.column_stack([curves[:, inner], height])
    known: dict[str, Any] = {"height": float(height.mean())}
    fall = falls(axis, grid, at_grid)
    if fall:
        return refused(fall, **known)
    monotone = [Monotone.of(grid, row) for row in at_grid]
    n_collapsed = collapsed(curves[:, window], tolerance(curves[:, 0], height))
    floor = np.nanmean(curves[:, :n_collapsed], axis=1)
    known |= {"floor": float(floor.mean()), "collapsed": tuple(control[:n_collapsed].tolist())}
    drop = height - floor
    if flat(drop, at_grid, monotone):
        return refused(
            f"flat curve: {height.mean():.3g} at the reference {axis.at(reference)} is not above the floor "
            f"{floor.mean():.3g} in every seed and by more than the noise of the curves or the scatter of the seeds",
            **known,
        )
    if floor.mean() > MAX_FLOOR * height.mean():
        farther = np.nanmean(curves[:, x > x_ref], axis=0) if (x > x_ref).any() else np.zeros(0)
        if len(farther) and np.nanmax(farther) * MAX_FLOOR >= floor.mean():
            at = axis.at(control[x > x_ref][int(np.argmax(farther * MAX_FLOOR >= floor.mean()))])
            near = f"reference too near the transition: {height.mean():.3g} at {axis.at(reference)} is less than "
            return refused(f"{near}{1 / MAX_FLOOR:.0f} times the floor {floor.mean():.3g}; take {at}", **known)
        return refused(
            f"no collapsed floor: {floor.mean():.3g} at {axis.at(control[0])} is {floor.mean() / height.mean():.0%} of "
            f"{height.mean():.3g} at the reference {axis.at(reference)} (at most {MAX_FLOOR:.0%})",
            **known,
        )
    allowed = MAX_TAIL * float(drop.mean())
    n_tail = collapsed(curves[:, window], allowed + min(noise(curves[:, 0]), allowed))
    known["tail"] = tuple(control[:n_tail][np.isfinite(curves[:, :n_tail]).any(axis=0)].tolist())
    onset, midpoint = (
        critical_value(kind, names, axis, x, [c.crossing(level) for c, level in zip(monotone, levels, strict=True)],
                       len(known["tail"]))
        for kind, levels in ((kind, floor + fraction * drop) for kind, fraction in FRACTIONS.items())
    )  # fmt: skip
    if onset.resolved:
        known["band"] = tuple(_mean_crossing(axis, monotone, floor + fraction * drop) for fraction in BAND)
    return Transition(reference, onset, midpoint, **known)


def _span(axis: Axis, control: Array, x: Array) -> str:
    inner = control[np.isfinite(x)]
    if len(inner) == 0:
        return f"{axis.at(control[0])}, the only value"
    return f"{axis.symbol} = {inner.min():.6g} … {inner.max():.6g}"


def _at(x: Array, row: Array, x_ref: float) -> float:
    """The seed's value at the reference: its own cell's, or straight between the two grid points around it."""
    if np.any(x == x_ref):
        return float(row[x == x_ref][0])
    above = int(np.argmax(x > x_ref))
    return float(np.interp(x_ref, x[above - 1 : above + 1], row[above - 1 : above + 1]))


def _mean_crossing(axis: Axis, monotone: Sequence[Monotone], levels: Array) -> float:
    """The mean of the seeds' crossings by interpolation, as a value of the control parameter."""
    crossings = [curve.crossing(level).middle for curve, level in zip(monotone, levels, strict=True)]
    return float(axis.value(np.mean(crossings)))


def _with_other_reference(found: Transition, control: Array, x: Array, values: Array, axis: Axis) -> Transition:
    """The transition with the onset at another reference beside it."""
    assert found.onset.value is not None
    onset, x_ref = (float(axis.coordinate(value)) for value in (found.onset.value, found.reference))
    between = np.flatnonzero((x > onset) & (x < x_ref))
    if not len(between):
        return found
    other = float(control[between[int(np.argmin(np.abs(x[between] - (onset + x_ref) / 2)))]])
    again = _transition(control, x, values, other, tuple(range(len(values))), axis)
    return replace(found, other_reference=other, other_onset=again.onset.value)
