"""The columns of what an evaluation computes only where it is asked for: see `models.evaluation.evaluate.DIAGNOSES`."""

from __future__ import annotations

from sweeper.store.column import column

NOT_ASKED = "the cell diverged, or the evaluation does not ask for it"
_NO_MEAN = f"{NOT_ASKED}, or q(z₁|x) is no Gaussian whose mean follows from x alone"
_NO_GAUSSIAN = f"{NOT_ASKED}, or a layer's q is no Gaussian"
_NO_GRID = f"{NOT_ASKED}, or z is not one Gaussian variable"
_NO_LABELS = f"{NOT_ASKED}, or the data have no labels"
_NO_LAYER = "or the network has no latent variables"
_OF_MAP = "degree 0, 1, 2, 3 and of all others, layer by layer: of"

INFORMATION_ALONG = ("mutual_information", "mi_se", "mi_samples", "mi_cap", "kl_aggregate")  # in the history too

GRADIENT = [
    column(
        "gradient_variance", "double", "nats²",
        "variance, over the noise of a training step, of the gradient of an image's loss with respect to the mean that "
        "the first inference map puts out: summed over units, mean over the images of a fixed batch, binarised once "
        "(not the variance of a batch's mean)",
        null=_NO_MEAN, since=4,
    ),
    column(
        "gradient_variance_latent", "double", "nats²",
        "its part from the noise of z: the variance of the gradient averaged over the noise of smoothing",
        null=_NO_MEAN, since=4,
    ),
    column(
        "gradient_variance_smoothing", "double", "nats²",
        "its part from the noise of smoothing, the noise of z held fixed; the two sum to `gradient_variance`; 0 where "
        "nothing is smoothed",
        null=_NO_MEAN, since=4,
    ),
    column(
        "gradient_variance_plain", "double", "nats²", "the same variance of the same loss without smoothing, with the "
        "same noise of z", null=_NO_MEAN, since=4,
    ),
]  # fmt: skip

POSTERIOR = [
    column(
        "posterior_mean_model", "list<double>", "",
        "mean of the model's own posterior p(z|x) of a scalar z, on a grid: one number per image, of images spread "
        "over those evaluated (`models.evaluation.posterior_mean`)",
        null=_NO_GRID, since=9,
    ),
    column(
        "posterior_mean_inference", "list<double>", "", "mean of q(z|x) of the same images", null=_NO_GRID, since=9,
    ),
    column(
        "nll_exact", "double", "nats/image", "−log p(x) on that grid, mean over these images", null=_NO_GRID, since=9,
    ),
    column(
        "posterior_gap", "double", "nats/image",
        "KL(q(z|x) ‖ p(z|x)) on that grid, mean over these images: what the ELBO lacks of log p(x)",
        null=f"{_NO_GRID}, or some q reaches beyond ±64", since=9,
    ),
]  # fmt: skip

