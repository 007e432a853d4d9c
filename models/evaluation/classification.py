"""Whether a linear classifier reads an image's class off its posterior means, which training never saw the labels of.

Of every image and layer e(x), the mean of q's mean over `CHAINS` ancestral chains, as active units have it; one is
enough where q(z|x) is a Gaussian of a single layer. For each layer a multinomial logistic regression is fitted to the
means of N training images, spread over all: what is maximised is

    C Σ_n log p(class_n | e(x_n)) − ½ ‖W‖²

Means are taken as they are, in units of z, and no C is large: so a layer whose means hardly vary beside the prior's
deviation of 1 is as good as none, and not blown up until differences of 10⁻⁶ tell classes apart. C is that of
`STRENGTHS` with the best mean log p in `FOLDS`-fold cross-validation on the same N images (fold n mod `FOLDS`); then
all N are fitted. Accuracy is the share of the evaluated images that are put into their class, with its binomial
standard error. Their labels decide nothing else. What a classifier without any image would get is the chance level
beside it: the share, among them, of the class most frequent among the N.

Also by this setting, and without labels: the two first principal components of the top layer's means, of up to
`SHOWN` evaluated images, for a picture of them.

Dieng et al. (2019, §4.1) use a perceptron of 1,024 units in place of the linear map: their accuracies are higher.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.data.labels import labels_of
from models.draws.draws import Purpose, draws_on
from models.evaluation.inputs import binarised, noise_of
from models.evaluation.refined import BOUNDS, refined
from models.evaluation.settings import IMAGES, Evaluation
from models.evaluation.which import ImageBlock, evaluated_part, spread
from models.stack.stack import Stack

CHAINS = 10  # of an image: as many rows as a block of an evaluation has
STRENGTHS, FOLDS = (1e-3, 1e-2, 1e-1, 1.0), 3  # C from the strongest regularisation on
MAX_UNITS = 1024  # of a layer that is classified: the fit takes minutes beyond
MAX_ITERATIONS = 300  # of L-BFGS
LEAST = 1e-12  # probability of a class that a fold's classifier does not know
SHOWN = 300  # images in a picture
DIGITS = 4  # significant ones of a place in it
KEPT = 1 << 26  # numbers kept of the cells taken at a time

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


def classification(
    stack: Stack, images: Any, settings: Evaluation, places: Sequence[slice], between: Callable[[], object]
) -> list[dict[str, Any]]:
    """The columns of every cell of a stack: `classification_accuracy` and `classification_se` of layers 1 … L,
    `classification_images`, `classification_chance`; `means_components`, `means_shares`, `means_labels`.

    Without labels those of the classification are None, and `means_labels`; NaN for a layer of more than `MAX_UNITS`.

    Args:
        images: those that are evaluated. `settings.classification`: how many training images are taken.
        places: which cells are computed at a time; `between`: called before every block of images, and every fit.
    """
    data = stack.dataset
    labels, seen = labels_of(data), spread(len(images), min(SHOWN, len(images)))
    learnt = spread(len(data.train), min(settings.classification, len(data.train)))
    if labels is None:
        used, answers, known = images[seen], None, None
    else:
        used = np.concatenate([images, data.train[learnt]])
        answers, known = evaluated_part(getattr(labels, settings.split), settings), labels.train[learnt]
    rows = []
    for here in _fewer(stack, places, len(used)):
        means = _means(stack, used, settings, here, between)
        for cell in range(len(stack.cells[here])):
            own = [layer[cell].numpy() for layer in means]
            if answers is None or known is None:
                row = dict.fromkeys(_COLUMNS) | {"means_labels": None}
                shown = own[-1] if own else None
            else:
                row = _classified(own, answers, known, between) | {"means_labels": answers[seen].tolist()}
                shown = own[-1][: len(images)][seen] if own else None
            rows.append(row | _picture(shown))
    return rows


_COLUMNS = "classification_accuracy", "classification_se", "classification_images", "classification_chance"


def _fewer(stack: Stack, places: Sequence[slice], images: int) -> Iterator[slice]:
    """The cells of `places`, so many at a time that what is kept of so many images is bounded."""
    most = max(1, KEPT // max(1, images * sum(stack.network.latents)))
    for here in places:
        first, end, _ = here.indices(len(stack.cells))
        yield from (slice(start, min(start + most, end)) for start in range(first, end, most))


def _means(stack: Stack, images: Any, settings: Evaluation, here: slice, between: Callable[[], object]) -> list[Tensor]:
    """e(x) of each layer for the cells `here`, (cells, images, units), float64, on the host."""
    network, params = stack.part(here)
    source = draws_on(stack.device, [settings.seed], stack.dtype)
    one = len(network.latents) == 1 and network.posterior.gaussian
    chains = range(1 if one else CHAINS)
    found: list[list[Tensor]] = [[] for _ in network.latents]
    with torch.no_grad():
        for first in range(0, len(images) if found else 0, IMAGES):
            between()
            some = images[first : first + IMAGES]
            block = ImageBlock(first, len(some), len(chains), len(chains), False)
            x = binarised(stack, some, source, first, Purpose.CLASSIFY_BINARISE)[here]
            given = refined(stack, here, network, params, x, source, first, BOUNDS, Purpose.CLASSIFY_REFINE)
            noise = noise_of(stack, source, Purpose.CLASSIFY_LATENT, block, chains)
            terms = network.terms(params, x, noise, given=given)
            for kept, layer in zip(found, terms.layers, strict=True):
                mean = layer.q_mean.double()
                mean = mean.expand(len(mean), len(chains), *mean.shape[2:])
                total = torch.zeros_like(mean[:, 0])
                for chain in chains:  # in this order for every stack, which a sum over the axis does not promise
                    total = total + mean[:, chain]
                kept.append((total / len(chains)).cpu())
    return [torch.cat(layer, dim=1) for layer in found]


def _classified(
    means: Sequence[Floats], answers: Classes, known: Classes, between: Callable[[], object]
) -> dict[str, Any]:
    """The columns of a cell: of each layer the means of evaluated images, of which `answers` are the classes, and then
    those of the images learnt from, of classes `known`."""
    shares = []
    for layer in means:
        evaluated, learnt = layer[: len(answers)], layer[len(answers) :]
        small = layer.shape[1] <= MAX_UNITS
        shares.append(accuracy(learnt, known, evaluated, answers, between) if small else math.nan)
    commonest = np.bincount(known).argmax()
    return {
        "classification_accuracy": shares or None,
        "classification_se": [math.sqrt(share * (1.0 - share) / len(answers)) for share in shares] or None,
        "classification_images": len(known),
        "classification_chance": float((answers == commonest).mean()),
    }


def accuracy(
    learnt: Floats, known: Classes, evaluated: Floats, answers: Classes, between: Callable[[], object] = lambda: None
) -> float:
    """Share of `evaluated`, (images, units), whose class `answers` the classifier gives that learns from `learnt`."""
    import sklearn.linear_model  # noqa: F401 - only libraries that are loaded by then are held to one thread
    from threadpoolctl import threadpool_limits

    x, y = (each - learnt.mean(axis=0) for each in (learnt, evaluated))
    fold, classes = np.arange(len(x)) % FOLDS, int(known.max()) + 1
    with threadpool_limits(limits=1):  # the same sums wherever it runs
        worth = np.zeros(len(STRENGTHS))
        for (place, strength), each in product(enumerate(STRENGTHS), range(min(FOLDS, len(x)))):
            between()
            rest, out = fold != each, np.flatnonzero(fold == each)
            p = _probabilities(x[rest], known[rest], x[out], strength, classes)
            worth[place] += np.log(p[np.arange(len(out)), known[out]]).sum()
        between()
        best = STRENGTHS[int(worth.argmax())]  # the first of equals: the strongest regularisation
        given = _probabilities(x, known, y, best, classes).argmax(axis=1)
    return float((given == answers).mean())


def _probabilities(x: Floats, known: Classes, at: Floats, strength: float, count: int) -> Floats:
    """p(class | ·) at `at`, (images, `count`), of the classifier fitted to `x` and its classes `known`."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(known)
    found = np.full((len(at), count), LEAST)
    if len(classes) == 1:
        found[:, classes] = 1.0
        return found
    fitted = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as near as so many iterations lead
        fitted.fit(x, known)
    found[:, classes] = np.maximum(fitted.predict_proba(at), LEAST)
    return found


def _picture(means: Floats | None) -> dict[str, Any]:
    """Columns of the picture of these images' means, (images, units)."""
    if means is None:
        return {"means_components": None, "means_shares": None}
    places, shares = principal_components(means)
    return {
        "means_components": [[float(f"{place:.{DIGITS}g}") for place in component] for component in places.T],
        "means_shares": shares.tolist(),
    }


def principal_components(means: Floats) -> tuple[Floats, Floats]:
    """Places of images along the two first principal components of their means, (images, 2), and the components' shares
    of the variance, (2,).

    A component points to where its largest weight, the first of equals, is positive. Where the means have less than two
    dimensions, the others are 0.
    """
    centred = means - means.mean(axis=0)
    _, values, weights = np.linalg.svd(centred, full_matrices=False)
    largest = np.abs(weights).argmax(axis=1)
    signs = np.where(weights[np.arange(len(weights)), largest] < 0, -1.0, 1.0)
    places, shares = np.zeros((len(means), 2)), np.zeros(2)
    some = min(2, len(weights))
    places[:, :some] = centred @ (weights[:some] * signs[:some, None]).T
    total = float((values**2).sum())
    if total > 0:
        shares[:some] = values[:some] ** 2 / total
    return places, shares
