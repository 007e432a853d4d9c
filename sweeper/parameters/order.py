"""Order parameters: the quantity whose collapse is looked for, of any layer.

    kl_top, kl_total, <quantity>_<layer>        quantity: kl, kl_per_unit, active_units, relative_activity,
                                                mutual_information, or mi for short
                                                layer: top, or 1 … L from the data up
    validation_<one of these>                   on validation images, from the evaluation along the way at the last step

`kl_<layer>` below the top is the term E[log q − log p] of that layer, which can be negative: only the top layer's is a
KL divergence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from sweeper.parameters.control import Array

if TYPE_CHECKING:  # study files name order parameters, and need no tables for it
    import pandas as pd

QUANTITIES = {  # words, unit, whether the history has it
    "kl": ("KL", "nats", True),
    "kl_per_unit": ("KL per unit", "nats per unit", True),
    "active_units": ("active units", "units", False),
    "relative_activity": ("relative activity", "share of units", False),
    "mutual_information": ("mutual information between x and z", "nats", False),
}
SHORT = {"mi": "mutual_information"}
ON_REQUEST = ("mutual_information",)  # measured where the evaluation's setting of this name is not 0
VALIDATION = "validation_"
PATTERN = rf"^({VALIDATION})?(kl_total|({'|'.join([*QUANTITIES, *SHORT])})_(top|[1-9][0-9]?))$"


@dataclass(frozen=True)
class OrderParameter:
    """One quantity of one layer. `layer`: 1 … L from the data up, None for the top layer and for `kl_total`.

    `on_validation`: on validation images, as the history has it, and not on those of the final evaluation.
    """

    name: str
    quantity: str
    layer: int | None
    on_validation: bool = False

    @property
    def unit(self) -> str:
        """The unit of the order parameter; nats are per image."""
        return "nats" if self.quantity == "kl_total" else QUANTITIES[self.quantity][1]

    @property
    def words(self) -> str:
        """`KL of the top layer`."""
        where = " on validation images" if self.on_validation else ""
        if self.quantity == "kl_total":
            return f"total KL{where}"
        layer = "the top layer" if self.layer is None else f"layer {self.layer}"
        return f"{QUANTITIES[self.quantity][0]} of {layer}{where}"

    @property
    def on_request(self) -> str | None:
        """The setting of the evaluation that asks for it; None: every evaluation has it."""
        return self.quantity if self.quantity in ON_REQUEST else None

    @property
    def label(self) -> str:
        """`KL of the top layer (nats)`."""
        return f"{self.words} ({self.unit})"

    @property
    def in_history(self) -> bool:
        """Whether it is measured along the way, not only in the final evaluation."""
        return self.quantity == "kl_total" or QUANTITIES[self.quantity][2]

    def of(self, rows: pd.DataFrame) -> Array:
        """(rows,), the value in each row of a store's cells, or of its history with their `latents`; NaN where a row
        has none, which is also where the network has fewer layers."""
        index = -1 if self.layer is None else self.layer - 1
        if self.quantity in ("kl_total", "kl", "kl_per_unit"):
            top = self.quantity != "kl_total" and self.layer is None
            column = "kl_top" if top else "kl_total" if self.quantity == "kl_total" else "kl_per_layer"
            values = _numbers(rows[column], index) if column == "kl_per_layer" else rows[column].to_numpy(np.float64)
            return values / _numbers(rows["latents"], index) if self.quantity == "kl_per_unit" else values
        return _numbers(rows[self.quantity], index)


def parse_order_parameter(name: str) -> OrderParameter:
    """The order parameter of that name, called in full. Raises ValueError on any other name, with the nearest."""
    found = re.match(PATTERN, name) if isinstance(name, str) else None
    if found is None:
        known = ["kl_total", *(f"{quantity}_top" for quantity in (*QUANTITIES, *SHORT))]
        near = get_close_matches(str(name), known, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"order_parameter should be kl_top, kl_total or a quantity ({', '.join([*QUANTITIES, *SHORT])}) with _ and "
            f"a layer (top, 1, 2, …), as in active_units_2, each also with {VALIDATION} before it; got {name!r}{hint}"
        )
    validation = found[1] is not None
    if found[3] is None:
        return OrderParameter(name, "kl_total", None, validation)
    quantity = SHORT.get(found[3], found[3])
    name = f"{found[1] or ''}{quantity}_{found[4]}"
    parameter = OrderParameter(name, quantity, None if found[4] == "top" else int(found[4]), validation)
    if validation and not parameter.in_history:
        raise ValueError(f"order_parameter {name}: {quantity} is not measured on validation images along the way")
    return parameter


def second_of(order_parameter: str, asked: str = "auto") -> str | None:
    """The order parameter to report beside the first: `asked`, or by default (`auto`) the active units of the layer of
    a KL, because a KL need not be information about the data. None where there is none."""
    if asked != "auto":
        return None if asked in ("none", order_parameter) else asked
    quantity, _, layer = order_parameter.rpartition("_")
    return f"active_units_{layer}" if quantity in ("kl", "kl_per_unit") and layer != "total" else None


def _numbers(lists: pd.Series, index: int) -> Array:
    """Entry `index` of each list of a column; NaN where there is no list or it is too short."""
    least = index + 1 if index >= 0 else -index
    return np.array([row[index] if np.ndim(row) and len(row) >= least else np.nan for row in lists], dtype=np.float64)
