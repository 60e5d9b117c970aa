"""Attached models under torch.compile's inductor, in one graph: what a user of `torch.compile(pipe.unet)` gets."""

import pytest
import torch

import bigain
from tests.helpers.methods import COMPRESSING_TOKENS, arguments_for
from tests.helpers.models import RUN


@pytest.mark.slow
@pytest.mark.parametrize("family", ["unet", "dit"])
@pytest.mark.parametrize("method", COMPRESSING_TOKENS)
def test_one_graph_computes_what_the_eager_model_computes(request, family, method):
    """Twice, since random methods draw anew in every call."""
    network = request.getfixturevalue(family)
    outputs = []
    for compiled in (False, True):
        torch._dynamo.reset()
        run = torch.compile(network, fullgraph=True, dynamic=False) if compiled else network
        with bigain.compressed(network, method, **arguments_for(method)):
            outputs.append([RUN[family](run) for _ in range(2)])
    for eager, fast in zip(*outputs, strict=True):
        assert torch.allclose(eager, fast, atol=1e-4)
