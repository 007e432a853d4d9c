"""Measured numbers beside published ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweeper.wording import plural

if TYPE_CHECKING:
    from sweeper.compare import Beside, Compared

COMPARED_HEADER = [
    "printed", "quantity", "published", "measured", "95 %", "difference", "margin", "seeds", "verdict", "conditions",
]  # fmt: skip


def compared_table(compared: Compared) -> list[list[str]]:
    """One row per result that the store has: measured beside published, a line of the published table named once.

    The verdict says which condition differs first (steps, if they do); all are numbered, and written out below.
    """
    notes = _other_conditions(compared)
    rows = []
    last = ""
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
        name, last = "" if name == last else name, name
        rows.append(
            [
                name, printed.quantity, said, _numbers(one.value) or "–", interval or "–", difference or "–",
                f"{printed.margin:g}", str(one.seeds), _verdict(one), conditions,
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
    return [*lines, *order_lines(compared), *said, compared.coverage()]


def _verdict(one: Beside) -> str:
    """`outside, other steps`: under other conditions than those published a number decides nothing."""
    if one.judged or one.verdict not in ("within", "outside"):
        return one.verdict
    names = (name.replace("_", " ") for name in one.published.conditions)
    first = max((name for name in names if one.differs[0].startswith(f"{name} ")), key=len)
    return f"{one.verdict}, other {first}"


def order_lines(compared: Compared) -> list[str]:
    """How many pairs of lines lie the same way round as published, by each quantity, and which lie the other way."""
    lines = []
    for order in compared.orders:
        same, other, open_ = (order.count(v) for v in ("the same way", "the other way", "cannot tell"))
        lines.append(
            f"order by {order.quantity}: of {plural(len(order.pairs), 'pair')} of lines printed farther apart than the "
            f"margin, {same} the same way round here, {other} the other way, {open_} cannot be told (paired over seeds)"
        )
        lines += [
            f"the other way: {pair.first} − {pair.second}: {pair.published:+.3g} printed, {pair.measured:+.3g} "
            f"[{pair.low:+.3g}, {pair.high:+.3g}] here"
            for pair in order.pairs
            if pair.verdict == "the other way"
        ]
    return lines


def _other_conditions(compared: Compared) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(one.differs for one in compared.beside if one.differs))


def _numbers(values: Sequence[float]) -> str:
    """One number, or one per layer as architectures are written."""
    return "-".join(map(_number, values))


def _number(value: float) -> str:
    """Four digits of a small number; two decimals of a larger one, which needs no more."""
    return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}".rstrip("0").rstrip(".")
