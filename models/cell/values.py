"""Values of a cell's fields: their check, the precision of their numbers, and the JSON that is hashed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from models.cell.fields import YES_NO, Option


def checked(each: Option, value: Any) -> Any:
    """The value of an option as a cell has it. Raises ValueError with a sentence that names option and value."""
    name, given = each.name, value
    if value is None and each.required:
        raise ValueError(f"{name} is missing")
    try:
        number = type(value) in (float, int) or (isinstance(value, Real) and not isinstance(value, bool))
        if each.kind in ("float", "int") and not number:
            raise ValueError("should be a number")
        if each.kind == "float":
            value = nine_digits(value)
            if not math.isfinite(value):
                raise ValueError("should be a finite number")
        elif each.kind == "int":
            if int(value) != value:
                raise ValueError("should be a whole number")
            value = int(value)
        elif each.check is not None:
            value = str(value)
        elif each.choices == YES_NO and isinstance(value, bool):
            value = YES_NO[value]
        elif not isinstance(value, str):
            raise ValueError("should be a name")
    except (TypeError, ValueError, OverflowError) as fault:
        raise ValueError(f"{name}: {fault}, got {given!r}") from None
    if each.low is not None and each.high is not None and not each.low <= value <= each.high:
        raise ValueError(f"{name} should be {each.range}, got {value!r}")
    if each.choices and value not in each.choices:
        raise ValueError(f"{name} should be one of {', '.join(each.choices)}, got {value!r}")
    if each.check is not None:
        try:
            each.check(value)
        except ValueError as fault:
            raise ValueError(f"{name}: {fault}") from None
    return value


def nine_digits(value: float) -> float:
    """`value` rounded to 9 significant digits, the precision in which numbers are hashed and trained."""
    return float(f"{float(value):.9g}")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def canonical_json(value: Any) -> str:
    """JSON in the one form that is hashed: sorted keys, no white space, 1.0 as 1, no NaN."""
    return _ENCODER.encode(_plain(value))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, (dict, Mapping)):  # the first is found at once
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
