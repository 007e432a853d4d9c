"""Reference files: numbers that somebody published, with what they were measured of and under which conditions.

    name: table1
    source: who printed these numbers, and where
    cells: {data: mnist}                                   # of all entries, unless an entry says otherwise
    conditions: {steps: 1000000, iw_samples: 100}
    entries:
      - name: VAE with free bits, 40-40-40-40
        cells: {latents: 40-40-40-40, free_bits: some}
        printed:
          - {quantity: iw_bound, value: -86.0, margin: 1}

`cells` says which cells of a store are meant: fields of a cell that must agree. Where the source does not print which,
`some` stands for any value but the field's default, and `any` for any value. What makes another method of a cell
(`Published.fits`) is at its default unless stated. `conditions` says how the number came about: fields of a cell and
settings of training and evaluation that may differ in a store, and then are named.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, WrapValidator, create_model, model_validator

from models.cell import FIELDS, REGISTRIES, latent_units
from sweeper.errors import StudyError
from sweeper.study.cell_block import field_type
from sweeper.study.faults import faults_of
from sweeper.study.schema import NAME
from sweeper.study.source import read_tree
from sweeper.study.types import Count, Number, Positive, Section, Text

SOME, ANY = "some", "any"
PRINTED = "printed"  # folder beside studies of a paper's tables, in which the numbers have the same names
CRITICAL = ("onset", "midpoint")  # quantities of a curve over ρ; all others are columns of a store's cells
PER_LAYER = ("active_units", "active_units_one_pass")
Quantity = Literal[
    "iw_bound", "elbo", "bits_per_dim", "bits_per_dim_iw", "reconstruction", "kl_total", "kl_top", "active_units",
    "active_units_one_pass", "parameters", "peak_memory_bytes", "onset", "midpoint",
]  # fmt: skip

# Fields of a cell that sources often leave unsaid, or that belong to conditions rather than to the method. Any other
# field that `cells` does not name, one of a later version included, is at its default.
UNSAID = frozenset(
    {
        "seed", "hidden", "activation", "decoder_variance", "components", "smoothing_samples", "kl_weight_start",
        "batch_size", "learning_rate", "learning_rate_end", "learning_rate_decay_steps", "adam_beta1", "adam_beta2",
        "adam_epsilon", "gradient_clip", "precision", "gradient_estimator",
    }
)  # fmt: skip
Ends = Annotated[tuple[Number, Number], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)]
_DEFAULTS = {name: field.default for name, field in FIELDS.items() if not field.required}


def _or_some(value: Any, check: Any) -> Any:
    return value if value in (SOME, ANY) else check(value)


def _or_any(value: Any, check: Any) -> Any:
    return ANY if value == ANY else check(value)


def _field(name: str) -> Any:
    """The type of a field of a cell. Names need not be registered: a reference may know more than this version."""
    return Text if name in REGISTRIES else field_type(FIELDS[name])


def _cells_field(name: str) -> Any:
    return Annotated[_field(name), WrapValidator(_or_some if name in _DEFAULTS else _or_any)]


_NAMES = [name for name in FIELDS if name != "seed"]
Cells = create_model(
    "Cells",
    __base__=Section,
    __doc__="Which cells are meant: fields of a cell, or `some` or `any`.",
    **{name: (_cells_field(name), None) for name in _NAMES},  # type: ignore[call-overload]
)
Conditions = create_model(
    "Conditions",
    __base__=Section,
    __doc__="How the number came about: fields of a cell, and settings of training and evaluation.",
    **{name: (_field(name), None) for name in _NAMES},  # type: ignore[call-overload]
    steps=(Positive, None),
    split=(Literal["test", "validation"], None),
    images=(Count, None),
    iw_samples=(Positive, None),
    seeds=(Positive, None),
)


class Printed(Section):
    """One printed number: a value, or an interval where the source prints no more than that."""

    quantity: Annotated[Quantity, Field(description="a column of a store's cells, or onset, or midpoint")]
    value: Annotated[
        tuple[Number, ...],
        BeforeValidator(lambda value: value if isinstance(value, list) else [value]),
        Field(description="as printed; for active units a list, from the data up"),
    ] = ()
    interval: Annotated[Ends | None, Field(description="low and high end, where no value is printed")] = None
    margin: Annotated[Number, Field(ge=0, description="how far off still counts as reproduced, in the quantity's unit")]

    @model_validator(mode="after")
    def _consistent(self) -> Printed:
        if not self.value and self.interval is None:
            raise ValueError("give a value, or an interval where no value is printed")
        if len(self.value) > 1 and self.quantity not in PER_LAYER:
            raise ValueError(f"{self.quantity} is one number, got {len(self.value)}")
        if self.interval is not None and not self.interval[0] <= self.interval[1]:
            raise ValueError(f"interval should be [low, high], got {list(self.interval)}")
        return self


class Entry(Section):
    """A line of a table or of a figure: cells, conditions, and what is printed of them."""

    name: Annotated[Text, Field(description="says which line of the source this is")]
    cells: Annotated[Cells, Field(description="which cells are meant, beside those of the file")] = Cells()  # type: ignore[valid-type]
    conditions: Annotated[Conditions, Field(description="conditions beside those of the file")] = Conditions()  # type: ignore[valid-type]
    printed: Annotated[list[Printed], Field(min_length=1, description="the printed numbers")]


class ReferenceFile(Section):
    """Published numbers of one source."""

    name: Annotated[Text, Field(pattern=f"^{NAME}$", description="names the reference")]
    source: Annotated[Text, Field(min_length=1, description="who printed these numbers, and where")]
    note: Annotated[Text, Field(description="what a reader of the comparison should know")] = ""
    cells: Annotated[Cells, Field(description="which cells are meant, for all entries")] = Cells()  # type: ignore[valid-type]
    conditions: Annotated[Conditions, Field(description="conditions of all entries")] = Conditions()  # type: ignore[valid-type]
    entries: Annotated[list[Entry], Field(min_length=1, description="lines of the table or figure")]


@dataclass(frozen=True)
class Published:
    """A printed number with all that is known of it.

    `value` has one number, one number per layer (from the data up), or none where only an `interval` is printed.
    `cells` and `conditions` are those of entry and file together.
    """

    name: str
    quantity: str
    value: tuple[float, ...]
    interval: tuple[float, float] | None
    margin: float
    cells: Mapping[str, Any]
    conditions: Mapping[str, Any]

    def fits(self, cell: Mapping[str, Any], along: Collection[str] = frozenset()) -> bool:
        """Whether a cell with these fields is meant; fields in `along` have no say."""
        for name in cell.keys() - set(along):
            usual = _DEFAULTS.get(name)
            value = usual if cell[name] is None else cell[name]  # its parts have no such option
            asked = self.cells.get(name, ANY if name in UNSAID else _DEFAULTS.get(name, ANY))
            off = SOME if value != usual else None
            if asked not in (ANY, value, off):
                return False
        return True


@dataclass(frozen=True)
class Reference:
    """A reference file: its name, source and note, and every printed number."""

    name: str
    source: str
    note: str
    published: tuple[Published, ...]


def load_reference(path: Path | str) -> Reference:
    """The reference in the YAML file at `path`. Raises StudyError with all faults at once, each with its place.

    `studies/paper/table6.yaml` is a study; the numbers that its cells compare with are in the file of that name in
    `studies/paper/printed/`, which is read where the path names the study, or no file.
    """
    path = Path(path)
    beside = path.parent / PRINTED / path.name
    tree = read_tree(path if path.exists() or not beside.exists() else beside)
    if isinstance(tree.value, dict) and "train" in tree.value and beside.exists():
        tree = read_tree(beside)
    if not isinstance(tree.value, dict):
        raise StudyError(
            f"{tree.place}: a reference is a mapping of name, source, entries, …; see studies/paper/{PRINTED}/"
        )
    try:
        file = ReferenceFile.model_validate(tree.plain())
    except ValidationError as error:
        raise StudyError(faults_of(error, tree, ReferenceFile)) from None
    published, faults = [], []
    for index, entry in enumerate(file.entries):
        cells, conditions = (_given(file, part) | _given(entry, part) for part in ("cells", "conditions"))
        place = tree.value["entries"].value[index].place
        missing = [name for name in ("data", "latents") if name not in cells]
        faults += [f"{place}: entries.cells.{name}: missing; which cells are meant?" for name in missing]
        for printed in entry.printed:
            layers = len(latent_units(cells["latents"])) if cells.get("latents", ANY) != ANY else 0
            if layers and printed.quantity in PER_LAYER and len(printed.value) != layers:
                faults.append(f"{place}: {printed.quantity} should have {layers} numbers, one per layer")
            if printed.quantity not in CRITICAL or "rho" not in cells:
                published.append(Published(name=entry.name, cells=cells, conditions=conditions, **dict(printed)))
            else:
                faults.append(f"{place}: entries.cells.rho: {printed.quantity} is looked for over all ρ; leave it out")
    if faults:
        raise StudyError(faults)
    return Reference(file.name, file.source, file.note, tuple(published))


def _given(owner: ReferenceFile | Entry, part: str) -> dict[str, Any]:
    """What the file says in a part, defaults left out."""
    section = getattr(owner, part)
    return {name: getattr(section, name) for name in type(section).model_fields if name in section.model_fields_set}
