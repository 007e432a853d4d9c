"""A cell: one point of a study's grid, and the identity that its results are filed under.

Everything that decides what a cell's training does is a field here, and nothing else is: not the grid it came from,
the stack it is trained in, the device, the number of steps or the evaluation. So a cell keeps its id, and with it
its finished work, when a study grows, shrinks, is reordered or moves to another machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from numbers import Real
from typing import Any

ID_LENGTH = 24  # hexadecimal digits kept of the SHA-256: 96 bits


def nine_digits(value: float) -> float:
    """`value` rounded to 9 significant digits, the precision in which numbers are hashed and trained."""
    return float(f"{float(value):.9g}")


def parse_sizes(text: str | int, what: str = "sizes") -> tuple[int, ...]:
    """`"40-40-20"` → `(40, 40, 20)`. Raises ValueError, naming `what`, unless every size is a whole number ≥ 1."""
    parts = str(text).split("-")
    if not all(re.fullmatch(r"[1-9][0-9]{0,6}", part) for part in parts):
        raise ValueError(f"{what} are whole numbers in [1, 9999999] joined by '-', as in 40-40-40-40; got {text!r}")
    return tuple(int(part) for part in parts)


def parse_hidden(text: str | int, depth: int) -> tuple[tuple[int, ...], ...]:
    """Hidden sizes of each layer's maps: `"200-200"` for all layers alike, `"512-512/256-256"` layer by layer.

    Returns one tuple a stochastic layer, from the data up. Raises ValueError if the number of layers does not match.
    """
    layers = tuple(parse_sizes(part, "hidden: sizes") for part in str(text).split("/"))
    if len(layers) == 1:
        return layers * depth
    if len(layers) != depth:
        raise ValueError(f"hidden {text!r} describes {len(layers)} layers, latents {depth}")
    return layers


@dataclass(frozen=True)
class Cell:
    """One configuration to train. Defaults are frozen: a later field's default is the behaviour before it existed.

    Fields, by topic (the value that switches a feature off in brackets):

    - `data`: name of a registered data set; `likelihood`: `bernoulli` or `gaussian` with fixed `decoder_variance`.
    - `network`: registered network; `latents`: units of each stochastic layer from the data up, `"40-40-40-40"`;
      `hidden`: hidden sizes of the maps (see `parse_hidden`); `activation`: `tanh`, `relu`, `leaky_relu`, `elu`
      or `identity`.
    - `objective`: `vae` or `ou`; `rho` in [0, 1], the strength of smoothing [1]; `smoothing_samples`, S;
      `smoothing`: what is averaged, `moments` (mean and deviation) or `ratio` (mean / deviation, and deviation).
    - `kl_weight`, reached linearly from `kl_weight_start` over `kl_warmup_steps` steps [0];
      `free_bits`: floor of each layer's term, nats [0].
    - `procedure`: registered training procedure; `seed`; `batch_size`; `precision`: `float32`, `float64`, or, of
      the operands of training's matrix products alone, `tf32` (10 bits) or `bfloat16` (7 bits).
    - `learning_rate`, decaying geometrically to `learning_rate_end` over `learning_rate_decay_steps` steps [0];
      Adam's `adam_beta1`, `adam_beta2`, `adam_epsilon`; `gradient_clip`: largest norm of a cell's gradient [0].
    """

    data: str
    latents: str
    seed: int
    likelihood: str = "bernoulli"
    decoder_variance: float = 1.0
    network: str = "mlp"
    hidden: str = "200-200"
    activation: str = "tanh"
    objective: str = "vae"
    rho: float = 1.0
    smoothing_samples: int = 5
    smoothing: str = "moments"
    kl_weight: float = 1.0
    kl_weight_start: float = 0.0
    kl_warmup_steps: int = 0
    free_bits: float = 0.0
    procedure: str = "joint"
    batch_size: int = 64
    learning_rate: float = 1e-3
    learning_rate_end: float = 1e-4
    learning_rate_decay_steps: int = 0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    gradient_clip: float = 0.0
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Check ranges and round numbers; raises ValueError with every fault, each naming its field and value."""
        faults: dict[str, str] = {}
        for name, kind in _KINDS:
            value = getattr(self, name)
            try:
                if kind in ("float", "int") and (isinstance(value, bool) or not isinstance(value, Real)):
                    raise ValueError("should be a number")
                if kind == "float":
                    value = nine_digits(value)
                    if not math.isfinite(value):
                        raise ValueError("should be a finite number")
                elif kind == "int":
                    if int(value) != value:
                        raise ValueError("should be a whole number")
                    value = int(value)
                elif name in ("latents", "hidden"):
                    value = str(value)
                elif not isinstance(value, str):
                    raise ValueError("should be a name")
            except (TypeError, ValueError, OverflowError) as fault:
                faults[name] = f"{name}: {fault}, got {getattr(self, name)!r}"
                continue
            object.__setattr__(self, name, value)
        for name, (low, high, note) in RANGES.items():
            if name not in faults and not low <= getattr(self, name) <= high:
                faults[name] = f"{name} should be {note}, got {getattr(self, name)!r}"
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                faults[name] = f"{name} should be one of {', '.join(choices)}, got {getattr(self, name)!r}"
        sizes = "latents"
        try:
            depth = len(parse_sizes(self.latents, "latents: sizes"))
            sizes = "hidden"
            parse_hidden(self.hidden, depth)
        except ValueError as fault:
            faults[sizes] = str(fault)
        if faults:
            raise CellError(faults)

    @property
    def depth(self) -> int:
        """Number of stochastic layers, L."""
        return len(self.latent_sizes)

    @cached_property
    def latent_sizes(self) -> tuple[int, ...]:
        """Units of layers 1 … L."""
        return parse_sizes(self.latents)

    @cached_property
    def hidden_sizes(self) -> tuple[tuple[int, ...], ...]:
        """Hidden sizes of the maps of layers 1 … L."""
        return parse_hidden(self.hidden, self.depth)

    @property
    def architecture(self) -> str:
        """The network in words: `mlp 40-40-40-40 (200-200)`, with the activation where it is not tanh."""
        activation = "" if self.activation == "tanh" else f" {self.activation}"
        return f"{self.network} {self.latents} ({self.hidden}){activation}"

    @property
    def smoothed(self) -> bool:
        """Whether training smooths the generative networks."""
        return self.objective in UNSMOOTHED

    def canonical(self) -> Cell:
        """The same training with every field that has no effect at its default: `ou` at ρ = 1 is `vae`."""
        return replace(self, **self._without_effect) if self._without_effect else self

    @cached_property
    def _without_effect(self) -> dict[str, Any]:
        """What `canonical` changes. As `_shape`, the same for all seeds."""
        off: list[str] = []
        nothing_smoothed = self.rho == 1.0 or self.depth == 1  # p(x|z₁) never is
        if self.procedure.startswith(CONTINUE):  # at ρ = 1 too it stays one of its branch, whose others are smoothed
            nothing_smoothed = False
        objective = UNSMOOTHED.get(self.objective, self.objective) if nothing_smoothed else self.objective
        if objective not in UNSMOOTHED:
            off += ["rho", "smoothing_samples", "smoothing"]
        if self.likelihood == "bernoulli":
            off += ["decoder_variance"]
        if self.kl_warmup_steps == 0:
            off += ["kl_weight_start"]
        if self.learning_rate_decay_steps == 0:
            off += ["learning_rate_end"]
        changes: dict[str, Any] = {name: _DEFAULTS[name] for name in off} | {"objective": objective}
        if len(set(self.hidden_sizes)) == 1:
            changes["hidden"] = self.hidden.split("/")[0]
        return {name: value for name, value in changes.items() if getattr(self, name) != value}

    def to_json(self) -> str:
        """All fields as canonical JSON: sorted keys, no white space, shortest numbers."""
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Cell:
        """The cell that `to_json` wrote; unknown fields (of a newer version) raise TypeError."""
        return cls(**json.loads(text))

    def id(self, digest: str, semantics: Mapping[str, int]) -> str:
        """The cell's id: SHA-256 of what decides its training, cut to 24 hexadecimal digits.

        `digest` is that of the decoded data; `semantics` the numbers of the network, objective and procedure, raised
        when the same fields come to mean another computation. `models.cell.registry.cell_id` supplies both.
        """
        cell = self.canonical()
        chosen = {name: value for name, default in _DEFAULTS.items() if (value := getattr(cell, name)) != default}
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
            for name in SHAPE_FIELDS
            if cell.smoothed or name not in ("smoothing_samples", "smoothing")
        )


