"""What tells settings of one data set and architecture apart, in words: `free bits 0.5, kl weight 2`.

Curves of a report, lines of a refinement and cells beside published numbers are all named by these words.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from models.cell import FIELDS, canonical_json
from models.cell.declared import entry_of, role_of

NAMED = ("data", "network", "latents", "hidden", "activation")  # fields that data set and architecture say already
MAX_SAID = 3  # fields that are said of every setting, at their defaults too
_BETWEEN = ", "


def differing(settings: Sequence[Mapping[str, Any]], unsaid: Collection[str] = ()) -> list[str]:
    """The fields in which not all settings agree, by name, but for those `unsaid`.

    A setting maps names of fields to plain values; a field that it lacks has the value None.
    """
    names = sorted({name for setting in settings for name in setting} - set(unsaid))
    return [name for name in names if len({canonical_json(setting.get(name)) for setting in settings}) > 1]


def in_words(setting: Mapping[str, Any], names: Sequence[str]) -> str:
    """The values of some fields: `free bits 0.5, kl weight 2`; empty for no fields. 2.0 is said as 2.

    A setting that does not say a field has its default, as `prior normal`; an option that none of its parts has is left
    out, as the number of refinement steps of `procedure joint`.
    """
    had = [name for name in names if setting.get(name) is not None or _has(setting, name)]
    return _BETWEEN.join(f"{name.replace('_', ' ')} {_said(_value(setting, name))}" for name in had)


def _has(setting: Mapping[str, Any], name: str) -> bool:
    """Whether an option is one of the setting's parts, or of no part's in particular."""
    role = role_of(name) if name in FIELDS else ""
    part = entry_of(role, _value(setting, role)) if role else None
    return part is None or name in part.declared()


def _value(setting: Mapping[str, Any], name: str) -> Any:
    field, value = FIELDS.get(name), setting.get(name)
    return field.default if value is None and field is not None and not field.required else value


def _said(value: Any) -> str:
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def variants(settings: Sequence[Mapping[str, Any]], unsaid: Collection[str] = ()) -> list[str]:
    """For each setting the words that tell it from the others; all empty where nothing differs.

    A few fields are all said, `free bits 0` beside `free bits 0.5`. Where objectives differ or the fields are more than
    three, the words are those of `methods`: `ou` beside `ou, free bits 0.5` and `ou_iwae, chains 5`.
    """
    names = differing(settings, unsaid)
    if "objective" in names or len(names) > MAX_SAID:
        return methods(settings, unsaid)
    return [in_words(setting, names) for setting in settings]


def methods(settings: Sequence[Mapping[str, Any]], unsaid: Collection[str] = ()) -> list[str]:
    """For each setting its method: the objective, and of what tells it from the others whatever is not as by default.

    `vae`, `iwae, chains 5`, `vae, free bits 1`, `ou, rho 0.9`: a field that a setting lacks, or that has its default
    there, goes without saying, because in another setting it is said.
    """
    names = [name for name in differing(settings, unsaid) if name != "objective"]
    said = []
    for setting in settings:
        unusual = in_words(setting, [name for name in names if _unusual(setting, name)])
        said.append(_BETWEEN.join(filter(None, [str(setting.get("objective", "")), unusual])))
    return said


def is_method(words: str, setting: Mapping[str, Any]) -> bool:
    """Whether the words of a setting are those of `methods`, which begin with its objective."""
    return words.split(_BETWEEN)[0] == setting.get("objective")


def _unusual(setting: Mapping[str, Any], name: str) -> bool:
    value, field = setting.get(name), FIELDS.get(name)
    return value is not None and (field is None or field.required or value != field.default)


def in_both(first: str, second: str) -> str:
    """What two variants have in common, as a variant."""
    others = second.split(_BETWEEN)
    return _BETWEEN.join(words for words in first.split(_BETWEEN) if words in others)
