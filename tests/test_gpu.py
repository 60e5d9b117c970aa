"""On a GPU: the plans, outputs up to rounding and random draws of the CPU, by kernels that pass their checks."""

import copy

import pytest
import torch

import bigain
from bigain import backbones
from bigain.classifier.classify import ClassificationSettings, Classifier, classify_images
from bigain.classifier.engine import Row, padded_batches
from bigain.classifier.timesteps import Stages
from bigain.tokens import OPERATORS, TokenGrid, kernels
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


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kernel", kernels.KERNELS)
def test_every_kernel_passes_its_check(kernel, dtype):
    assert kernels.failure(kernel, "cuda:0", dtype) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("grid", [TokenGrid(32, 32), TokenGrid(33, 47), TokenGrid(96, 96), TokenGrid(1, 40)], ids=str)
@pytest.mark.parametrize("operator", ["merge_smooth", "merge_top_left", "merge_cells"])
def test_plans_are_those_of_a_cpu_but_for_near_ties(operator, grid, dtype):
    """Both see the same numbers, and add in another order."""
    x = torch.randn(3, grid.tokens, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    cell = (1, 2) if grid.height == 1 else (2, 2)
    options = {
        "merge_smooth": {"score": "laplacian_l1"},
        "merge_top_left": {},
        "merge_cells": {"score": "laplacian_l1", "rule": "token_matched", "aggregate": "max"},
    }[operator]
    cpu, gpu = (OPERATORS[operator](x.to(d), grid, 0.4, cell, **options) for d in ("cpu", "cuda"))
    assert gpu.maps is not None
    for name in ("kept", "merged", "destinations"):
        members = [torch.zeros(3, grid.tokens).scatter_(1, getattr(plan, name).cpu(), 1) for plan in (cpu, gpu)]
        assert (members[0] == members[1]).float().mean() > 0.99
    short = gpu.reduce(x.cuda())
    by_torch = TokenPlan(gpu.kept, gpu.merged, gpu.target, gpu.destinations)
    exact = by_torch.reduce(x.cuda().double())
    close = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(short.double(), exact, rtol=close, atol=close)
    assert torch.equal(gpu.restore(short), by_torch.restore(short))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("factor", [2, 3])
def test_downsampling_is_that_of_a_cpu_up_to_rounding(factor, dtype):
    grid = TokenGrid(33, 47)
    x = torch.randn(3, grid.tokens, 65, generator=torch.Generator().manual_seed(0)).to(dtype)
    alpha = torch.tensor([0.0, 0.9, 1.2])
    for name, options in (("nearest", {}), ("average", {}), ("interpolate_extrapolate", {"alpha": alpha})):
        gpu = OPERATORS[name](
            x.cuda(), grid, factor, **{k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
        )
        close = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
        torch.testing.assert_close(
            gpu.cpu().double(), OPERATORS[name](x.double(), grid, factor, **options), rtol=close, atol=close
        )


@pytest.mark.parametrize("method", ["bigain_tm", "tome", "bigain_tm_block", "bigain_td"])
def test_a_compiled_graph_keeps_kernels_and_a_captured_one_replays(request, method):
    """With inductor: the same outputs up to rounding; and the same bits when a CUDA graph runs them again."""
    model = copy.deepcopy(request.getfixturevalue("dit")).cuda()
    x, t = torch.randn(2, 4, 16, 16, device="cuda"), torch.full((2,), 500, device="cuda")
    labels = torch.arange(2, device="cuda")
    with torch.no_grad(), bigain.compressed(model, method, **arguments_for(method)) as at:
        at.state.row_seeds = torch.arange(2, device="cuda")
        eager = model(x, timestep=t, class_labels=labels, return_dict=False)[0]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = model(x, timestep=t, class_labels=labels, return_dict=False)[0]
        graph.replay()
        assert torch.equal(captured, eager)
        torch._dynamo.reset()
        fast = torch.compile(model, fullgraph=True, dynamic=False)
        compiled = fast(x, timestep=t, class_labels=labels, return_dict=False)[0]
    assert ((compiled - eager).abs() < 1e-3).float().mean() > 0.98


def test_similarities_are_never_in_memory():
    grid = TokenGrid(128, 128)
    x = torch.randn(2, grid.tokens, 64, device="cuda")
    OPERATORS["merge_top_left"](x, grid, 0.5, (2, 2))
    torch.cuda.reset_peak_memory_stats()
    start = torch.cuda.memory_allocated()
    OPERATORS["merge_top_left"](x, grid, 0.5, (2, 2))
    assert torch.cuda.max_memory_allocated() - start < 4 * x.numel() * x.element_size()  # all would be 400 MB


def test_channels_of_a_half_precision_unet_lie_last(root):
    unet = backbones.load("unet", root / "resources/mini-unet", "cuda", "float16").denoiser
    assert unet.conv_out.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("by_kernel", [False, True])
def test_merging_adds_in_the_same_order_every_time(dtype, compiled, by_kernel):
    """A hundred tokens into each of a few destinations: the bits, and float32's precision."""
    x = torch.randn(2, 1024, 64, generator=torch.Generator().manual_seed(0)).cuda()
    tokens = torch.arange(1024, device="cuda").expand(2, -1)
    plan = TokenPlan(tokens[:, :0], tokens[:, 10:], tokens[:, 10:] % 10, tokens[:, :10])
    plan = plan.mapped() if by_kernel else plan
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
    errors = []
    for device in ("cpu", "cuda"):
        backbone = TinyBackbone(copy.deepcopy(request.getfixturevalue(family)).to(device), family)
        backbone.device = torch.device(device)
        with bigain.compressed(backbone.denoiser, method, **arguments_for(method)) as at:
            trials = classify_images(backbone, x, [3, 4], backbone.conditions_of(4), settings, at)
        errors.append(torch.tensor([trial.error for trial in trials]))
    assert ((errors[0] - errors[1]).abs() < 1e-3).float().mean() > 0.9


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
