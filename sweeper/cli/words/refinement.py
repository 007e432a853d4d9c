"""Where the refinement of each curve stands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.wording import plural


def refinement_lines(curves: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per curve, from the plain values of `sweeper.refine.ask.Proposal`."""
    lines = []
    for curve in curves:
        now = "no interval yet" if curve["half_width"] is None else f"±{curve['half_width']:.2g}"
        spent = f"{curve['cells']} of at most {plural(curve['most_cells'], 'cell')}"
        lines.append(
            f"refining {curve['curve']}: {now} (±{curve['half_width_wanted']:g} in log(1 − ρ) wanted), {spent}; "
            + _next_step(curve)
        )
    return lines


def _next_step(curve: Mapping[str, Any]) -> str:
    if not curve["next"]:
        return {"met": "done", "spent": "done: ", "stuck": "done: ", "wait": "waiting: "}[curve["state"]] + (
            "" if curve["state"] == "met" else curve["why"]
        )
    seeds: dict[float, list[int]] = defaultdict(list)
    for cell in curve["next"]:
        seeds[cell["rho"]].append(cell["seed"])
    named = [f"ρ = {rho:g} (seed {', '.join(map(str, each))})" for rho, each in seeds.items()]
    return f"next {', '.join(named)}, because {curve['why']}"
