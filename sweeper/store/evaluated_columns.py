"""The columns of a cell's evaluation: see `sweeper.store.columns`."""

from __future__ import annotations

from sweeper.store.column import column, evaluated
from sweeper.store.diagnosis_columns import CLASSIFICATION, DIAGNOSES

NO_LEVELS = "the data are no levels but binary, binarised or real, or the likelihood is a density, as `gaussian`"
BOUND_OFF = "the cell diverged, or the evaluation asks for no such bound"
NO_SYMBOLS = "the cell diverged, or its data are no sequences of symbols"

_V = (
    "variance over images of q's mean averaged over whole ancestral chains, less its Monte-Carlo part (V); layer by "
    "layer, unit by unit; of a dead unit it can be slightly negative"
)

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
    *DIAGNOSES,
    *CLASSIFICATION,
]  # fmt: skip
