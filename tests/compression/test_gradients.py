"""Gradients of compressed models against numeric ones, in float64."""

from functools import partial

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import bigain
from tests.helpers.models import one_block_unet, shallow_unet

CHECKPOINTS = {"none": None, "reentrant": True, "not reentrant": False}


def checkpointed(model, checkpoints):
    if CHECKPOINTS[checkpoints] is not None:
        model.enable_gradient_checkpointing(partial(checkpoint, use_reentrant=CHECKPOINTS[checkpoints]))
    return model.train()


@pytest.mark.parametrize("checkpoints", CHECKPOINTS)
@pytest.mark.parametrize("method", ["toma", "bigain_tm"])
def test_gradients_are_the_numeric_ones(method, checkpoints):
    """ToMA's weights depend on the tokens, BiGain_TM's indices do not, but at jumps."""
    model = checkpointed(one_block_unet().double(), checkpoints)
    generator = torch.Generator().manual_seed(0)
    x, direction, weight = torch.randn(3, 1, 4, 16, 16, generator=generator, dtype=torch.float64)
    prompt = torch.ones(1, 5, 16, dtype=torch.float64)

    def loss(x):
        return (model(x, 500, encoder_hidden_states=prompt).sample * weight).sum()

    with bigain.compressed(model, method, ratio=0.5):
        x.requires_grad_()
        loss(x).backward()
        slope, step = (x.grad * direction).sum(), 1e-5 * direction
        with torch.no_grad():
            numeric = (loss(x + step) - loss(x - step)) / 2e-5
    assert slope.item() == pytest.approx(numeric.item(), rel=1e-6)


@pytest.mark.parametrize("checkpoints", ["reentrant", "not reentrant"])
def test_checkpoints_cannot_share_weights(checkpoints):
    model = checkpointed(shallow_unet(2), checkpoints)
    call = partial(model, torch.ones(1, 4, 16, 16), 500, encoder_hidden_states=torch.ones(1, 5, 16))
    with bigain.compressed(model, "toma~plan_for-model", ratio=0.5):
        with torch.no_grad():
            call()
        with pytest.raises(ValueError, match=r"toma~plan_for-model: blocks share a plan with weights"):
            call()
