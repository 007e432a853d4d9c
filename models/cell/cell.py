"""A cell: one point of a study's grid, and the identity that its results are filed under.

Everything that decides what a cell's training does is a field here, and nothing else is: not the grid it came from,
the stack it is trained in, the device, the number of steps or the evaluation. So a cell keeps its id, and with it
its finished work, when a study grows, shrinks, is reordered or moves to another machine.

A cell names one part for each role (`models.cell.registry.ROLES`). Its other fields are the options of these parts,
each declared once, beside the part that reads it (`models.cell.fields.option`), and two options of its own.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, make_dataclass, replace
from functools import cached_property, lru_cache
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from models.cell.fields import REQUIRED, YES_NO, Option, merged, option, options_of
from models.cell.registry import REGISTRIES, ROLES, Entry, find

ID_LENGTH = 24  # hexadecimal digits kept of the SHA-256: 96 bits
CONTINUE = "continue"  # first word of a procedure that takes over another cell's weights: see `continuation.py`
FIRST = ("data", "latents", "seed")  # of a cell, in this order, where its fields are given without names
ALWAYS_WRITTEN = 2  # fields of this version of the columns or before are written of every cell, whatever its parts


@dataclass(frozen=True)
class OwnOptions:
    """Options of every cell, whatever its parts."""

    seed: int = option(REQUIRED, "seed of the cell's initialisation, batches and noise", low=0, high=2**63 - 1)
    precision: str = option(
        "float32", "`float32`, `float64`, or of matrix products `tf32` or `bfloat16`; of training", shape=True,
        choices=("float32", "float64", "tf32", "bfloat16"),
    )  # fmt: skip


def _declared() -> dict[str, Option]:
    """Every field of a cell: those of `FIRST`, then each role, followed by the options of its parts."""
    found: dict[str, Option] = {}

    def add(each: Option) -> None:
        if each.name in found:
            raise ValueError(f"two roles declare {each.name}")
        found[each.name] = each

    for name, role in ROLES.items():
        add(Option(name, "str", role.default or REQUIRED, role.meaning, shape=True, since=role.since))
        for each in merged({part: entry.declared() for part, entry in role.parts.items()}).values():
            add(each)
    for each in options_of(OwnOptions).values():
        add(each)
    return {name: found[name] for name in FIRST} | found


FIELDS = _declared()
OPTIONS = {name: each for name, each in FIELDS.items() if name not in ROLES}  # the others name the parts
_SHAPING = [name for name, each in FIELDS.items() if each.shape]
RANGES = {
    name: (each.low, each.high, each.range)
    for name, each in OPTIONS.items()
    if each.low is not None and each.high is not None
}


def _entry(role: str, name: Any) -> Entry | None:
    """The registered part of that name, its first word; None where there is none."""
    return REGISTRIES[role].get(str(name).split(" ")[0])


class _Layout(NamedTuple):
    """The registered parts of a cell by role, the options that it has because of them, and those of other parts."""

    entries: dict[str, Entry]
    present: dict[str, Option]
    absent: dict[str, Option]


@lru_cache(maxsize=4096)
def _layout(parts: tuple[Entry | None, ...]) -> _Layout:
    """parts: those that a cell names, by role; None for a name that is not registered, which may have any option."""
    present = dict(options_of(OwnOptions))
    for role, entry in zip(ROLES.values(), parts, strict=True):
        for each in [entry] if entry else role.parts.values():
            present |= each.declared()
    entries = {role: entry for role, entry in zip(ROLES, parts, strict=True) if entry is not None}
    return _Layout(entries, present, {name: each for name, each in OPTIONS.items() if name not in present})


class CellError(ValueError):
    """Fields of a cell out of range. `faults` maps each field's name to one sentence."""

    def __init__(self, faults: Mapping[str, str]):
        super().__init__("; ".join(faults.values()))
        self.faults = dict(faults)


