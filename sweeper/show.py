"""What the commands print: plans, stores and reports, in words and as plain values for `--json`."""

from __future__ import annotations

import shlex
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.kernels.compiled import compiler
from sweeper.estimate import Cost
from sweeper.plan import Item, Plan
from sweeper.progress import living, share_of_work, stack_sentence
from sweeper.store import Damaged, Store
from sweeper.store.lock import describe
from sweeper.wording import duration, last_line, plural, size

if TYPE_CHECKING:
    from sweeper.analysis.prediction import Prediction
    from sweeper.analysis.report import Report
    from sweeper.compare import Compared
    from sweeper.merge import Merged
    from sweeper.run import Outcome

JSON_VERSION = 1  # of what --json prints
_ACTIONS = {
    "done": "already done",
    "diverged": "diverged earlier",
    "continue": "to continue",
    "evaluate": "to evaluate anew",
    "train": "to train",
    "wait": "to train after others",
}


def plan_lines(plan: Plan, store: Store | None, damaged: Sequence[Damaged] = ()) -> list[str]:
    """What a run will do."""
    study = plan.study
    counts = ", ".join(
        f"{plan.counts.get(action, 0):,} {words}"
        for action, words in _ACTIONS.items()
        if plan.counts.get(action) or action in ("done", "train")
    )
    lines = [f"{study.name}: {plural(len(plan.items), 'cell')} asked for ({study.steps:,} steps each), {counts}"]
    lines += [
        f"left alone: {fault}" if fault.left_alone else f"set aside and to be done again: {fault}" for fault in damaged
    ]
    if plan.missing:
        sizes = sorted({len(order.cells) for order in plan.orders})
        cells = plural(sizes[0], "cell") if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]} cells"
        where = "a GPU each" if plan.device == "cuda" else f"{plural(study.run.threads, 'thread')} each"
        workers = f"on {plural(plan.workers, 'worker')} ({where})"
        if study.run.executor == "inline":
            workers = "in this process"
        lines.append(f"{plural(len(plan.orders), 'stack')} of {cells} {workers}")
        if plan.device == "cpu":
            lines += _slower(plan)
    else:
        lines.append("nothing is missing: nothing to train")
    lines += refinement_lines(refinement_dicts(plan))
    if store is not None:
        lines.append(f"results in {store.paths.root}")
    return lines


def _slower(plan: Plan) -> list[str]:
    """What makes training on this machine's processor slower than it could be, a line each."""
    cut = sorted({item.cell.precision for item in plan.items if item.missing} & {"tf32", "bfloat16"})
    lines = []
    if compiler() is None:
        lines.append("no C compiler here (cc, gcc or clang): a part of each step is computed by torch, more slowly")
    if cut:
        lines.append(f"{' and '.join(cut)} without a GPU: each operand is cut before its product, slower than float32")
    return lines


def refinement_dicts(plan: Plan) -> list[dict[str, Any]]:
    """Where the refinement of each curve stands, as plain values."""
    return [
        {
            "curve": proposal.line.label,
            "state": proposal.advice.state,
            "why": proposal.advice.why,
            "half_width": proposal.advice.half_width,
            "half_width_wanted": proposal.goal.half_width,
            "cells": proposal.advice.used,
            "most_cells": proposal.goal.cells,
            "next": [{"rho": cell.rho, "seed": cell.seed} for cell in proposal.cells],
        }
        for proposal in plan.refinement
    ]


def refinement_lines(curves: Sequence[Mapping[str, Any]]) -> list[str]:
    """The same in words, one line per curve."""
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


def plan_table(items: Sequence[Item]) -> list[list[str]]:
    """One row a data set, architecture, objective and action: with the number of cells, and why."""
    groups: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for item in items:
        cell = item.cell
        groups[cell.data, cell.architecture, cell.objective, _ACTIONS[item.action]][item.why] += 1
    return [[*key, f"{sum(whys.values()):,}", _reasons(whys)] for key, whys in groups.items()]


