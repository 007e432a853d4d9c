"""The tables of a report: critical ρ, one row a curve and kind, and the points of the curves behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sweeper.analysis.curves import Curve
from sweeper.analysis.families import mean_weights


def critical_table(curves: Sequence[Curve], order_parameter: str = "kl_top") -> pd.DataFrame:
    """One row a curve and kind (onset, midpoint).

    `rho` with the 95 % t interval `low`, `high`, and `low_wide`, `high_wide` (at least half a grid step each way);
    `reason` instead where there is no number. `floor` and `reference` are in the order parameter's unit. `weight_*`
    are Akaike weights of the fitted families, `family` the heaviest and `rho_family` its critical ρ, mean of log(1 − ρ)
    over seeds. `steps_min` < `steps_max` says that the curve's cells were not trained alike.
    """
    rows = []
    for curve in curves:
        weights = mean_weights(curve.fits)
        family = max(weights, key=lambda name: weights[name]) if weights else None
        fitted = [fit[family].rho for fit in curve.fits if family and fit and fit[family].rho is not None]
        gap = np.log([1 - rho for rho in fitted if rho is not None and rho < 1])
        for critical in curve.transition.criticals:
            rows.append(
                {
                    "data": curve.data,
                    "architecture": curve.architecture,
                    "objective": curve.objective,
                    "variant": curve.variant,
                    "order_parameter": order_parameter,
                    "kind": critical.kind,
                    "rho_ref": curve.rho_ref,
                    "rho": critical.rho,
                    "low": critical.low,
                    "high": critical.high,
                    "low_wide": critical.low_wide,
                    "high_wide": critical.high_wide,
                    "seeds": len(critical.seeds) if critical.rho is not None else 0,
                    "per_seed": list(critical.per_seed),
                    "reason": critical.reason,
                    "floor": curve.transition.floor,
                    "reference": curve.transition.reference,
                    "n_diverged": critical.n_diverged,
                    "n_missing": critical.n_missing,
                    "steps_min": curve.steps[0],
                    "steps_max": curve.steps[1],
                    "family": family,
                    "rho_family": float(1 - np.exp(gap.mean())) if len(gap) else None,
                    **{f"weight_{name}": weights.get(name) for name in ("broken", "onset", "logistic", "flat")},
                }
            )
    table = pd.DataFrame(rows)
    numbers = [name for name in table if name.startswith(("rho", "low", "high", "floor", "reference", "weight_"))]
    return table.astype(dict.fromkeys(numbers, "float64"))


def points_table(curves: Sequence[Curve]) -> pd.DataFrame:
    """One row a curve and ρ: mean, standard deviation and standard error over seeds, and what gave no value."""
    rows = []
    for curve in curves:
        for index, rho in enumerate(curve.rho):
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
                    "rho": float(rho),
                    "mean": float(here.mean()) if len(here) else np.nan,
                    "deviation": deviation,
                    "se": deviation / np.sqrt(len(here)) if len(here) else np.nan,
                    "seeds": len(here),
                    "n_diverged": lost,
                    "n_missing": len(column) - len(here) - lost,
                }
            )
    return pd.DataFrame(rows)


def write_table(table: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    """Write `folder/name.parquet` and `.csv` (lists joined by spaces); returns the paths. Raises OSError."""
    parquet, text = folder / f"{name}.parquet", folder / f"{name}.csv"
    table.to_parquet(parquet, index=False)
    flat = table.copy()
    for column in flat:
        if flat[column].map(lambda value: isinstance(value, list)).any():
            flat[column] = [" ".join(f"{number:.9g}" for number in value) for value in flat[column]]
    flat.to_csv(text, index=False, float_format="%.9g")
    return [parquet, text]
