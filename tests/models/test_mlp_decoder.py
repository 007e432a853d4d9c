"""The decoder of any depth with skips from z: its formula, its size where it is smoothed, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.cell import Cell, CellError, cell_size
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.stack.stack import Stack
from tests.models.test_contract import blank

SMALL = {"data": "digits", "network": "mlp_decoder", "latents": "3", "hidden": "7-5", "batch_size": 10, "seed": 0}


def cell(**more: object) -> Cell:
    return Cell.of(SMALL | more)


@pytest.mark.parametrize("skip", ["none", "all"])
@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_decoder_is_its_formula(skip, layers, activation, images):
    """h₀ = U z without an activation, h_l = f(W_l h + V_l z), and logits; also averaged over samples before them."""
    stack = Stack(
        [cell(skip=skip, decoder_layers=layers, activation=activation, precision="float64", seed=s) for s in range(2)],
        images,
    )
    z = torch.randn(2, 3, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = stack.network.generative[0]
    with torch.no_grad():
        found, averaged = made.mean(stack.params, z), made.mean(stack.params, z, average=True)
        for place in range(2):
            params = {name: param[place] for name, param in stack.params.items()}
            h = z[place] @ params["generative.1.first.mean.weight"] + params["generative.1.first.mean.bias"]
            for layer in range(1, layers + 1):
                both = params[f"generative.1.{layer}.0.weight"]
                raw = h @ both[:7] + params[f"generative.1.{layer}.0.bias"]
                assert len(both) == 7 + 3 * (skip == "all")
                if skip == "all":
                    raw = raw + z[place] @ both[7:]
                h = getattr(torch, activation)(raw)
            logits = h @ params["generative.1.last.mean.weight"] + params["generative.1.last.mean.bias"]
            torch.testing.assert_close(found[place], logits)
            torch.testing.assert_close(averaged[place, 0], logits.mean(0))
    assert torch.equal(stack.network.down(stack.params, 1, z)[0], found)


@pytest.mark.parametrize("objective", ["ou", "ou_iwae"])
@pytest.mark.usefixtures("one_by_one")
def test_its_output_is_smoothed_and_sized_so(objective):
    """p(x|z₁) is all there is to smooth with one layer; without it `ou` is the plain model."""
    more = {"objective": objective, "rho": 0.8, "smoothing_samples": 3, "skip": "all", "decoder_layers": 2}
    one = cell(**more, smooth_output="yes")
    stack = Stack([one], blank(one))
    with FlopCounterMode(display=False) as counted:
        stack.train(1)
    assert cell_size(one).flops == counted.get_total_flops()
    assert cell(**more).canonical().objective == ("vae" if objective == "ou" else "iwae")


def test_depth_and_skips_train_and_a_cell_has_the_same_bits_in_every_stack(images):
    """Deep decoders too, and their bounds are in order."""
    for more in ({"decoder_layers": 6}, {"decoder_layers": 6, "skip": "all", "activation": "relu"}):
        cells = [cell(**more, seed=seed) for seed in range(3)]
        together, alone = Stack(cells, images), Stack(cells[2:], images)
        for stack in (together, alone):
            stack.train(20)
        assert torch.equal(together.block.values[2:], alone.block.values)
        (row,) = evaluate(alone, Evaluation(importance_samples=50), quick=True)
        assert row["elbo"] < row["iw_bound"] + 3 * row["iw_se_mc"]


def test_its_words_and_what_is_refused():
    assert cell(decoder_layers=1).architecture == "mlp_decoder 3 (7-5) 1 layer"
    assert cell(decoder_layers=4, skip="all", activation="relu").architecture == (
        "mlp_decoder 3 (7-5) relu 4 layers skips"
    )
    with pytest.raises(CellError, match="one layer with mlp_decoder, got 3-2"):
        cell(latents="3-2")
    with pytest.raises(CellError, match="decoder_layers should be a whole number in"):
        cell(decoder_layers=0)
