"""Figures: each has a function that returns its data, one that draws it on given axes, and one that makes the figure.

Nothing is shown and no state of pyplot is touched. `styled()` sets the look; figures made and saved inside it are the
same, byte for byte, whatever matplotlibrc the user has.
"""

from sweeper.analysis.figures.activity import activity_by_layer_figure, activity_grid_figure
from sweeper.analysis.figures.comparisons import comparisons_figure
from sweeper.analysis.figures.information import information_figure
from sweeper.analysis.figures.means import means_figure
from sweeper.analysis.figures.methods import nll_activity_figure
from sweeper.analysis.figures.page import save, styled
from sweeper.analysis.figures.phase import phase_figure
from sweeper.analysis.figures.posterior_means import space_figure, trajectory_figure
from sweeper.analysis.figures.scaling import scaling_figure
from sweeper.analysis.figures.spectrum import spectrum_figure
from sweeper.analysis.figures.steps import steps_figure
from sweeper.analysis.figures.training import training_figure
from sweeper.analysis.figures.trends import trend_figure

__all__ = [
    "activity_by_layer_figure",
    "activity_grid_figure",
    "comparisons_figure",
    "information_figure",
    "means_figure",
    "nll_activity_figure",
    "phase_figure",
    "save",
    "scaling_figure",
    "space_figure",
    "spectrum_figure",
    "steps_figure",
    "styled",
    "training_figure",
    "trajectory_figure",
    "trend_figure",
]
