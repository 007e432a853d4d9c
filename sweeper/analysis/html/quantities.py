"""What a finished cell can show on a chart: KL terms, active units and bounds, layer by layer."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sweeper.analysis.figures.page import quantity

Value = partial[float | None]  # of a row of `cells`; its first argument is the column


class Part(NamedTuple):
    """One measured number of a cell. `name` is unique on the page, `dash` the line's pattern."""

    name: str
    words: str
    dash: int
    of: Value


class Quantity(NamedTuple):
    """Numbers that share an axis. `log`: a logarithmic scale makes sense; `on`: the part shown at first."""

    name: str
    words: str
    label: str
    log: bool
    parts: list[Part]
    on: str


def quantities(
    order_parameter: str, layers: int, information: bool = False, bits: bool = False, classes: bool = False
) -> list[Quantity]:
    """What a row of `cells` can show, the order parameter first; `layers` is the most that a network has.

    information: whether some row has the mutual information, which is measured on request; bits: bits per dimension;
    classes: the accuracy of a classification.

    Parts are named as order parameters are (`kl_top`, `active_units_1`). The top layers are compared with each other,
    and so are layers 1, 2, … below them, counted from the data up.
    """
    kl = [
        Part("kl_top", "top layer", 0, partial(_column, "kl_top")),
        *_below_top("kl", "kl_per_layer", layers),
        Part("kl_total", "all layers", 1, partial(_column, "kl_total")),
    ]
    counts = {
        name: [Part(f"{name}_top", "top layer", 0, partial(_entry, name, None)), *_below_top(name, name, layers)]
        for name in ("active_units", "active_units_one_pass", "mutual_information", "classification_accuracy")
    }
    shares_right = counts.pop("classification_accuracy")
    words_right = "classification accuracy"
    right = Quantity("classification_accuracy", words_right, words_right, False, shares_right, shares_right[0].name)
    own = counts.pop("mutual_information")
    mutual = Quantity("mutual_information", "mutual information", "mutual information (nats)", True, own, own[0].name)
    words = {"elbo": "ELBO", "iw_bound": "importance-weighted bound", "reconstruction": "reconstruction"}
    bounds = [Part(name, said, dash, partial(_column, name)) for dash, (name, said) in enumerate(words.items())]
    of_bits = {"bits_per_dim": "of the ELBO", "bits_per_dim_iw": "of the importance-weighted bound"}
    shares = [Part(name, said, dash, partial(_column, name)) for dash, (name, said) in enumerate(of_bits.items())]
    in_bits = Quantity("bits", "bits per dimension", "bits per dimension", False, shares, "bits_per_dim")
    found = [
        Quantity("kl", "KL terms", "KL term (nats)", True, kl, "kl_top"),
        *(Quantity(n, _spoken(n), _spoken(n), False, parts, f"{n}_top") for n, parts in counts.items()),
        *([mutual] if information else []),
        *([right] if classes else []),
        Quantity("bounds", "bounds of log p(x)", "nats per image", False, bounds, "elbo"),
        *([in_bits] if bits else []),
    ]
    for place, known in enumerate(found):
        if order_parameter in [part.name for part in known.parts]:
            return [known._replace(on=order_parameter), *found[:place], *found[place + 1 :]]
    label = quantity(order_parameter)
    part = Part(order_parameter, label, 0, partial(_column, order_parameter))
    return [Quantity("order", label, label, True, [part], part.name), *found]


def _spoken(name: str) -> str:
    return name.replace("_one_pass", " by one pass").replace("_", " ")


def _below_top(name: str, column: str, layers: int) -> list[Part]:
    """Layers L − 1 … 1, each with a pattern of its own as far as there are patterns."""
    return [
        Part(f"{name}_{layer}", f"layer {layer}", 2 + (layer - 1) % 5, partial(_entry, column, layer))
        for layer in range(layers - 1, 0, -1)
    ]


def _column(name: str, row: Any) -> float | None:
    return getattr(row, name, None)


def _entry(name: str, layer: int | None, row: Any) -> float | None:
    """The value of one layer below the top, or of the top (None); None where the row has none."""
    values = getattr(row, name, None)
    if values is None or np.ndim(values) == 0:
        return None
    if layer is None:
        return float(values[-1]) if len(values) else None
    return float(values[layer - 1]) if layer < len(values) else None
