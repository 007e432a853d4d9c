"""What tells settings of one data set and architecture apart, in words: `free bits 0.5, kl weight 2`.

Curves of a report, lines of a refinement and cells beside published numbers are all named by these words.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from models.cell import canonical_json

NAMED = ("data", "network", "latents", "hidden", "activation")  # fields that data set and architecture say already
_BETWEEN = ", "


def differing(settings: Sequence[Mapping[str, Any]], unsaid: Collection[str] = ()) -> list[str]:
    """The fields in which not all settings agree, by name, but for those `unsaid`.

    A setting maps names of fields to plain values; a field that it lacks has the value None.
    """
    names = sorted({name for setting in settings for name in setting} - set(unsaid))
    return [name for name in names if len({canonical_json(setting.get(name)) for setting in settings}) > 1]


def in_words(setting: Mapping[str, Any], names: Sequence[str]) -> str:
    """The values of some fields: `free bits 0.5, kl weight 2`; empty for no fields. 2.0 is said as 2."""
    return _BETWEEN.join(f"{name.replace('_', ' ')} {_said(setting.get(name))}" for name in names)


def _said(value: Any) -> str:
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def variants(settings: Sequence[Mapping[str, Any]], unsaid: Collection[str] = ()) -> list[str]:
    """For each setting the words that tell it from the others; all empty where nothing differs."""
    names = differing(settings, unsaid)
    return [in_words(setting, names) for setting in settings]


def in_both(first: str, second: str) -> str:
    """What two variants have in common, as a variant."""
    others = second.split(_BETWEEN)
    return _BETWEEN.join(words for words in first.split(_BETWEEN) if words in others)
