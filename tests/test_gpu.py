"""On a GPU: the plans, outputs up to rounding and random draws of the CPU."""

import copy

import pytest
import torch

import bigain
from bigain import backbones
from bigain.classifier.classify import ClassificationSettings, Classifier, classify_images
from bigain.classifier.engine import Row, padded_batches
from bigain.classifier.timesteps import Stages
from bigain.tokens import OPERATORS, TokenGrid
from bigain.tokens.draws import normals, uniform_places
from bigain.tokens.merge import TokenPlan
from tests.helpers.methods import COMPRESSING_TOKENS, arguments_for
from tests.helpers.tiny import TinyBackbone

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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("compiled", [False, True])
def test_merging_adds_in_the_same_order_every_time(dtype, compiled):
    """A hundred tokens into each of a few destinations: the bits, and float32's precision."""
    x = torch.randn(2, 1024, 64, generator=torch.Generator().manual_seed(0)).cuda()
    tokens = torch.arange(1024, device="cuda").expand(2, -1)
    plan = TokenPlan(tokens[:, :0], tokens[:, 10:], tokens[:, 10:] % 10, tokens[:, :10])
    reduce = torch.compile(plan.reduce, dynamic=False) if compiled else plan.reduce
    first = reduce(x.to(dtype))
    assert all(torch.equal(first, reduce(x.to(dtype))) for _ in range(20))
    exact = torch.stack([x.to(dtype).double()[:, k::10].mean(dim=1) for k in range(10)], dim=1)
    torch.testing.assert_close(first.double(), exact, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["unet", "dit"])
@pytest.mark.parametrize("method", COMPRESSING_TOKENS)
def test_no_method_waits_for_the_gpu(request, family, method):
    model = copy.deepcopy(request.getfixturevalue(family)).cuda()
    x, t = torch.ones(2, 4, 16, 16, device="cuda"), torch.full((2,), 500, device="cuda")
    condition = torch.ones(2, 5, 16, device="cuda") if family == "unet" else torch.arange(2, device="cuda")
    name = "encoder_hidden_states" if family == "unet" else "class_labels"
    with torch.no_grad(), bigain.compressed(model, method, **arguments_for(method)):
        model(x, timestep=t, **{name: condition})
        torch.cuda.set_sync_debug_mode("error")
        try:
            output = model(x, timestep=t, return_dict=False, **{name: condition})[0]  # an error if anything waits
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert output.isfinite().all()


@pytest.mark.parametrize("method", ["none", "bigain_tm", "tome"])
def test_the_engine_does_not_wait_for_the_gpu(unet, method):
    backbone = TinyBackbone(copy.deepcopy(unet).cuda(), "unet")
    backbone.device = torch.device("cuda")
    settings = ClassificationSettings(Stages((2,), (1,)), seed=0, batch_size=8)
    with (
        torch.inference_mode(),
        bigain.compressed(backbone.denoiser, method, **arguments_for(method)) as at,
        Classifier.open(backbone, backbone.conditions_of(4), settings, at) as classifier,
    ):
        images = classifier.group([3, 4], torch.ones(2, 4, 16, 16))
        rows = [Row(i, c, t) for i in (0, 1) for t in images.timesteps[0][i] for c in range(4)]
        classifier.engine.submit(images, padded_batches(rows, 8)).read()
        torch.cuda.set_sync_debug_mode("error")
        try:
            wave = classifier.engine.submit(images, padded_batches(rows, 8))  # an error if anything waits
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert len(wave.read()) == 16


@pytest.mark.parametrize("family", ["unet", "dit"])
@pytest.mark.parametrize("method", COMPRESSING_TOKENS)
def test_the_classifier_agrees_up_to_rounding(request, family, method):
    """Where noised images are shared between classes too, and what is drawn for them."""
    settings = ClassificationSettings(Stages((2,), (1,)), seed=0, batch_size=8)
    x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    found = []
    for device in ("cpu", "cuda"):
        backbone = TinyBackbone(copy.deepcopy(request.getfixturevalue(family)).to(device), family)
        backbone.device = torch.device(device)
        with bigain.compressed(backbone.denoiser, method, **arguments_for(method)) as at:
            trials = classify_images(backbone, x, [3, 4], backbone.conditions_of(4), settings, at)
        found.append(torch.tensor([trial.error for trial in trials]))
    assert ((found[0] - found[1]).abs() < 1e-3).float().mean() > 0.9


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
