"""The tables of a report: critical values, one row per curve and kind, and the points of the curves behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sweeper.analysis.checks import PLACES, check
from sweeper.analysis.curves import Curve
from sweeper.analysis.shapes import Fit, mean_weights, tied
from sweeper.analysis.split import alive


def critical_table(
    curves: Sequence[Curve], order_parameter: str = "kl_top", history: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per curve and kind (onset, midpoint).

    `control` names the control parameter (`rho`), in which are `critical`, its 95 % interval `low`, `high`, and the
    value that counts as uncollapsed, `reference`. `resolved` says whether the grid resolves the curve there; if not,
    it drops within one step, and the interval is a bracket of grid points with `critical` in its middle. `low_smooth`,
    `high_smooth`, `low_gap`, `high_gap`, `low_wide`, `high_wide`, `per_seed`, `per_seed_low`, `per_seed_high`: see
    `sweeper.analysis.critical.Critical`. Where there is no number, `reason` says why, and `bound` is what is known all
    the same; `warnings` say what to know beside a number. `at_5_percent`, `at_20_percent`: where the curve has risen
    that far instead of 10 %, and `critical_other_reference`: the onset if `other_reference` counts as uncollapsed.
    `floor` and `height` (at the reference) are in the order parameter's unit; `floor_points` are the control
    parameter's values whose mean is the floor. `weight_*` are Akaike weights of the fitted families, `family` the
    heaviest, `tie` those that explain the curve as well (None if it is alone); `critical_family` the family's own
    critical value, mean over seeds in the axis's coordinate, `critical_family_near` the same with the far third of the
    window left out, and `width` how sharp it is (`shapes.WIDTHS`), in that coordinate.

    Checks (`sweeper.analysis.checks`): `variance_peak`, `steepest_slope`, `change_point`, each with `…_agrees`;
    `drop_in_spreads`; `critical_half` and `critical_end`, the onset at `half_step` and at the end from the history, and
    `converged`. `steps_min` < `steps_max` says that the curve's cells were not trained alike.
    """
    rows = []
    for curve in curves:
        weights = mean_weights(curve.fits)
        family = max(weights, key=lambda name: weights[name]) if weights else None
        widths = [fit[family].width for fit in curve.fits if family and fit and fit[family].width is not None]
        checks = check(curve, history, order_parameter)
        half = checks.half_steps
        for critical in curve.transition.criticals:
            rows.append(
                {
                    "data": curve.data,
                    "architecture": curve.architecture,
                    "objective": curve.objective,
                    "variant": curve.variant,
                    "order_parameter": order_parameter,
                    "kind": critical.kind,
                    "control": curve.axis.name,
                    "reference": curve.reference,
                    "critical": critical.value,
                    "low": critical.low,
                    "high": critical.high,
                    "resolved": critical.resolved,
                    "low_smooth": critical.low_smooth,
                    "high_smooth": critical.high_smooth,
                    "low_gap": critical.low_gap,
                    "high_gap": critical.high_gap,
                    "low_wide": critical.low_wide,
                    "high_wide": critical.high_wide,
                    "bound": critical.bound,
                    "seeds": len(critical.seeds),
                    "per_seed": list(critical.per_seed),
                    "per_seed_low": list(critical.per_seed_low),
                    "per_seed_high": list(critical.per_seed_high),
                    "reason": critical.reason,
                    "warnings": list(critical.warnings),
                    **_convention(curve, critical.kind),
                    "floor": curve.transition.floor,
                    "height": curve.transition.height,
                    "floor_points": list(curve.transition.collapsed),
                    "n_diverged": critical.n_diverged,
                    "n_missing": critical.n_missing,
                    "steps_min": curve.steps[0],
                    "steps_max": curve.steps[1],
                    "family": family,
                    "tie": " ".join(tied(weights)) or None,
                    "critical_family": _mean_place(curve, curve.fits, family),
                    "critical_family_near": _mean_place(curve, curve.fits_near, family),
                    "width": float(np.mean([width for width in widths if width is not None])) if widths else None,
                    **{f"weight_{name}": weights.get(name) for name in ("broken", "onset", "logistic", "flat")},
                    **{name: getattr(checks, name) for name in PLACES},
                    **{f"{name}_agrees": checks.agrees[critical.kind][name] for name in PLACES},
                    "drop_in_spreads": checks.drop_in_spreads,
                    "half_step": half.step if half else None,
                    "critical_half": half.critical if half else None,
                    "critical_end": half.critical_end if half else None,
                    "converged": half.converged if half else None,
                }
            )
    table = pd.DataFrame(rows)
    kinds = ("critical", "low", "high", "bound", "height", "reference", "weight_", "width", "drop_", "at_", "other_")
    numbers = [name for name in table if name.startswith(kinds) or name in (*PLACES, "floor")]
    words = [name for name in table if name.endswith("_agrees") or name in ("converged", "resolved")]
    types = {**dict.fromkeys(numbers, "float64"), **dict.fromkeys(words, "boolean"), "half_step": "Int64"}
    return table.astype(types)