DIAGNOSES = [
    column(
        "mutual_information", "list<double>", "nats",
        "mutual information I(x; z_i) between image and latent variables over the aggregate posterior of `mi_samples` "
        "images, layers 1 … L: on average a lower bound, at most `mi_cap`; above layer 1 q(z_i|x) is the Gaussian of "
        "its mean and variance over ancestral chains (`models.evaluation.mutual_information`); NaN for a layer whose q "
        "has no density at other samples",
        null=f"{NOT_ASKED}, or no layer's q has a density at other samples than its own", since=4,
    ),
    column(
        "mi_se", "list<double>", "nats", "standard error of `mutual_information` over images",
        null=f"{NOT_ASKED}, or no layer's q has a density at other samples than its own", since=4,
    ),
    column(
        "mi_upper", "list<double>", "nats",
        "leave-one-out estimate of the same, on average an upper bound; NaN where q(z_i|x) is known from chains alone, "
        "as above layer 1 of bottom-up inference. With `mutual_information` near `mi_cap` its variance is not finite",
        null=f"{NOT_ASKED}, or no layer's q has a density at other samples than its own", since=6,
    ),
    column("mi_samples", "int64", "images", "images of the aggregate posterior, N", null=NOT_ASKED, since=4),
    column("mi_cap", "double", "nats", "log N: no `mutual_information` exceeds it", null=NOT_ASKED, since=4),
    column(
        "kl_aggregate", "double", "nats",
        "KL(q(z_L) ‖ p(z_L)) of the aggregate posterior of these images: with one layer, `kl_top` less mutual "
        "information; biased upward as that is downward",
        null=f"{NOT_ASKED}, or the top layer's q has no density at other samples than its own", since=4,
    ),
    *GRADIENT,
    column(
        "gradient_draws", "int64", "draws", "draws of the noise of z behind it; of smoothing two each",
        null=NOT_ASKED, since=4,
    ),
    column("gradient_images", "int64", "images", "images of its batch, as in training", null=NOT_ASKED, since=4),
    column(
        "hermite_mean", "list<list<double>>", "",
        f"Hermite weights W_k of {_OF_MAP} the mean that the generative map from layers 1 … L puts out (of layer 1 "
        "what the likelihood is given, logits), unsmoothed, over the layer's q given one chain of an image; summed "
        "over outputs, mean over images",
        null=_NO_GAUSSIAN, since=4,
    ),
    column(
        "hermite_deviation", "list<list<double>>", "",
        f"Hermite weights of {_OF_MAP} the map's standard deviation; NaN for layer 1, which has none",
        null=_NO_GAUSSIAN, since=4,
    ),
    column(
        "hermite_mean_variance", "list<double>", "",
        "variance of the map's mean over the layer's q, summed over outputs, mean over images: the weights but W_0",
        null=_NO_GAUSSIAN, since=4,
    ),
    column(
        "hermite_deviation_variance", "list<double>", "", "the same of the map's standard deviation; NaN for layer 1",
        null=_NO_GAUSSIAN, since=4,
    ),
    column("hermite_images", "int64", "images", "images at whose q the maps were expanded", null=NOT_ASKED, since=4),
    *POSTERIOR,
    column(
        "nll_exact_iw", "double", "nats/image",
        "the same images' negative importance-weighted bound of K chains (`importance_samples`): on average above "
        "`nll_exact`, closer with K",
        null=_NO_GRID, since=9,
    ),
    column(
        "nll_exact_iw_se", "double", "nats/image",
        "standard error over images of what `nll_exact_iw` is above `nll_exact`",
        null=f"{_NO_GRID}, or there is one image", since=9,
    ),
    column(
        "posterior_stride", "double", "",
        "the smallest stride of the grids, which are halved image by image until nothing changes by more than 1e-4",
        null=_NO_GRID, since=9,
    ),
    column(
        "posterior_error", "double", "",
        "the largest change at the last halving: of log p(x) or the gap (nats) or the posterior's mean",
        null=_NO_GRID, since=9,
    ),
]  # fmt: skip

CLASSIFICATION = [
    column(
        "classification_accuracy", "list<double>", "share",
        "of the `images` evaluated, put into their class by a multinomial logistic regression that saw the posterior "
        "means and labels of `classification_images` training images alone, layers 1 … L "
        "(`models.evaluation.classification`); NaN for a layer of more than 1,024 units",
        null=f"{_NO_LABELS}, {_NO_LAYER}", since=9,
    ),
    column(
        "classification_se", "list<double>", "share", "binomial standard error of `classification_accuracy`",
        null=f"{_NO_LABELS}, {_NO_LAYER}", since=9,
    ),
    column("classification_images", "int64", "images", "training images learnt from", null=_NO_LABELS, since=9),
    column(
        "classification_chance", "double", "share",
        "of the `images` evaluated, those of the class that is the most frequent among the ones learnt from: what a "
        "classifier would get that sees no image",
        null=_NO_LABELS, since=9,
    ),
    column(
        "means_components", "list<list<double>>", "",
        "first and second principal component of the top layer's posterior means, of up to 300 of the images "
        "evaluated, spread over them; each component points to where its largest weight is positive",
        null=f"{NOT_ASKED}, {_NO_LAYER}", since=9,
    ),
    column(
        "means_shares", "list<double>", "share", "of the variance of these means, the first and the second component's",
        null=f"{NOT_ASKED}, {_NO_LAYER}", since=9,
    ),
    column(
        "means_labels", "list<int64>", "", "class of each of these images, from 0", null=_NO_LABELS, since=9,
    ),
]  # fmt: skip
