"""What is trained today is what the kept results were trained to be: a change of bits has to be meant."""

from __future__ import annotations

import pandas as pd
import torch

import sweeper
from models.kernels import compiled
from sweeper.machine.resources import processor
from tests.sweeper.conftest import ROOT, Tiny

KEPT = ROOT / "results" / "reference" / "null_model"
NUMBERS = ["elbo", "reconstruction", "kl_total", "kl_top", "train_objective"]


SEEN = ("Intel(R) Xeon(R) Processor @ 2.50GHz", "Intel(R) Xeon(R) Processor")  # that of the kept rows, and one with AMX


def same_bits() -> bool:
    """Whether this machine is one of those that were seen to give the same bits: the processor, torch, a compiler."""
    return processor() in SEEN and torch.__version__.startswith("2.13.") and compiled.library() is not None


def test_a_quickstart_cell_is_that_of_the_reference_results(tmp_path):
    """Its numbers on validation images at steps 0 and 500: to the last bit, or elsewhere to what rounding leaves."""
    study = Tiny(ROOT / "studies" / "quickstart.yaml", tmp_path / "store")
    study.run("train.steps=500", "cells.seed=[0]", "cells.rho=[0.9]")
    found, kept = (sweeper.load(each, "history").set_index(["cell_id", "step"]) for each in (study.store, KEPT))
    assert len(found) == 2
    bounds = {"check_exact": True} if same_bits() else {"rtol": 0, "atol": 0.05}
    pd.testing.assert_frame_equal(found[NUMBERS], kept.loc[found.index, NUMBERS], **bounds)