def _convention(curve: Curve, kind: str) -> dict[str, float | None]:
    """What the onset would be by other conventions; None for the midpoint."""
    found = curve.transition
    low, high = found.band if found.band and kind == "onset" else (None, None)
    other = (found.other_reference, found.other_onset) if kind == "onset" else (None, None)
    return {
        "at_5_percent": low,
        "at_20_percent": high,
        "other_reference": other[0],
        "critical_other_reference": other[1],
    }


def _mean_place(curve: Curve, fits: Sequence[dict[str, Fit]], family: str | None) -> float | None:
    """The family's own critical value, mean over seeds in the axis's coordinate."""
    fitted = [fit[family].critical for fit in fits if family and fit and fit[family].critical is not None]
    places = curve.axis.coordinate(np.array(fitted, dtype=np.float64))
    return float(curve.axis.value(places.mean())) if len(places) else None


def points_table(curves: Sequence[Curve]) -> pd.DataFrame:
    """One row per curve and point, its place in the column named as the control parameter (`rho`): mean, standard
    deviation and standard error over seeds, the share of seeds that are `alive` (`sweeper.analysis.split`), and what
    gave no value."""
    rows = []
    for curve in curves:
        for index, value in enumerate(curve.control):
            column = curve.values[:, index]
            here = column[np.isfinite(column)]
            deviation = float(here.std(ddof=1)) if len(here) > 1 else np.nan
            lost = int(curve.diverged[:, index].sum())
            rows.append(
                {
                    "data": curve.data,
                    "architecture": curve.architecture,
                    "objective": curve.objective,
                    "variant": curve.variant,
                    curve.axis.name: float(value),
                    "mean": float(here.mean()) if len(here) else np.nan,
                    "deviation": deviation,
                    "se": deviation / np.sqrt(len(here)) if len(here) else np.nan,
                    "seeds": len(here),
                    "alive": alive(curve, index),
                    "n_diverged": lost,
                    "n_missing": len(column) - len(here) - lost,
                }
            )
    return pd.DataFrame(rows)


def write_table(table: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    """Write `folder/name.parquet` and `.csv` (lists joined by spaces); returns the paths. Raises OSError."""
    parquet, text = folder / f"{name}.parquet", folder / f"{name}.csv"
    with open(parquet, "wb") as file:  # opened here: Arrow knows only paths that are text
        table.to_parquet(file, index=False)
    flat = table.copy()
    for column in flat:
        if flat[column].map(lambda value: isinstance(value, list)).any():
            flat[column] = [_joined(value) if isinstance(value, list) else value for value in flat[column]]
    flat.to_csv(text, index=False, float_format="%.9g")
    return [parquet, text]


def _joined(values: Sequence[float | str]) -> str:
    """A list as one text: numbers joined by spaces, sentences by semicolons."""
    words = [value if isinstance(value, str) else f"{value:.9g}" for value in values]
    return ("; " if any(isinstance(value, str) for value in values) else " ").join(words)
