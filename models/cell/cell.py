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
from collections.abc import Mapping
from dataclasses import asdict, field, make_dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from models.cell.checks import ALWAYS_WRITTEN, check, check_names
from models.cell.declared import FIELDS, OPTIONS, PACING, SHAPING, Layout, entry_of, layout_of, role_of
from models.cell.fields import options_of
from models.cell.image_shape import ImageShape
from models.cell.registry import ROLES, UNSMOOTHED, find
from models.cell.sequence_shape import Shape
from models.cell.values import canonical_json

ID_LENGTH = 24  # hexadecimal digits kept of the SHA-256: 96 bits
CONTINUE = "continue"  # first word of a procedure that takes over another cell's weights: see `continuation.py`


@lru_cache(maxsize=256)
def _after_cell(digest: str, semantics: tuple[tuple[str, int], ...]) -> str:
    """What follows the cell's fields in the canonical JSON of which an id is the hash: keys that sort after `cell`."""
    return canonical_json({"data": digest, "semantics": dict(semantics)})[1:]


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
        check_names(self.__dict__)
        check(self, self._layout)  # type: ignore[arg-type]

    def __hash__(self) -> int:
        """The hash of the fields, computed once: plans of ten thousand cells look each up several times."""
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
        what a cell remembers of itself does not either, but for its hash: what ids need is found out here, once.
        """
        _ = self._shape, self._around_seed
        copy: Cell = object.__new__(type(self))  # type: ignore[assignment]
        values = copy.__dict__
        values.update(self.__dict__, seed=seed)
        values.pop("_hash", None)
        return copy

    @cached_property
    def _layout(self) -> Layout:
        return layout_of(tuple(entry_of(role, getattr(self, role)) for role in ROLES))

    def why_not(self, name: str) -> str:
        """Why the cell's part has no option of that name, as the end of a sentence; "" where it does not say so."""
        entry = entry_of(role := role_of(name), getattr(self, role)) if role_of(name) else None
        why = getattr(entry.options, "refused", {}).get(name, "") if entry else ""
        return f" ({why})" if why else ""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Cell:
        """The cell of these values, less those of options that its parts do not have."""
        absent = layout_of(tuple(entry_of(role, values.get(role, FIELDS[role].default)) for role in ROLES)).absent
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

    def output_maps(self, shape: Shape) -> int:
        """Numbers that a network puts out per position, height × width, of an image of that shape: the likelihood's."""
        return find("likelihood", self.likelihood).maps(self, shape)

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
    def data_shape(self) -> Shape | None:
        """Of what its data set holds; None where that is not known."""
        entry = entry_of("data", self.data)
        if entry is None:
            return None
        return getattr(self.options("data"), "shape", entry.shape) if entry.declared() else entry.shape

    @property
    def image_shape(self) -> ImageShape | None:
        """Of its data set's images; None where that is not known, or the data are no images."""
        shape = self.data_shape
        return shape if isinstance(shape, ImageShape) else None

    @property
    def data_words(self) -> str:
        """The data set in words: `mnist`, `text yahoo`."""
        entry = self._layout.entries.get("data")
        if entry is None or not entry.declared():
            return str(self.data)
        words: str = self.options("data").words(self.data)
        return words

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
        before, after = self.canonical()._around_seed
        text = f'{{"cell":{before}{self.seed}{after},{_after_cell(digest, tuple(semantics.items()))}'
        return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]

    @cached_property
    def _around_seed(self) -> tuple[str, str]:
        """The canonical JSON of the fields that are not at their default, cut at the seed. As `_shape`, the same for
        all seeds: writing it takes most of the time of an id, and a plan has up to a million."""
        values = self.__dict__  # attributes take twice as long
        chosen = {
            name: value
            for name, each in FIELDS.items()
            if (value := values[name]) is not None and value != each.default
        }
        before, after = canonical_json(chosen | {"seed": -1}).split('"seed":-1')  # which no seed is
        return f'{before}"seed":', after

    def shape(self) -> tuple[Any, ...]:
        """What cells of one stack must share: all that decides the shape of a tensor or the code that runs."""
        return self._shape

    def timing(self) -> tuple[Any, ...]:
        """What cells share whose steps take equally long: their shape, and what sets the pace of cells of one shape."""
        cell = self.canonical()
        return (*self._shape, *(getattr(cell, name) for name in PACING if cell.has(name)))

    @cached_property
    def _shape(self) -> tuple[Any, ...]:
        cell = self.canonical()
        return tuple(
            cell.procedure.split(" ")[0] if name == "procedure" else getattr(cell, name)
            for name in SHAPING
            if cell.has(name)
        )


if TYPE_CHECKING:

    class Cell(_Cell):
        """A cell, as type checkers see it: `_Cell` with the fields that are declared."""

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
