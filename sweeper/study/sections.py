"""The sections of a study file that say how cells are trained, evaluated and refined, and where the work is done."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from models.evaluation.settings import Evaluation
from sweeper.study.types import Count, Number, Positive, Section, Seed, whole_number

MAX_POSTERIOR_MEANS = 500  # a row has a number for each of these images


def several(images: int) -> int:
    """A variance over images needs two."""
    if images == 1:
        raise ValueError("at least 2 images are needed, got 1")
    return images


def several_draws(draws: int) -> int:
    """A variance over draws needs two."""
    if draws == 1:
        raise ValueError("at least 2 draws are needed, got 1")
    return draws


class Train(Section):
    """How long cells train and what is kept of them."""

    steps: Annotated[Positive, Field(description="training steps of every cell")]
    checkpoint_s: Annotated[Number, Field(gt=0, description="seconds of training between checkpoints")] = 60.0
    keep: Annotated[
        Literal["full", "weights", "none"],
        Field(description="final state kept of a finished cell: full (can train further), weights, none"),
    ] = "full"


class EvaluationSection(Section):
    """The final evaluation of each cell, and the cheap one on validation images along the way."""

    every: Annotated[Count, Field(description="steps between evaluations along the way; 0: none")] = 1000
    importance_samples: Annotated[
        Positive,
        Field(description="K of the importance-weighted bound, and the most chains per image of the other averages"),
    ] = Evaluation.importance_samples
    importance_images: Annotated[
        Count,
        Field(description="on how many of the images there are K chains, spread over them in hundreds; 0: on all"),
    ] = 2000  # not the 0 of Evaluation, which is what rows from before this field had
    images: Annotated[
        Count, AfterValidator(several), Field(description="how many images of the split are used; 0: all")
    ] = Evaluation.images
    image_choice: Annotated[
        Literal["spread", "first"],
        Field(
            description="which of them: spread over the split, one of each of as many equal parts, or the first ones; "
            "where it is not given, a store whose cells were evaluated on the first ones stays with these"
        ),
    ] = "spread"  # not the first of Evaluation, which is what rows from before this field had
    split: Annotated[Literal["test", "validation"], Field(description="images of the final evaluation")] = "test"
    seed: Annotated[Seed, Field(description="fixes binarisation and noise for all cells")] = Evaluation.seed
    active_threshold: Annotated[
        Number, Field(gt=0, description="variance of a unit's mean above which it is active")
    ] = Evaluation.active_threshold
    validation_images: Annotated[
        Positive, AfterValidator(several), Field(description="validation images used along the way")
    ] = 1000
    mutual_information: Annotated[
        Count,
        AfterValidator(several),
        Field(description="images of the aggregate posterior whose mutual information with z is measured; 0: none"),
    ] = Evaluation.mutual_information
    validation_mutual_information: Annotated[
        Count,
        AfterValidator(several),
        Field(description="the same for each evaluation along the way, of validation images; 0: none"),
    ] = 0
    gradient_variance: Annotated[
        Count,
        AfterValidator(several_draws),
        Field(description="draws of the noise over which the gradient's variance is measured (100 is usual); 0: none"),
    ] = Evaluation.gradient_variance
    validation_gradient_variance: Annotated[
        Count,
        AfterValidator(several_draws),
        Field(description="the same for each evaluation along the way, on validation images; 0: none"),
    ] = 0
    hermite_spectrum: Annotated[
        Count,
        Field(description="images at whose q the generative maps are expanded in Hermite polynomials; 0: none"),
    ] = Evaluation.hermite_spectrum
    posterior_mean: Annotated[
        Count,
        Field(
            le=MAX_POSTERIOR_MEANS,
            description="images whose exact posterior is computed on a grid, of cells with one latent variable; 0: "
            "none",
        ),
    ] = Evaluation.posterior_mean
    validation_posterior_mean: Annotated[
        Count,
        Field(
            le=MAX_POSTERIOR_MEANS,
            description="the same for each evaluation along the way, of validation images; 0: none",
        ),
    ] = 0
    classification: Annotated[
        Count,
        AfterValidator(several),
        Field(description="training images from whose posterior means a classifier learns the labels; 0: none"),
    ] = Evaluation.classification
    pictures: Annotated[
        Annotated[int, Field(strict=True, ge=0, le=64), BeforeValidator(whole_number)],
        Field(description="images drawn of each cell for the report, when it is evaluated; 0: none"),
    ] = 8


class Refine(Section):
    """From a coarse grid to a narrow interval with few cells: further ρ and seeds, chosen as results come in."""

    half_width: Annotated[
        Number,
        Field(
            gt=0, description="wanted of the interval of each curve's onset, in log(1 - rho): 0.05 is 5 % of 1 - rho"
        ),
    ]
    cells: Annotated[Positive, Field(description="most cells of a curve, those of the grid included")]


class Run(Section):
    """Where and how the work is done; never changes a result's identity."""

    executor: Annotated[
        Literal["ray", "inline"], Field(description="ray: workers of Ray Tune; inline: this process")
    ] = "ray"
    workers: Annotated[Count, Field(description="stacks trained at a time; 0: as many as the machine holds")] = 0
    threads: Annotated[Positive, Field(description="CPU threads per worker; 1 gives bitwise reproducible results")] = 1
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="auto: a GPU where there is one")] = "auto"
    max_stack: Annotated[Count, Field(description="most cells trained in one stack; 0: as memory allows")] = 0
    memory_gb: Annotated[Number, Field(ge=0, description="memory for a stack, GB; 0: from the machine")] = 0.0
    hang_s: Annotated[
        Number, Field(gt=0, description="seconds without progress after which a worker is given up and restarted")
    ] = 1800.0
    start_s: Annotated[
        Number, Field(gt=0, description="seconds within which Ray and its workers should come up, else the run ends")
    ] = 120.0