_KINDS = [(field.name, str(field.type)) for field in fields(Cell)]
_DEFAULTS = {field.name: field.default for field in fields(Cell)}


class CellError(ValueError):
    """Fields of a cell out of range. `faults` maps each field's name to one sentence."""

    def __init__(self, faults: Mapping[str, str]):
        super().__init__("; ".join(faults.values()))
        self.faults = dict(faults)


SHAPE_FIELDS = (
    "data", "likelihood", "network", "latents", "hidden", "activation", "objective", "smoothing_samples", "smoothing",
    "procedure", "batch_size", "precision",
)  # fmt: skip

CONTINUE = (
    "continue"  # first word of a procedure that takes over another cell's weights: see `models.cell.continuation`
)

UNSMOOTHED = {"ou": "vae"}  # objectives that smooth, and what each is at ρ = 1; no other takes a ρ

CHOICES = {
    "likelihood": ("bernoulli", "gaussian"),
    "activation": ("tanh", "relu", "leaky_relu", "elu", "identity"),
    "smoothing": ("moments", "ratio"),
    "precision": ("float32", "float64", "tf32", "bfloat16"),
}


def _range(low: float, high: float, more: str = "") -> tuple[float, float, str]:
    """The ends of a field's values, which belong to them, and the range in words."""
    ends = ["2^63 - 1" if end == 2**63 - 1 else f"{end:.12g}" for end in (low, high)]
    whole = "a whole number " if isinstance(high, int) else ""
    return low, high, f"{whole}in [{', '.join(ends)}]{more}"


_MOST = 10**9
RANGES: dict[str, tuple[float, float, str]] = {
    "rho": _range(0.0, 1.0),
    "seed": _range(0, 2**63 - 1),
    "decoder_variance": _range(1e-9, 1e9),
    "smoothing_samples": _range(1, 10_000),
    "kl_weight": _range(0.0, 1e6),
    "kl_weight_start": _range(0.0, 1e6),
    "kl_warmup_steps": _range(0, _MOST),
    "free_bits": _range(0.0, 1e6, " (nats per layer; 0: off)"),
    "batch_size": _range(1, 1_000_000),
    "learning_rate": _range(1e-12, 1e3),
    "learning_rate_end": _range(1e-12, 1e3),
    "learning_rate_decay_steps": _range(0, _MOST),
    "adam_beta1": _range(0.0, 0.999999),
    "adam_beta2": _range(0.0, 0.999999999),
    "adam_epsilon": _range(1e-30, 1.0),
    "gradient_clip": _range(0.0, 1e9, " (0: off)"),
}


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
