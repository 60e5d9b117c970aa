"""Attached models under torch.compile's inductor, in one graph: what a user of `torch.compile(pipe.unet)` gets."""

import pytest
import torch

import bigain
from bigain.methods.ids import method_of
from tests.helpers.methods import COMPRESSING_TOKENS, WITHOUT_CALIBRATION, arguments_for
from tests.helpers.models import RUN, one_block_unet


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


LATER = [id for id in WITHOUT_CALIBRATION[::2] if id in COMPRESSING_TOKENS]  # on a U-Net, `test_attach` captures them


@pytest.mark.parametrize(
    "method",
    [
        *("bigain_tm_cached", "bigain_tm~clamp-on"),
        *(id for id in COMPRESSING_TOKENS if id not in ("sito", "bigain_tm_cached", *LATER)),
        *(pytest.param(id, marks=pytest.mark.system) for id in LATER if id not in ("sito", "bigain_tm_cached")),
    ],
)
def test_latents_of_another_size_take_one_graph_too(unet, method):
    """The model was attached at 16x16; people compile it for what they generate.

    A whole U-Net where its blocks share plans, else a single block of it.
    """
    unet = unet if method_of(method).plan_for != "block" else one_block_unet()
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    network = torch.compile(unet, fullgraph=True, dynamic=False, backend=count)
    x, t, prompt = torch.ones(2, 4, 24, 16), torch.full((2,), 500), torch.ones(2, 5, 16)
    with torch.no_grad(), bigain.compressed(unet, method, **arguments_for(method)) as attachment:
        first, second = (network(x, timestep=t, encoder_hidden_states=prompt).sample for _ in range(2))
        grids = {str(site.grid) for site in attachment.sites}
    assert first.shape == second.shape == x.shape
    assert grids == {"24x16"}
    assert len(graphs) == 1
