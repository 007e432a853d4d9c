"""The table of the fields of a cell in docs/study.md, from their declarations."""

from __future__ import annotations

from models.cell import FIELDS, REGISTRIES, Option, owners

HEADER = ("| field | default | meaning |", "|---|---|---|")
_PAIR = {  # in place of latents
    "depth": "with `width`, in place of `latents`: number of stochastic layers",
    "width": "units of every stochastic layer; the block takes every depth × width",
}


def field_table() -> str:
    """Lines of Markdown, one per field, in the order of a cell's fields."""
    rows = [*HEADER]
    for name, field in FIELDS.items():
        default = "required" if field.required else str(field.default) or "empty"
        rows.append(f"| `{name}` | {default} | {_meaning(field)} |")
        if name == "latents":
            rows += [f"| `{pair}` | – | {text} |" for pair, text in _PAIR.items()]
    return "\n".join(rows) + "\n"


def _meaning(field: Option) -> str:
    """What the field means, the values that it takes, its unit, and the parts that have it."""
    names = list(REGISTRIES.get(field.name, field.choices))
    words = []
    if names and not all(f"`{name}`" in field.meaning for name in names):
        words.append(f"one of {', '.join(f'`{name}`' for name in names)}")
    if field.unit and field.unit.split()[0] not in field.meaning:
        words.append(f"unit: {field.unit}")
    if field.range:
        words.append(field.range.removesuffix(field.note))
    if whose := owners(field.name):
        words.append(f"option of {whose}")
    return field.meaning + (f" ({'; '.join(words)})" if words else "")
