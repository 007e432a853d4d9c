"""What a finished cell can show on a chart: KL terms, active units and bounds, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sweeper.analysis.figures.page import quantity


class Part(NamedTuple):
    """One measured number of a cell. `name` is unique on the page, `dash` the line's pattern."""

    name: str
    words: str
    dash: int
    of: Callable[[Any], float | None]


class Quantity(NamedTuple):
    """Numbers that share an axis. `log`: a logarithmic scale makes sense; `on`: the parts shown at first."""

    name: str
    words: str
    label: str
    log: bool
    parts: list[Part]
    on: tuple[str, ...]


def quantities(order_parameter: str, layers: int) -> list[Quantity]:
    """What a row of `cells` can show, the order parameter first; `layers` is the most that a network has."""

    def column(name: str) -> Callable[[Any], float | None]:
        return lambda row: getattr(row, name, None)

    def of_layers(name: str, column: str) -> list[Part]:
        top = Part(f"{name}.top", "top layer", 0, lambda row: _entry(row, column, None))
        return [top, *(_layer(name, column, layer) for layer in range(layers - 1, 0, -1))]

    kl = [*of_layers("kl", "kl_per_layer"), Part("kl_total", "all layers", 1, column("kl_total"))]
    kl[0] = Part("kl_top", "top layer", 0, column("kl_top"))
    bounds = [
        Part("elbo", "ELBO", 0, column("elbo")),
        Part("iw_bound", "importance-weighted bound", 1, column("iw_bound")),
        Part("reconstruction", "reconstruction", 2, column("reconstruction")),
    ]
    found = [
        Quantity("kl", "KL terms", "KL term (nats)", True, kl, ("kl_top",)),
        Quantity("active", "active units", "active units", False, of_layers("active", "active_units"), ("active.top",)),
        Quantity(
            "one_pass", "active units by one pass", "active units by one pass", False,
            of_layers("one_pass", "active_units_one_pass"), ("one_pass.top",),
        ),
        Quantity("bounds", "bounds of log p(x)", "nats an image", False, bounds, ("elbo",)),
    ]  # fmt: skip
    for place, known in enumerate(found):
        if order_parameter in [part.name for part in known.parts]:
            return [known._replace(on=(order_parameter,)), *found[:place], *found[place + 1 :]]
    own = Part(order_parameter, quantity(order_parameter), 0, column(order_parameter))
    return [Quantity("order", own.words, own.words, True, [own], (own.name,)), *found]


def _layer(name: str, column: str, layer: int) -> Part:
    return Part(f"{name}.{layer}", f"layer {layer}", 2 + (layer - 1) % 5, lambda row: _entry(row, column, layer))


def _entry(row: Any, column: str, layer: int | None) -> float | None:
    """The value of one layer below the top, or of the top (None); None where the row has none."""
    values = getattr(row, column, None)
    if values is None or np.ndim(values) == 0:
        return None
    if layer is None:
        return float(values[-1])
    return float(values[layer - 1]) if layer < len(values) else None