def _reasons(whys: Counter[str]) -> str:
    if len(whys) == 1:
        return next(iter(whys))
    return "; ".join(f"{why} ({number:,})" for why, number in whys.items())


def cost_lines(plan: Plan, cost: Cost | None) -> list[str]:
    """Time, memory and disk of what is missing."""
    unit = "GPU" if plan.device == "cuda" else "core"
    if not plan.missing:
        return []
    lines = []
    if cost is None:
        lines.append("time: not known for some of these shapes; `sweeper plan --probe` measures a few steps of each")
    else:
        lines.append(
            f"time: about {duration(cost.wall_s)} of training on {plural(plan.workers, 'worker')} "
            f"({cost.device_s / 3600:.2g} {unit}-hours, {cost.source})"
        )
    lines.append(f"memory: about {size(plan.memory_bytes)} for the largest stack; disk: about {size(plan.disk_bytes)}")
    return lines


def plan_dict(plan: Plan, cost: Cost | None = None) -> dict[str, Any]:
    """A plan as plain values."""
    return {
        "json_version": JSON_VERSION,
        "study": plan.study.name,
        "cells": len(plan.items),
        "steps": plan.study.steps,
        "counts": plan.counts,
        "missing": len(plan.missing),
        "workers": plan.workers,
        "device": plan.device,
        "stacks": [{"name": o.name, "cells": len(o.cells), "start": o.start, "steps": o.steps} for o in plan.orders],
        "memory_bytes": plan.memory_bytes,
        "disk_bytes": plan.disk_bytes,
        "estimate": None if cost is None else vars(cost),
        "to_do": [{"cell_id": i.cell_id, "action": i.action, "start": i.start, "why": i.why} for i in plan.missing],
        "refinement": refinement_dicts(plan),
    }


def status_dict(plan: Plan | None, store: Store, study_fault: str | None = None) -> dict[str, Any]:
    """A store as it stands, as plain values; without a plan where no study was run or its file has a fault."""
    rows = store.committed()
    holder = store.holder()
    notes = living(store.progress()) if holder else []
    return {
        "json_version": JSON_VERSION,
        "store": str(store.paths.root),
        "study": plan.study.name if plan else None,
        "study_fault": study_fault,
        "committed": len(rows),
        "diverged": sum(each[0].state == "diverged" for each in rows.values()),
        "counts": plan.counts if plan else None,
        "missing": len(plan.missing) if plan else None,
        "share_of_work_done": share_of_work(plan, notes) if plan else None,
        "refinement": refinement_dicts(plan) if plan else [],
        "in_use_by": holder,
        "running": notes,
        "failures": [{"cell_id": f.cell_id, "reason": last_line(f.traceback), "log": f.log} for f in store.failures()],
        "aside": [{"path": str(d.path), "reason": d.reason} for d in store.quarantined()],
    }


def status_lines(status: dict[str, Any]) -> list[str]:
    """A store as it stands, in words."""
    counts = status["counts"]
    committed = plural(status["committed"], "cell")
    lines = [f"{status['store']}: {committed} committed, {status['diverged']} of them diverged"]
    if counts is not None:
        asked = sum(counts.values())
        share = f" ({100 * status['share_of_work_done']:.0f} % of the work)" if status["missing"] else ""
        lines.append(f"{status['study']}: {asked - status['missing']:,} of {plural(asked, 'cell')} done{share}")
    elif status["study_fault"]:
        lines.append(f"what its study asks for is unknown: {status['study_fault']}")
    lines += refinement_lines(status["refinement"])
    if status["in_use_by"]:
        lines.append(f"running: {describe(status['in_use_by'])}")
        for note in status["running"]:
            age = max(0.0, time.time() - note["at"])
            title = f"  {note['data']} {note['architecture']} × {note['cells']}"
            lines.append(f"{title}: {stack_sentence(note)} ({duration(age)} ago)")
    else:
        lines.append("no run is going on")
    for failure in status["failures"]:
        lines.append(f"failed: {failure['cell_id']}: {failure['reason']} (log: {failure['log']})")
    for fault in status["aside"]:
        lines.append(f"set aside: {fault['path']}: {fault['reason']}")
    return lines


