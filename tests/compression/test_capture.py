"""Graphs that torch.jit.trace and torch.export record: right at other timesteps, or refused."""

import pytest
import torch
from torch import nn

import bigain
from bigain.compression import capture
from tests.helpers.models import one_block_unet

X, PROMPT = torch.linspace(-1, 1, 4 * 16 * 16).sin().view(1, 4, 16, 16), torch.ones(1, 5, 16)


class Denoiser(nn.Module):
    """A U-Net that returns a tensor."""

    def __init__(self):
        super().__init__()
        self.unet = one_block_unet()

    def forward(self, x, t):
        return self.unet(x, t, encoder_hidden_states=PROMPT, return_dict=False)[0]


def recorded(model, how):
    inputs = (X, torch.tensor(500))
    if how == "trace":
        return torch.jit.trace(model, inputs, check_trace=False)
    return torch.export.export(model, inputs).module()


@pytest.mark.filterwarnings("ignore")  # of the tracer, of every shape that it reads
@pytest.mark.parametrize(
    ("how", "method", "options"),
    [
        ("trace", "todo", {"factor": 2}),
        pytest.param("export", "bigain_tm", {"ratio": 0.5}, marks=pytest.mark.system),
    ],
)
def test_a_constant_strength_is_recorded_for_all_timesteps(how, method, options):
    model = Denoiser()
    with torch.no_grad():
        plain = model(X, 100)
        with bigain.compressed(model.unet, method, **options):
            graph = recorded(model, how)
            expected = model(X, 100)
        assert torch.allclose(graph(X, torch.tensor(100)), expected, atol=1e-6)
    assert (expected - plain).abs().max() > 1e-4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["trace", "export"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("todo", {"factor": 2, "timesteps": (900, 400)}),
        ("todo~skip_t0-on", {"factor": 2}),
        ("bigain_td", {"factor": lambda t: 2}),
        ("bigain_td", {"factor": bigain.Linear(3, 1)}),
    ],
)
def test_a_strength_that_depends_on_the_timestep_is_refused(how, method, options):
    model = Denoiser()
    with (
        bigain.compressed(model.unet, method, **options),
        torch.no_grad(),
        pytest.raises(ValueError, match=f"on the timestep .* which torch.*{how} would record .* constant strength"),
    ):
        recorded(model, how)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("how", "method", "message"),
    [
        ("trace", "bigain_tm", r"torch\.jit\.trace cannot record how tokens are chosen and merged: use torch\.export"),
        ("export", "bigain_tm_block~rule-quantile", "number of tokens that depends on the image, which torch.export"),
        ("export", "importance_tm", "reads the guidance of the step before, which torch.export cannot record"),
    ],
)
def test_what_a_graph_cannot_hold_is_refused(how, method, message):
    model = Denoiser()
    with (
        bigain.compressed(model.unet, method, ratio=0.5),
        torch.no_grad(),
        pytest.raises(ValueError, match=message),
    ):
        recorded(model, how)


def test_structural_methods_are_never_recorded():
    capture.refuse("dip_go")
    with pytest.raises(ValueError, match=r"dip_go depends on the timestep, which torch\.jit\.trace would record"):
        torch.jit.trace(lambda x: [capture.refuse("dip_go"), x][1], (X,))