class _Cell:
    """One configuration to train. `models.cell.FIELDS` says what each field means, its range and its default.

    Defaults are frozen: a later field's default is the behaviour before it existed. An option of a part that the cell
    does not name has no effect and cannot be set; as an attribute it is at its default, or None if it came later than
    version 2 of the columns of results.
    """

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]

        def __init__(self, data: str, latents: Any = None, seed: Any = None, **options: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

    def __post_init__(self) -> None:
        """Check ranges and round numbers; raises CellError with every fault, each naming its field and value."""
        values, faults = self.__dict__, {}
        for role in ROLES:
            if not isinstance(values[role], str):
                faults[role] = f"{role}: should be a name, got {values[role]!r}"
        if faults:
            raise CellError(faults)
        layout = self._layout
        for name, each in layout.present.items():
            if values[name] is each.default:
                continue  # which is valid: most are, and a plan forms thousands of cells
            if values[name] is None and not each.required and each.since > ALWAYS_WRITTEN:
                values[name] = each.default  # null in a row from before the option
            try:
                values[name] = _checked(each, values[name])
            except ValueError as fault:
                faults[name] = str(fault)
        for name, each in layout.absent.items():
            if values[name] not in (None, each.default):
                faults[name] = (
                    f"{name} is an option of {owners(name)}: {self._named(name)} has none{self.why_not(name)}"
                )
            values[name] = each.default if each.since <= ALWAYS_WRITTEN and not each.required else None
        for role, entry in layout.entries.items():
            if not faults and hasattr(entry.options, "faults"):
                faults |= self.options(role).faults()
            if not faults and entry is not None and hasattr(entry.options, "conflicts"):
                faults |= self.options(role).conflicts(self)
        if not faults and self.smoothed:
            faults = self._unsmoothable()
        if faults:
            raise CellError(faults)

    def __hash__(self) -> int:
        """That of its fields, computed once: plans of ten thousand cells look each up several times."""
        known: int | None = self.__dict__.get("_hash")
        if known is None:
            known = self.__dict__["_hash"] = hash(tuple(map(self.__dict__.__getitem__, FIELDS)))
        return known

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: a hash is another one in another process."""
        return {name: self.__dict__[name] for name in FIELDS}

    def replicate(self, seed: int) -> Cell:
        """The cell with another seed, which is a valid one.

        It is copied without the checks of Cell(), which cost 40 times as much. No other field depends on the seed, and
        what a cell remembers of itself does not either, but for its hash.
        """
        copy: Cell = object.__new__(type(self))  # type: ignore[assignment]
        values = copy.__dict__
        values.update(self.__dict__, seed=seed)
        values.pop("_hash", None)
        return copy

    @cached_property
    def _layout(self) -> _Layout:
        return _layout(tuple(_entry(role, getattr(self, role)) for role in ROLES))

    def _unsmoothable(self) -> dict[str, str]:
        """A sentence for the objective where a part of the cell does not allow that its maps are smoothed."""
        for role in ROLES:
            entry, plain = _entry(role, getattr(self, role)), UNSMOOTHED[self.objective]
            if entry is not None and entry.unsmoothable:
                why = f"objective {self.objective} smooths generative maps, which {role} {getattr(self, role)} does not"
                return {"objective": f"{why} allow, because {entry.unsmoothable}: train it with objective {plain}"}
        return {}

    def _named(self, name: str) -> str:
        """What this cell has in the role whose parts have the option `name`: `objective vae`."""
        role = role_of(name)
        return f"{role} {getattr(self, role)}"

    def why_not(self, name: str) -> str:
        """Why the cell's part has no option of that name, as the end of a sentence; "" where it does not say so."""
        entry = _entry(role := role_of(name), getattr(self, role)) if role_of(name) else None
        why = getattr(entry.options, "refused", {}).get(name, "") if entry else ""
        return f" ({why})" if why else ""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Cell:
        """The cell of these values, less those of options that its parts do not have."""
        absent = _layout(tuple(_entry(role, values.get(role, FIELDS[role].default)) for role in ROLES)).absent
        return Cell(**{name: value for name, value in values.items() if name not in absent})

    def options(self, role: str) -> Any:
        """The options of the part that the cell names for `role`, as the dataclass that declares them.

        Raises UnknownName where no such part is registered.
        """
        made: dict[str, Any] = self.__dict__.setdefault("_options", {})
        if role not in made:
            declared = find(role, getattr(self, role)).options
            made[role] = declared(**{name: getattr(self, name) for name in options_of(declared)})
        return made[role]

    def has(self, name: str) -> bool:
        """Whether the cell has the field `name`: its parts have such an option, or it is no part's."""
        return name in self._layout.present or name in ROLES

    @property
    def depth(self) -> int:
        """Number of stochastic layers, L."""
        return len(self.latent_sizes)

    @property
    def latent_sizes(self) -> tuple[int, ...]:
        """Units of layers 1 … L."""
        sizes: tuple[int, ...] = self.options("network").latent_sizes
        return sizes

    @property
    def hidden_sizes(self) -> tuple[tuple[int, ...], ...]:
        """Hidden sizes of the maps of layers 1 … L."""
        sizes: tuple[tuple[int, ...], ...] = self.options("network").hidden_sizes
        return sizes

    @property
    def architecture(self) -> str:
        """The network in words: `mlp 40-40-40-40 (200-200)`."""
        words: str = self.options("network").words(self.network)
        return words

    @property
    def training_chains(self) -> int:
        """Ancestral chains per image in training."""
        return int(getattr(self.options("objective"), "chains", 1))

    @property
    def smoothed(self) -> bool:
        """Whether training smooths the generative networks."""
        return self.objective in UNSMOOTHED

    @property
    def continues(self) -> bool:
        """Whether the cell takes over another one's weights."""
        return str(self.procedure).startswith(CONTINUE)

    def canonical(self) -> Cell:
        """The same training with every field that has no effect at its default: `ou` at ρ = 1 is `vae`."""
        changes = self._without_effect
        return replace(self, **changes) if changes else self  # type: ignore[return-value]

    @cached_property
    def _without_effect(self) -> dict[str, Any]:
        """What `canonical` changes. As `_shape`, the same for all seeds."""
        changes: dict[str, Any] = {}
        for name, each in self._layout.present.items():
            if each.needs and not any(getattr(self, needed) for needed in each.needs.split(" or ")):
                changes[name] = each.default
        for role, entry in self._layout.entries.items():
            if entry.smooths and self.options(role).plain(self):
                plain = find(role, entry.smooths).declared()
                changes[role] = entry.smooths
                changes |= {name: OPTIONS[name].default for name in entry.declared() if name not in plain}
                changes |= {name: each.default for name, each in plain.items() if name not in entry.declared()}
            if hasattr(entry.options, "canonical"):
                changes |= asdict(self.options(role).canonical())
            if hasattr(entry.options, "idle"):
                changes |= self.options(role).idle(self)
        return {name: value for name, value in changes.items() if getattr(self, name) != value}

    def flat(self) -> dict[str, Any]:
        """Every field of any cell by its name, as a row of results has it."""
        return asdict(self)

    def written(self) -> dict[str, Any]:
        """The fields that say what the cell is: all that there were in version 2 of the columns, and those that came
        later where they are not at their default."""
        return {
            name: value
            for name, value in self.flat().items()
            if FIELDS[name].since <= ALWAYS_WRITTEN or value not in (None, FIELDS[name].default)
        }

    def to_json(self) -> str:
        """What is `written` as canonical JSON: sorted keys, no white space, shortest numbers."""
        return canonical_json(self.written())

    @classmethod
    def from_json(cls, text: str) -> Cell:
        """The cell that `to_json` wrote; unknown fields (of a newer version) raise TypeError."""
        return Cell(**json.loads(text))

    def id(self, digest: str, semantics: Mapping[str, int]) -> str:
        """The cell's id: SHA-256 of what decides its training, cut to 24 hexadecimal digits.

        `digest` is that of the decoded data; `semantics` the numbers of the network, objective and procedure, raised
        when the same fields come to mean another computation. `models.cell.identity.cell_id` supplies both.
        """
        cell = self.canonical()
        chosen = {
            name: value
            for name, each in FIELDS.items()
            if (value := getattr(cell, name)) is not None and value != each.default
        }
        identity = {"cell": chosen, "data": digest, "semantics": dict(semantics)}
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:ID_LENGTH]

    def shape(self) -> tuple[Any, ...]:
        """What cells of one stack must share: all that decides the shape of a tensor or the code that runs."""
        return self._shape

    @cached_property
    def _shape(self) -> tuple[Any, ...]:
        cell = self.canonical()
        return tuple(
            cell.procedure.split(" ")[0] if name == "procedure" else getattr(cell, name)
            for name in _SHAPING
            if cell.has(name)
        )