def failure_lines(outcome: Outcome, most: int = 10) -> list[str]:
    """What a run could not do, cell by cell: reason and log."""
    lines = [f"failed: {f.cell_id}: {last_line(f.traceback)} (log: {f.log})" for f in outcome.failures]
    known = {failure.cell_id for failure in outcome.failures}
    lines += [f"not finished: {i.cell_id}: {i.why}" for i in outcome.after.missing if i.cell_id not in known]
    if not lines:
        return []
    more = [f"… and {len(lines) - most} more"] if len(lines) > most else []
    return [*lines[:most], *more, f"{plural(len(lines), 'cell')} failed; the next run tries them afresh"]


def merge_lines(merged: Merged) -> list[str]:
    """What a merge took from where, what it could not use, and what it left for the user to know."""
    root = merged.target.paths.root
    lines = [f"{'left alone' if fault.left_alone else 'set aside'} in {root}: {fault}" for fault in merged.set_aside]
    for source, study in zip(merged.sources, merged.studies, strict=True):
        line = f"{source.source}: {plural(source.added, 'cell')} taken"
        if source.replaced:
            line += f", {source.replaced:,} in place of rows with fewer steps or older ones"
        line += f", {source.present:,} already there; {plural(source.states, 'kept state')} taken"
        lines.append(line)
        if source.differing:
            lines.append(
                f"  {plural(len(source.differing), 'cell')} there and here with other numbers (another device or "
                f"another version of the code); those here stay: {', '.join(source.differing[:3])}"
                + (", …" if len(source.differing) > 3 else "")
            )
        lines += [f"  its study asks otherwise: {line}" for line in study]
        lines += [f"  {'' if fault.left_alone else 'damaged, '}not taken: {fault}" for fault in source.damaged]
    lines.append(f"{root}: {plural(len(merged.target.committed()), 'cell')} committed")
    if any(merged.studies):
        lines.append(
            f"its study stays as it was, and `sweeper report` takes the cells that it asks for: run one that asks for "
            f"all of them with --store {shlex.quote(str(root))}"
        )
    return lines


def merge_dict(merged: Merged) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "json_version": JSON_VERSION,
        "store": str(merged.target.paths.root),
        "committed": len(merged.target.committed()),
        "sources": [
            {
                "source": str(source.source),
                "added": source.added,
                "replaced": source.replaced,
                "present": source.present,
                "differing": source.differing,
                "states": source.states,
                "damaged": [{"path": str(d.path), "reason": d.reason} for d in source.damaged],
                "study_differs": list(study),
            }
            for source, study in zip(merged.sources, merged.studies, strict=True)
        ],
        "set_aside": [{"path": str(d.path), "reason": d.reason} for d in merged.set_aside],
    }


def report_table(found: Report) -> list[list[str]]:
    """One row per curve: where it collapses, how sure that is, or why there is no number."""
    rows = []
    for curve in found.curves:
        onset, midpoint = curve.transition.onset, curve.transition.midpoint
        row = [curve.label]
        if onset.value is None:
            row += ["–" if onset.bound is None else f"{curve.axis.beyond} {onset.bound:.4g}", "–", "–", "–"]
        else:
            row += [
                onset.written(onset.value),
                f"{onset.written(onset.low)} – {onset.written(onset.high)}",
                f"{onset.written(onset.low_smooth)} – {onset.written(onset.high_smooth)}" if onset.resolved else "–",
                midpoint.written(midpoint.value),
            ]
        rows.append([*row, str(len(onset.seeds)), f"{max(curve.steps, default=0):,}"])
    return rows


def report_header(found: Report) -> list[str]:
    """The columns of `report_table`."""
    symbol = found.curves[0].axis.symbol
    return ["curve", f"critical {symbol}", "95 % interval", "if smooth", "midpoint", "seeds", "steps"]


PREDICTION_HEADER = [
    "curve",
    "from ρ",
    "predicted",
    "95 % interval",
    "of it draws",
    "found onset",
    "midpoint",
    "1 − ρ, ratio to onset",
]


