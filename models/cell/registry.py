"""The names a cell may use, by role: data sets, networks, likelihoods, objectives, procedures, optimisers and so on.

An entry (`models.cell.entry`) says where the code lives (imported when first asked for, so that planning never loads
torch) and carries what a cell's identity needs: a data set's digest, or a `semantics` number, raised whenever the same
fields of a cell come to mean another computation. Adding one is one new file, its options beside it, and one line here:
see docs/adding.md.
"""

from __future__ import annotations

from difflib import get_close_matches

from models.cell.entry import Entry, Role
from models.cell.image_shape import ImageShape
from models.cell.sequence_shape import SequenceShape
from models.cell.text_options import TextOptions
from models.likelihoods.spec import (
    GaussianOptions,
    LogisticMixtureOptions,
    logistic_maps,
    logistic_mixture_maps,
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

UNSMOOTHED = {name: entry.smooths for name, entry in REGISTRIES["objective"].items() if entry.smooths}


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
