"""The names a cell may use, by role: data sets, networks, likelihoods, objectives, procedures, optimisers and so on.

An entry says where the code lives (imported when first asked for, so that planning never loads torch) and carries what
a cell's identity needs: a data set's digest, or a `semantics` number, raised whenever the same fields of a cell come to
mean another computation. Adding one is one new file, its options beside it, and one line here: see docs/adding.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from models.cell.fields import Option, options_of
from models.cell.image_shape import ImageShape
from models.cell.sequence_shape import SequenceShape, Shape
from models.cell.size import Size
from models.cell.text_options import TextOptions
from models.likelihoods.spec import (
    GaussianOptions,
    LogisticMixtureOptions,
    logistic_maps,
    logistic_mixture_maps,
    one_per_channel,
    one_per_symbol,
)
from models.networks.biva_spec import UNSMOOTHABLE as BIVA_UNSMOOTHABLE
from models.networks.biva_spec import BivaOptions, biva_size
from models.networks.ladder_resnet_spec import LadderResnetOptions, ladder_resnet_size
from models.networks.ladder_spec import UNSMOOTHABLE as LADDER_UNSMOOTHABLE
from models.networks.ladder_spec import LadderOptions, ladder_size
from models.networks.lstm_spec import UNSMOOTHABLE as LSTM_UNSMOOTHABLE
from models.networks.lstm_spec import LanguageModelOptions, LstmOptions, language_model_size, lstm_size
from models.networks.mlp_decoder_spec import MlpDecoderOptions, mlp_decoder_size
from models.networks.mlp_spec import MlpOptions, NullMlpOptions, mlp_size, null_mlp_size
from models.networks.pixelcnn_spec import KINDS as BITS
from models.networks.pixelcnn_spec import UNSMOOTHABLE as PIXELCNN_UNSMOOTHABLE
from models.networks.pixelcnn_spec import (
    PixelcnnAloneOptions,
    PixelcnnOptions,
    pixelcnn_alone_size,
    pixelcnn_size,
)
from models.networks.resnet_spec import ResnetOptions, resnet_size
from models.networks.two_level_spec import UNSMOOTHABLE as TWO_LEVEL_UNSMOOTHABLE
from models.networks.two_level_spec import TwoLevelOptions, two_level_size
from models.objectives.spec import IwaeOptions, OuIwaeOptions, OuOptions, VaeOptions
from models.posteriors.spec import PlanarOptions, planar_size
from models.priors.spec import VampOptions, vamp_size
from models.procedures.spec import AggressiveOptions, ContinueOptions, JointOptions, SemiAmortizedOptions
from models.stack.spec import AdamOptions, SgdOptions


@dataclass(frozen=True)
class NoOptions:
    """Of a part that has none."""


@dataclass(frozen=True, eq=False)  # one of a kind, and a key of what is remembered about it
class Entry:
    """Where a registered name's code lives (`module:attribute`), and what identity and planning need of it.

    - `options`: the dataclass of its options (`models.cell.fields.option`), which are fields of the cells that name it.
      It may also have `faults()` and `conflicts(cell)`, a sentence for each option that does not go with the part's
      others, or with the cell's other parts; `canonical()` and `idle(cell)`, options without effect at their default;
      and `refused`, by name why it has not an option that other parts of its role have.
    - `semantics`: of a network, objective or procedure; `digest`: of a data set's decoded content. A data set with
      options checks its content itself, and its options have the `shape` of it and its name in `words`.
    - `shape`: of a data set's images; `kind`: of its values, `models.data.dataset.Dataset.kind`; `validation`, `test`:
      images in these splits (None, "", 0: not known). `labels`: digest of `models.data.labels.Labels`; `classes`: the
      names of their classes ("", none: it has no labels).
    - `kinds`: of a likelihood, the kinds of values that it is for. A cell with data of another kind is refused when it
      is made; with a density, when the data are loaded. Of a network the same, where it is not for images (`reads`).
    - `maps`: of a likelihood, a function of (cell, shape of an image) to the numbers that a network puts out per
      position of an image (`Cell.output_maps`).
    - `size`: of a network, a function of (cell, shape of an image) → `models.cell.size.Size`, from a module without
      torch; of a prior or posterior, the same for what it adds; `max_stack`: of a network, most cells it can train in
      one stack (0: no limit of its own).
    - `smooths`: of an objective, the name of what it is where nothing is smoothed.
    - `unsmoothable`: of any part, why no objective may smooth the maps of its cells, a clause after "because"; "": one
      may. A cell of both is refused when it is made.
    """

    target: str
    options: type = NoOptions
    semantics: int = 1
    digest: str = ""
    shape: Shape | None = None
    kind: str = ""
    validation: int = 0
    test: int = 0
    labels: str = ""
    classes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    maps: Callable[[Any, Any], int] = one_per_channel
    size: Callable[[Any, Any], Size] | None = None
    max_stack: int = 0
    smooths: str = ""
    unsmoothable: str = ""

    def load(self) -> Any:
        """Import and return the registered object."""
        module, attribute = self.target.split(":")
        return getattr(import_module(module), attribute)

    @property
    def density(self) -> bool:
        """Of a likelihood: whether it is one, of real values, and not a probability of discrete ones."""
        return "real" in self.kinds

    @property
    def reads(self) -> tuple[str, ...]:
        """Of a network: the kinds of values that it is for, those of images where it does not say."""
        return self.kinds or tuple(kind for kind in KINDS if kind != "tokens")

    def declared(self) -> Mapping[str, Option]:
        """The options of its cells, in order."""
        return options_of(self.options)


KINDS = {  # of a data set's values, in words
    "binary": "pixels",
    "probability": "pixels",
    "levels": "256 levels",
    "real": "real values",
    "tokens": "sequences of symbols",
}

DATASETS: dict[str, Entry] = {
    "digits": Entry(
        "models.data.digits:load",
        digest="0998bebc977cdae47428355719d6dc51ab5fc1ead7306301b2e4529e5500a206",
        shape=ImageShape(1, 8, 8),
        kind="probability",
        validation=200,
        test=300,
        labels="96167e46eb446b903d2ebedb8cfe7ba437ed8d1c41a01800ce6e1d7872e2cfa0",
        classes=tuple("0123456789"),
    ),
    "mnist": Entry(
        "models.data.mnist:load",
        digest="2c57f75e2a0bb380faec0951536566f4b11aa664cfe42a62cc64043e9d886436",
        shape=ImageShape(1, 28, 28),
        kind="probability",
        validation=10_000,
        test=10_000,
        labels="040674259c53c9bc2185a868b39e7a9cbf54dfab51c1175309ed6ecc865270ed",
        classes=tuple("0123456789"),
    ),
    "mnist_static": Entry(
        "models.data.mnist:load_static",
        digest="69ea9e1ec13b9c1a3f2416b1f6e5a51a7d1bbb05a94839a90211251e03e0a644",
        shape=ImageShape(1, 28, 28),
        kind="binary",
        validation=10_000,
        test=10_000,
    ),
    "omniglot": Entry(
        "models.data.omniglot:load",
        digest="8fca64fffe20f0d6f2095163cd3f8dd85dd3e329133a70859a7e9d3770fc09e7",
        shape=ImageShape(1, 28, 28),
        kind="probability",
        validation=1_345,
        test=8_115,
        labels="0de1f00bceabd0a996870fc3508dc4f2f664ed4de2ae7b9abcdb34075a02cef7",
        classes=tuple(f"alphabet {number}" for number in range(1, 51)),
    ),
    "cifar10": Entry(
        "models.data.cifar10:load",
        digest="b65413cfa1a7de4529cd618752242ead4516f64a283b6952bbcdcf444af1c2b6",
        shape=ImageShape(3, 32, 32),
        kind="levels",
        validation=5_000,
        test=10_000,
        labels="5ca20998cf9a917c811c47c341ef40764ff6978b1cde3bf5fcf927c61d8aae22",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
    "synthetic_text": Entry(
        "models.data.synthetic_text:load",
        digest="dc3eb9cac04865e3774dd9f3d0228572b6eab137067872e9d93ad298bb9bb3b2",
        shape=SequenceShape(11, 201),
        kind="tokens",
        validation=2_000,
        test=2_000,
    ),
    "cmudict": Entry(
        "models.data.cmudict:load",
        digest="d50c026b1ad6645098db89e5bed34e8003458472f7f0ddac4e0b01589a142f12",
        shape=SequenceShape(17, 40),
        kind="tokens",
        validation=5_410,
        test=5_432,
    ),
    "ud_ewt": Entry(
        "models.data.ud_ewt:load",
        digest="e886cc749fb0464526d68335b115d39a1505e3ab1c17129a6892e7b69182bdda",
        shape=SequenceShape(41, 6_268),
        kind="tokens",
        validation=1_959,
        test=2_024,
        labels="271425f94b1bcf1fab60a3707907138b1baa137d2d4a1506a5183a44e224f158",
        classes=("answers", "email", "newsgroup", "reviews", "weblog"),
    ),
    "text": Entry("models.data.own_text:load", TextOptions, kind="tokens"),
}

NETWORKS: dict[str, Entry] = {
    "mlp": Entry("models.networks.mlp:HierarchicalMLP", MlpOptions, size=mlp_size),
    "null_mlp": Entry("models.networks.null_mlp:NullMLP", NullMlpOptions, size=null_mlp_size),
    "ladder": Entry(
        "models.networks.ladder:Ladder",
        LadderOptions,
        size=ladder_size,
        unsmoothable=LADDER_UNSMOOTHABLE,
    ),
    "two_level": Entry(
        "models.networks.two_level:TwoLevel",
        TwoLevelOptions,
        size=two_level_size,
        unsmoothable=TWO_LEVEL_UNSMOOTHABLE,
    ),
    "resnet": Entry("models.networks.resnet:ResNet", ResnetOptions, size=resnet_size),
    "ladder_resnet": Entry(
        "models.networks.ladder_resnet:LadderResNet",
        LadderResnetOptions,
        size=ladder_resnet_size,
        unsmoothable=LADDER_UNSMOOTHABLE,
    ),
    "biva": Entry("models.networks.biva:Biva", BivaOptions, size=biva_size, unsmoothable=BIVA_UNSMOOTHABLE),
    "lstm": Entry(
        "models.networks.lstm:Lstm",
        LstmOptions,
        kinds=("tokens",),
        size=lstm_size,
        unsmoothable=LSTM_UNSMOOTHABLE,
    ),
    "lstm_lm": Entry(
        "models.networks.lstm_lm:LanguageModel",
        LanguageModelOptions,
        kinds=("tokens",),
        size=language_model_size,
        unsmoothable=LSTM_UNSMOOTHABLE,
    ),
    "pixelcnn": Entry(
        "models.networks.pixelcnn:PixelCnn",
        PixelcnnOptions,
        kinds=BITS,
        size=pixelcnn_size,
        unsmoothable=PIXELCNN_UNSMOOTHABLE,
    ),
    "pixelcnn_alone": Entry(
        "models.networks.pixelcnn_alone:PixelCnnAlone",
        PixelcnnAloneOptions,
        kinds=BITS,
        size=pixelcnn_alone_size,
        unsmoothable=PIXELCNN_UNSMOOTHABLE,
    ),
    "mlp_decoder": Entry("models.networks.mlp_decoder:MlpDecoder", MlpDecoderOptions, size=mlp_decoder_size),
}

PRIORS: dict[str, Entry] = {
    "normal": Entry("models.priors.normal:StandardNormal"),
    "vamp": Entry("models.priors.vamp:Vamp", VampOptions, size=vamp_size),
}

POSTERIORS: dict[str, Entry] = {
    "gaussian": Entry("models.posteriors.gaussian:Gaussian"),
    "planar": Entry("models.posteriors.planar:Planar", PlanarOptions, size=planar_size),
}

LIKELIHOODS: dict[str, Entry] = {
    "bernoulli": Entry("models.likelihoods.bernoulli:Bernoulli", kinds=("binary", "probability")),
    "gaussian": Entry("models.likelihoods.gaussian:Gaussian", GaussianOptions, kinds=("levels", "real")),
    "logistic": Entry("models.likelihoods.logistic:Logistic", kinds=("levels",), maps=logistic_maps),
    "logistic_mixture": Entry(
        "models.likelihoods.logistic_mixture:LogisticMixture",
        LogisticMixtureOptions,
        kinds=("levels",),
        maps=logistic_mixture_maps,
    ),
    "categorical": Entry("models.likelihoods.categorical:Categorical", kinds=("tokens",), maps=one_per_symbol),
}

OBJECTIVES: dict[str, Entry] = {
    "vae": Entry("models.objectives.elbo:Vae", VaeOptions),
    "ou": Entry("models.objectives.elbo:OrnsteinUhlenbeck", OuOptions, smooths="vae"),
    "iwae": Entry("models.objectives.iwae:Iwae", IwaeOptions),
    "ou_iwae": Entry("models.objectives.iwae:OuIwae", OuIwaeOptions, smooths="iwae"),
}

PROCEDURES: dict[str, Entry] = {
    "joint": Entry("models.procedures.joint:Joint", JointOptions),
    "continue": Entry("models.procedures.joint:Joint", ContinueOptions),  # from another's weights: `continuation.py`
    "aggressive": Entry("models.procedures.aggressive:Aggressive", AggressiveOptions),
    "semi_amortized": Entry("models.procedures.semi_amortized:SemiAmortized", SemiAmortizedOptions),
}

OPTIMIZERS: dict[str, Entry] = {
    "adam": Entry("models.stack.adam:Adam", AdamOptions),
    "sgd": Entry("models.stack.sgd:Sgd", SgdOptions),
}


@dataclass(frozen=True)
class Role:
    """What the parts of one registry are to a cell: a field whose value is one of their names.

    `default`: the name that a cell has without saying so ("": it says one); `since`: as of an `Option`.
    """

    parts: dict[str, Entry]
    meaning: str
    default: str = ""
    since: int = 1


ROLES: dict[str, Role] = {
    "data": Role(DATASETS, "data set"),
    "likelihood": Role(
        LIKELIHOODS,
        "distribution of an image given z₁: of pixels `bernoulli`; of 256 levels `logistic` or `logistic_mixture`; "
        "`gaussian` of real values, or of levels / 255 as if they were; of symbols `categorical`",
        "bernoulli",
    ),
    "network": Role(NETWORKS, "registered network", "mlp"),
    "prior": Role(
        PRIORS,
        "prior of the top layer: `normal`, or `vamp`, a mixture of the posteriors of learned pseudo-inputs",
        "normal",
        since=3,
    ),
    "posterior": Role(
        POSTERIORS,
        "distribution of a layer given what is below: `gaussian`, or `planar`, at the top layer a Gaussian that goes "
        "through planar flows",
        "gaussian",
        since=3,
    ),
    "objective": Role(
        OBJECTIVES,
        "`vae` or `iwae`; smoothed, `ou` or `ou_iwae`, which at ρ = 1 train as `vae` and `iwae` do and are "
        "stored as these",
        "vae",
    ),
    "procedure": Role(PROCEDURES, "registered training procedure", "joint"),
    "optimizer": Role(OPTIMIZERS, "optimiser: `adam`, or `sgd`", "adam", since=3),
}

REGISTRIES = {name: role.parts for name, role in ROLES.items()}


class UnknownName(ValueError):
    """A name that no registry holds; the message has the nearest one that does."""


def find(field: str, name: str) -> Entry:
    """The entry of `name` in the registry of cell field `field`. Raises UnknownName."""
    registry = REGISTRIES[field]
    if field == "procedure":
        name = str(name).split(" ")[0]
    if name not in registry:
        near = get_close_matches(str(name), registry, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise UnknownName(f"{field}: no {name!r} here{hint} (there are {', '.join(registry)})")
    return registry[name]