def prediction_rows(predictions: Sequence[Prediction]) -> list[list[str]]:
    """One row per curve that has a prediction: it, and what was found."""
    rows = []
    for each in predictions:
        if each.rho is None:
            continue
        onset, midpoint = each.curve.transition.criticals
        interval = "–" if each.low is None or each.high is None else f"{each.low:.4f} – {each.high:.4f}"
        drawn = "–" if each.monte_carlo is None else f"±{1.96 * each.monte_carlo * (1 - each.rho):.4f}"
        ratio = "–" if onset.value is None else f"{(1 - each.rho) / (1 - onset.value):.2f}"
        found = [critical.written(critical.value) for critical in (onset, midpoint)]
        rows.append([each.curve.label, f"{each.below:g}", f"{each.rho:.4f}", interval, drawn, *found, ratio])
    return rows


def report_lines(found: Report, store: Store) -> list[str]:
    """The headline, notes and where everything lies."""
    lines = [*found.headline(), *found.notes]
    if found.page:
        lines += ["page:", f"  {found.page}"]
    if found.figures:
        lines += ["figures:", *(f"  {path}" for path in found.figures if path.suffix == ".png")]
    lines += ["tables:", f"  {store.paths.cells}", f"  {store.paths.history}"]
    return [*lines, *(f"  {path}" for path in found.tables if path.suffix == ".parquet")]


COMPARED_HEADER = [
    "printed", "quantity", "published", "measured", "95 %", "difference", "margin", "seeds", "verdict", "conditions",
]  # fmt: skip


def compared_table(compared: Compared) -> list[list[str]]:
    """One row a result that the store has: measured beside published. Other conditions are numbered."""
    notes = _other_conditions(compared)
    rows = []
    for one in compared.beside:
        if one.verdict == "not in the store":
            continue
        printed = one.published
        ends = printed.interval
        said = _numbers(printed.value) if ends is None else f"{ends[0]:g} – {ends[1]:g}"
        name = " · ".join(filter(None, [printed.name, one.setting]))
        conditions = f"[{notes.index(one.differs) + 1}]" if one.differs else "" if one.reason else "the same"
        interval = ", ".join(f"{_number(a)} – {_number(b)}" for a, b in zip(one.low, one.high, strict=True))
        difference = ", ".join(map(_number, one.difference))
        rows.append(
            [
                name, printed.quantity, said, _numbers(one.value) or "–", interval or "–", difference or "–",
                f"{printed.margin:g}", str(one.seeds), one.verdict, conditions,
            ]
        )  # fmt: skip
    return rows


def compared_lines(compared: Compared) -> list[str]:
    """Other conditions, what has no number and why, what the store does not have, and how much that leaves."""
    lines = [f"[{index}] {'; '.join(words)}" for index, words in enumerate(_other_conditions(compared), start=1)]
    lines += [
        f"no number: {one.published.name}, {one.published.quantity}: {one.reason}"
        for one in compared.beside
        if one.verdict == "no number"
    ]
    absent: dict[str, list[str]] = defaultdict(list)
    for one in compared.beside:
        if one.verdict == "not in the store":
            absent[one.published.name].append(one.published.quantity)
    lines += [f"not in the store: {name} ({', '.join(quantities)})" for name, quantities in absent.items()]
    said = [f"published: {compared.reference.source}", *filter(None, [compared.reference.note])]
    return [*lines, *said, compared.coverage()]


def compared_dict(compared: Compared) -> dict[str, Any]:
    """Measured beside published, as plain values."""
    return {"json_version": JSON_VERSION, **compared.to_dict()}


def _other_conditions(compared: Compared) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(one.differs for one in compared.beside if one.differs))


def _numbers(values: Sequence[float]) -> str:
    """One number, or one per layer as architectures are written."""
    return "-".join(map(_number, values))


def _number(value: float) -> str:
    """Four digits of a small number, two decimals of a larger one, which no more are needed of."""
    return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}".rstrip("0").rstrip(".")
