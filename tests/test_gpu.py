"""Where a GPU is at hand: the same plan, the same outputs up to rounding, the same random draws as on the CPU."""

import copy

import pytest
import torch

import bigain
from bigain import backbones
from bigain.tokens import OPERATORS, TokenGrid
from bigain.tokens.draws import normals, uniform_places
from bigain.tokens.merge import TokenPlan
from tests.helpers.methods import COMPRESSING_TOKENS, arguments_for

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_random_draws_are_the_same_numbers():
    seeds = torch.tensor([1, 2**40])
    for draw in (
        lambda device: uniform_places(seeds.to(device), 7, 50, 4),
        lambda device: normals(seeds.to(device), 7, 50),
    ):
        torch.testing.assert_close(draw("cpu"), draw("cuda").cpu())


def test_plans_are_the_same_but_for_near_ties():
    grid = TokenGrid(32, 32)
    x = torch.randn(2, grid.tokens, 64, generator=torch.Generator().manual_seed(0))
    plans = [OPERATORS["merge_smooth"](x.to(d), grid, 0.5, (2, 2), "laplacian_l1") for d in ("cpu", "cuda")]
    for name in TokenPlan.__dataclass_fields__:
        cpu, gpu = (getattr(plan, name).sort(dim=1).values.cpu() for plan in plans)
        assert (cpu == gpu).float().mean() > 0.99


def test_channels_of_a_half_precision_unet_lie_last(root):
    unet = backbones.load("unet", root / "resources/mini-unet", "cuda", "float16").denoiser
    assert unet.conv_out.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("family", ["unet", "dit"])
@pytest.mark.parametrize("method", COMPRESSING_TOKENS)
def test_models_agree_up_to_rounding(request, family, method):
    network = request.getfixturevalue(family)
    x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    outputs = []
    for device in ("cpu", "cuda"):
        model = copy.deepcopy(network).to(device)
        condition = (
            {"encoder_hidden_states": torch.ones(2, 5, 16, device=device)}
            if family == "unet"
            else {"class_labels": torch.arange(2, device=device)}
        )
        with bigain.compressed(model, method, **arguments_for(method)):
            t = torch.full((2,), 500, device=device)
            with torch.no_grad():
                outputs.append(model(x.to(device), timestep=t, return_dict=False, **condition)[0].cpu())
    assert ((outputs[0] - outputs[1]).abs() < 1e-3).float().mean() > 0.98