if TYPE_CHECKING:

    class Cell(_Cell):
        """See `_Cell`."""

else:
    Cell = make_dataclass(
        "Cell",
        [
            (name, each.kind, field() if name == "data" else field(default=None if each.required else each.default))
            for name, each in FIELDS.items()
        ],
        bases=(_Cell,),
        namespace={"__doc__": _Cell.__doc__, "__hash__": _Cell.__hash__},
        frozen=True,
    )
    Cell.__module__ = __name__

UNSMOOTHED = {name: entry.smooths for name, entry in REGISTRIES["objective"].items() if entry.smooths}


def options_of_role(role: str) -> list[str]:
    """The options of all parts of a role, in their order among the fields."""
    declared = {name for entry in REGISTRIES[role].values() for name in entry.declared()}
    return [name for name in FIELDS if name in declared]


def role_of(name: str) -> str:
    """The role whose parts have the option `name`, "" for an option of the cell's own."""
    parts = {role: [name in entry.declared() for entry in parts.values()] for role, parts in REGISTRIES.items()}
    return next((role for role, has in parts.items() if any(has)), "")


def owners(name: str) -> str:
    """The parts that have the option `name`, in words: `objective ou`; "" where all of their role do, and of others."""
    role = role_of(name)
    having = [part for part, entry in REGISTRIES[role].items() if name in entry.declared()] if role else []
    return "" if not role or len(having) == len(REGISTRIES[role]) else f"{role} {' or '.join(having)}"


def _checked(each: Option, value: Any) -> Any:
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
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
