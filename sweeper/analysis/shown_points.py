"""Which points of a curve are shown where only a few can be."""

from __future__ import annotations

import numpy as np

from sweeper.analysis.curves import Curve


def chosen(curve: Curve) -> list[int]:
    """Places on the curve, ascending: its reference, the points beside its onset (its middle, where there is none), and
    the one nearest to collapse."""
    x = curve.axis.coordinate(curve.control)
    order = np.argsort(x)  # from collapse on
    at = int(np.argmin(np.abs(x - float(curve.axis.coordinate(curve.reference)))))
    onset = curve.transition.onset.value
    beyond = int((x < float(curve.axis.coordinate(onset))).sum()) if onset is not None else len(x) // 2
    beside = [int(order[i]) for i in (beyond - 1, beyond) if 0 <= i < len(x)]
    return sorted({int(order[0]), *beside, at})
