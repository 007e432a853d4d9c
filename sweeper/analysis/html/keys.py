"""How curves are told apart on a page: the keys of what belongs to one, the controls that choose, and the styles."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.analysis.curves import Curve
from sweeper.analysis.html.blocks import Block, control, option

AT_ONCE = 6  # curves that a chart shows before anything is switched
_KEYS = {"data": "Data set", "architecture": "Architecture", "variant": "Variant"}


class CurveKeys:
    """The keys of some curves: `data`, `architecture` and `variant`, each the place of its value among all."""

    def __init__(self, curves: Sequence[Curve]):
        self.curves = curves
        self.values = {key: list(dict.fromkeys(getattr(curve, key) for curve in curves)) for key in _KEYS}

    def of(self, curve: Curve) -> dict[str, str]:
        """The keys of whatever belongs to `curve`. A key in which no curves differ is left out."""
        return {key: str(v.index(getattr(curve, key))) for key, v in self.values.items() if len(v) > 1}

    def controls(self) -> list[Block]:
        """A control for each key in which curves differ. No more than six curves are on."""
        on = self._on()
        return [
            control(
                key, _KEYS[key], "check", [option(str(i), v or "–", str(i) in on[key]) for i, v in enumerate(values)]
            )
            for key, values in self.values.items()
            if len(values) > 1
        ]

    def _on(self) -> dict[str, set[str]]:
        """Values that switch on as many curves as are readable at once: of all data sets, then of more networks."""
        keys = sorted((self.of(curve) for curve in self.curves), key=lambda of: int(of.get("architecture", 0)))
        on: dict[str, set[str]] = {key: set() for key in _KEYS}
        for each in keys:
            wider = {key: values | {each[key]} if key in each else values for key, values in on.items()}
            if sum(all(other[key] in wider[key] for key in other) for other in keys) <= AT_ONCE:
                on = wider
        return on


def curve_style(index: int) -> Block:
    """Colour and marker of curve `index`: the figures' six, the second six with empty markers."""
    return {"colour": index % 6, "marker": index % 6} | ({"empty": True} if index // 6 % 2 else {})
