"""The columns of a cell's evaluation: see `sweeper.store.columns`."""

from __future__ import annotations

from sweeper.store.column import column, evaluated

NO_LEVELS = "the data are no levels but binary, binarised or real, or the likelihood is a density, as `gaussian`"
BOUND_OFF = "the cell diverged, or the evaluation asks for no such bound"
NO_SYMBOLS = "the cell diverged, or its data are no sequences of symbols"
NOT_ASKED = "the cell diverged, or the evaluation does not ask for it"

_V = (
    "variance over images of q's mean averaged over whole ancestral chains, less its Monte-Carlo part (V); layer by "
    "layer, unit by unit; of a dead unit it can be slightly negative"
)

_OF_MAP = "degree 0, 1, 2, 3 and of all others, layer by layer: of"
_NO_GAUSSIAN = f"{NOT_ASKED}, or a layer's q is no Gaussian"
_NO_MEAN = f"{NOT_ASKED}, or q(z₁|x) is no Gaussian whose mean follows from x alone"
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
INFORMATION_ALONG = ("mutual_information", "mi_se", "mi_samples", "mi_cap", "kl_aggregate")  # in the history too
_NO_GRID = f"{NOT_ASKED}, or z is not one Gaussian variable"
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
_NO_LABELS = f"{NOT_ASKED}, or the data have no labels"
_NO_LAYER = "or the network has no latent variables"
_CLASSIFICATION = [
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
_DIAGNOSES = [
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

EVALUATION = [
    evaluated("evaluation_id", "string", "", "hash of the settings of the evaluation"),
    evaluated("split", "string", "", "split evaluated: `test` or `validation`"),
    evaluated("images", "int64", "images", "images evaluated, n of the averages"),
    evaluated(
        "image_choice", "string", "",
        "which of the split's images: `all`, `spread` (one of each of `images` equal parts of it) or `first` (from its "
        "start, as in every row of schema version 1 that has not all)",
        since=2,
    ),
    evaluated("elbo", "double", "nats/image", "evidence lower bound, never smoothed: a lower bound of log p(x)"),
    evaluated("elbo_se", "double", "nats/image", "standard error of `elbo` over images"),
    column(
        "elbo_se_binarisation", "double", "nats/image",
        "standard error of `elbo` from the one binarisation of the images, these held fixed; a part of `elbo_se`, and "
        "alike for all cells of the data: their differences have less of it",
        null="the cell diverged, the data need no binarisation, or K is 1", since=2,
    ),
    evaluated("reconstruction", "double", "nats/image", "E log p(x|z₁)"),
    evaluated("kl_total", "double", "nats/image", "sum of the KL terms of all layers: `reconstruction` − `elbo`"),
    evaluated(
        "kl_per_layer", "list<double>", "nats/image",
        "E[log q(z_i|z_{i−1}) − log p(z_i|z_{i+1})] at the same samples, layers 1 … L; only the last entry is a KL "
        "divergence: below the top a term can be negative. With networks `ladder` and `ladder_resnet` "
        "q(z_i|x, z_{i+1}) takes the place of q(z_i|z_{i−1}), and every entry is a KL divergence. With network "
        "`biva` layers are its 2 L − 1 variables, level by level from the data up, in each the bottom-up one before "
        "the top-down one, the top one last, here and in all lists of layers; terms of bottom-up ones can be negative",
    ),
    evaluated(
        "kl_top", "double", "nats/image",
        "KL(q(z_L|z_{L−1}) ‖ p(z_L)), analytic where it has a closed form: the order parameter. With networks `ladder` "
        "and `ladder_resnet` KL(q(z_L|x) ‖ p(z_L)), which is information about x alone; with `biva` that of its top "
        "variable, given the image and all bottom-up variables",
    ),
    evaluated("kl_top_se", "double", "nats/image", "standard error of `kl_top` over images"),
    evaluated(
        "kl_cumulative", "list<double>", "nats/image",
        "entry i is the sum of the terms of layers i … L: at least 0 in expectation, below it only by sampling noise",
    ),
    column(
        "kl_top_per_unit", "list<double>", "nats/image", "`kl_top` unit by unit, which sum to it",
        null="the cell diverged, or the KL of the top layer has no closed form",
    ),
    evaluated(
        "active_units", "list<int64>", "units",
        "units of layers 1 … L whose `activity_variance` exceeds `active_threshold` (over whole ancestral chains)",
    ),
    evaluated(
        "active_units_one_pass", "list<int64>", "units",
        "the same count from one ancestral pass (V + W), which above layer 1 takes noise passed upward for "
        "activity: dead units may be counted as active",
    ),
    evaluated("relative_activity", "list<double>", "share", "`active_units` / units, layers 1 … L"),
    evaluated("activity_variance", "list<list<double>>", "", _V),
    evaluated(
        "activity_noise", "list<list<double>>", "",
        "mean over images of the variance of q's mean between ancestral chains of one image (W)",
    ),
    column(
        "active_maps", "list<int64>", "maps",
        "of layers 1 … L whose units are maps on a grid: maps whose `activity_variance`, averaged over positions, "
        "exceeds `active_threshold`",
        null="the cell diverged, or its layers lie on no grid", since=5,
    ),
    evaluated("activity_passes", "int64", "passes", "ancestral chains per image behind the activities, R (fewest)"),
    evaluated("active_threshold", "double", "", "variance above which a unit counts as active"),
    column(
        "iw_bound", "double", "nats/image",
        "importance-weighted bound of K sampled log-weights: on average below log p(x), closer with K; where only some "
        "images have K chains, `elbo` plus the mean of what the bound adds to it on these",
        null=BOUND_OFF,
    ),
    column("iw_samples", "int64", "samples", "K of `iw_bound`", null=BOUND_OFF),
    column("iw_images", "int64", "images", "images with K chains, of `images`", null=BOUND_OFF),
    column("iw_se", "double", "nats/image", "standard error of `iw_bound` over images", null=BOUND_OFF),
    column(
        "iw_se_mc", "double", "nats/image",
        "Monte-Carlo error of `iw_bound`, images fixed: the jackknife over groups of chains. Rows whose "
        "`schema_version` is 1 have it by the delta method, too small: by about 10 % at K = 100, and the more the more "
        "unequal the weights are (0.040 for 0.097, 50 steps after the start, K = 20)",
        null=BOUND_OFF, changed=2,
    ),
    column(
        "bits_per_dim", "double", "bits/dimension",
        "−`elbo` / (D ln 2), of images of D values (3,072 in CIFAR-10) with 256 levels each: an upper bound of the "
        "bits per value; its standard error is `elbo_se` / (D ln 2)",
        null=f"the cell diverged, or {NO_LEVELS}", since=5,
    ),
    column(
        "bits_per_dim_iw", "double", "bits/dimension", "the same of `iw_bound`",
        null=f"the cell diverged, {NO_LEVELS}, or the evaluation asks for no such bound", since=5,
    ),
    column(
        "tokens", "int64", "symbols", "symbols of the evaluated sequences that are scored, of each its end as well",
        null=NO_SYMBOLS, since=5,
    ),
    column(
        "perplexity", "double", "",
        "exp(− `iw_bound` · `images` / `tokens`): per symbol, ends among them; at least the model's, closer with K",
        null=NO_SYMBOLS, since=5,
    ),
    *_DIAGNOSES,
    *_CLASSIFICATION,
]  # fmt: skip
