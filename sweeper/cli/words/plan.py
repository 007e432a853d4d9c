"""What a run will do, and what that will cost."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.cell.registry import find
from models.kernels.compiled import bfloat16_unit, compiler
from models.objectives.spec import KlWeightOptions
from sweeper.cli.words.refinement import refinement_lines
from sweeper.errors import StudyError
from sweeper.planning import Item, Plan
from sweeper.planning.settled import settled
from sweeper.store import Damaged, Store
from sweeper.study import Study, load_study
from sweeper.wording import duration, plural, size

if TYPE_CHECKING:
    from sweeper.planning.estimate import Cost

PLAN_HEADER = ["data", "architecture", "objective", "state", "cells", "why"]
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
        f"left alone: {fault}" if fault.left_alone else f"quarantined and to be done again: {fault}"
        for fault in damaged
    ]
    if plan.missing:
        sizes = sorted({len(job.cells) for job in plan.jobs})
        cells = plural(sizes[0], "cell") if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]} cells"
        where = "a GPU each" if plan.device == "cuda" else f"{plural(study.run.threads, 'thread')} each"
        workers = f"on {plural(plan.workers, 'worker')} ({where})"
        if study.run.executor == "inline":
            workers = "in this process"
        lines.append(f"{plural(len(plan.jobs), 'stack')} of {cells} {workers}")
        if plan.device == "cpu":
            lines += _slower(plan)
    else:
        lines.append("nothing is missing: nothing to train")
    lines += unfinished_lines(plan) + unlabelled_lines(plan)
    lines += refinement_lines([proposal.to_dict() for proposal in plan.refinement])
    if store is not None:
        lines.append(f"results in {store.paths.root}")
    return lines


def _slower(plan: Plan) -> list[str]:
    """What this machine's processor makes of the precisions asked for, and what makes training slower, a line each."""
    asked, unit = {item.cell.precision for item in plan.items if item.missing}, bfloat16_unit()
    multiplied = unit == "amx" and compiler() is not None
    cut = sorted(asked & ({"tf32"} if multiplied else {"tf32", "bfloat16"}))
    lines = []
    if multiplied and "bfloat16" in asked:
        lines.append("bfloat16: this machine's processor multiplies it (AMX)")
    if compiler() is None:
        lines.append("no C compiler here (cc, gcc or clang): a part of each step is computed by torch, more slowly")
    if cut:
        lines.append(f"{' and '.join(cut)} without a GPU: each operand is cut before its product, slower than float32")
    return lines


def unfinished_lines(plan: Plan) -> list[str]:
    """Where training ends before the KL weight is where its warm-up leads, a line per β at the end."""
    found: Counter[tuple[float, int, int]] = Counter()
    for item in plan.missing:
        options = item.cell.options("objective")
        if isinstance(options, KlWeightOptions) and options.kl_weight_at(plan.study.steps) != options.kl_weight:
            ends = options.kl_weight_at(plan.study.steps)
            found[ends, options.kl_delay_steps, options.kl_warmup_steps] += 1
    return [
        f"warning: training ends at step {plan.study.steps:,}, before the warm-up of the KL weight at step "
        f"{delay + steps:,}: the KL weight is then {end:.4g} ({plural(count, 'cell')})"
        for (end, delay, steps), count in found.items()
    ]


def unlabelled_lines(plan: Plan) -> list[str]:
    """Data sets without labels, where the evaluation asks for a classification."""
    if not plan.study.evaluation.classification:
        return []
    counts = Counter(item.cell.data for item in plan.missing)
    return [
        f"warning: data set {name} has no labels: classification_accuracy stays null ({plural(count, 'cell')})"
        for name, count in sorted(counts.items())
        if not find("data", name).labels
    ]


def plan_table(items: Sequence[Item]) -> list[list[str]]:
    """One row per data set, architecture, objective and action, with the number of cells, and why."""
    groups: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for item in items:
        cell = item.cell
        groups[cell.data_words, cell.architecture, cell.objective, _ACTIONS[item.action]][item.why] += 1
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


def settled_lines(asked: Study, study: Study) -> list[str]:
    """Where the store decided what the study leaves open (`sweeper.planning.settled`), not as a new one would."""
    if asked.evaluation.image_choice == study.evaluation.image_choice:
        return []
    return [
        f"evaluation.image_choice: {study.evaluation.image_choice}, as finished cells here were evaluated; with "
        f"{asked.evaluation.image_choice} in the study they are all evaluated again, from kept states"
    ]


def run_line(study: Path, store: Path | None, overrides: Sequence[str]) -> str:
    """The command that does what was planned."""
    words = ["sweeper", "run", str(study), *(["--store", str(store)] if store else [])]
    return "next: " + shlex.join(words + [word for each in overrides for word in ("--set", each)])


def changed_lines(study: Study, store: Store) -> list[str]:
    """What the study says otherwise than at the last run on this store."""
    if not store.paths.study.exists():
        return []
    try:
        before = settled(load_study(store.paths.study), store)
    except StudyError:  # of another version
        return []
    return [f"changed since the last run: {line}" for line in before.diff(study)]
