"""DiP-GO and MosaicDiff on tiny real models: they reach their reduction, restore the model, and refuse misuse."""

import copy
import math
import shutil
from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload_with_hook
from accelerate.hooks import remove_hook_from_module
from diffusers import StableDiffusionPipeline
from torch.utils.flop_counter import FlopCounterMode

import bigain
from bigain.backbones.unet import StableDiffusion
from bigain.calibration import dip_go, mosaicdiff
from bigain.calibration.data import CalibrationData
from bigain.calibration.runs import ClassificationRun, GenerationRun
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.timesteps import Stages
from bigain.compression.structural import Calibration, operations
from bigain.compression.structural.layers import layers_of, pruned
from bigain.compression.structural.reuse import Gates, gated_blocks_of
from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from tests.helpers.models import RUN, run_unet, tiny_unet
from tests.helpers.tiny import LATENT_SHAPE, TinyBackbone, latents

STAGES = Stages((2, 8), (2, 1))


@pytest.fixture(params=["unet", "dit"])
def backbone(request):
    return TinyBackbone(request.getfixturevalue(request.param), request.param)


def data(backbone, count=6):
    images = list(range(count))
    return CalibrationData(images, latents(images), backbone.conditions_of(count), backbone.null_condition())


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """Return a function that calibrates a family's backbone, once per setting, and returns the file and its facts."""
    folder, stored = tmp_path_factory.mktemp("calibrations"), {}

    def calibrate(backbone, method, reduction, generation=False):
        def run_of(part):
            if generation:
                return GenerationRun(backbone, part, steps=6, guidance=2.0, seed=0)
            return ClassificationRun(backbone, part, STAGES, candidates=4, seed=0)

        key = (backbone.family, method, reduction, generation)
        if key not in stored:
            if method == "mosaicdiff":
                closed = mosaicdiff.calibrate(backbone, data(backbone), METHODS[method], reduction, seed=0)
            else:
                closed = dip_go.calibrate(backbone, data(backbone), run_of, method_of(method), reduction, 0, updates=2)
            stored[key] = folder / f"{len(stored)}.safetensors", closed.about
            closed.save(stored[key][0])
        return stored[key]

    return calibrate


def classify(backbone, method, path=None, images=(0, 1, 2)):
    settings = ClassificationSettings(STAGES, seed=0, batch_size=5, noise_per=method_of(method).noise_per)
    candidates = backbone.conditions_of(4)
    options = {} if path is None else {"calibration": path}
    with bigain.compressed(backbone.denoiser, method, **options) as at:
        return classify_images(backbone, latents(images), list(images), candidates, settings, at)


def counted(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


# -- MosaicDiff -----------------------------------------------------------------------------------------------------


def test_operations_in_half_precision_are_as_many(backbone):
    half = operations.on_meta(backbone.denoiser).to(torch.float16)
    conditions = backbone.conditions_of(1)
    counted = operations.by_module(operations.on_meta(backbone.denoiser), conditions)
    assert operations.by_module(half, conditions) == counted


def test_operations_of_a_unit_are_saved_by_pruning_it(backbone):
    """Every layer's formula against torch's own counter on the pruned layer."""
    model, family = backbone.denoiser, backbone.family
    plain = counted(lambda: RUN[family](model, batch=1))
    for layer in (layer for layer in layers_of(model, context=5) if layer.units > 1):
        small = pruned(
            layer.module, torch.arange(1, layer.units), layer.output.weight[:, layer.size :], layer.output.bias
        )
        model.set_submodule(layer.name, small)
        try:
            assert plain - counted(lambda: RUN[family](model, batch=1)) == layer.operations
        finally:
            model.set_submodule(layer.name, layer.module)


def test_mosaicdiff_takes_a_model_whose_class_passes_its_arguments_on(unet, calibrated):
    class Passing(type(unet)):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    path, _ = calibrated(TinyBackbone(unet, "unet"), "mosaicdiff", 5)
    outputs, kind, timesteps = [], type(unet), torch.tensor([900, 100])  # of two phases
    for unet.__class__ in (kind, Passing, kind):
        with bigain.compressed(unet, "mosaicdiff", calibration=path):
            outputs.append(run_unet(unet, t=timesteps))
    assert torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("method", ["mosaicdiff", "dip_go"])
def test_gradient_checkpoints_are_refused(unet, calibrated, method):
    path, about = calibrated(TinyBackbone(unet, "unet"), method, 5)
    t = about.get("timesteps", [900])[0]
    unet.enable_gradient_checkpointing()
    try:
        with bigain.compressed(unet, method, calibration=path):
            run_unet(unet, t=t)  # without gradients nothing is checkpointed
            with pytest.raises(ValueError, match=f"{method} changes blocks .* call disable_gradient_checkpointing"):
                unet(torch.ones(1, 4, 16, 16), t, encoder_hidden_states=torch.ones(1, 5, 16))
    finally:
        unet.disable_gradient_checkpointing()


def test_mosaicdiff_reaches_its_reduction_and_restores_the_model(backbone, calibrated):
    before = {name: value.clone() for name, value in backbone.denoiser.state_dict().items()}
    plain = RUN[backbone.family](backbone.denoiser)
    path, about = calibrated(backbone, "mosaicdiff", 5)
    assert 5 <= about["reached_percent"] < 5.5
    with bigain.compressed(backbone.denoiser, "mosaicdiff", calibration=path) as at:
        changed = RUN[backbone.family](backbone.denoiser, t=100)
        flops = [counted(lambda t=t: RUN[backbone.family](backbone.denoiser, batch=1, t=t)) for t, _ in at.visits()]
        assert list(backbone.denoiser.state_dict()) == list(before)
        assert all(0 < row["kept"] <= row["tokens"] for row in at.report())
    shares = [0.2, 0.4, 0.4]
    mean = sum(a * b for a, b in zip(flops, shares, strict=True))
    assert 100 * (1 - mean / about["operations"]) == pytest.approx(about["reached_percent"])
    assert torch.equal(RUN[backbone.family](backbone.denoiser), plain)
    assert all(torch.equal(value, before[name]) for name, value in backbone.denoiser.state_dict().items())
    assert not torch.equal(changed, RUN[backbone.family](backbone.denoiser, t=100))


def test_the_rows_of_a_mixed_batch_run_in_their_phases(backbone, calibrated):
    path, _ = calibrated(backbone, "mosaicdiff", 5)
    x, conditions = data(backbone, 3).latents, backbone.conditions_of(3)
    t = torch.tensor([700, 50, 300])
    with bigain.compressed(backbone.denoiser, "mosaicdiff", calibration=path), torch.no_grad():
        together = backbone.predict_noise(x, t, conditions)
        alone = [backbone.predict_noise(x[i : i + 1], t[i : i + 1], conditions[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)


def test_the_middle_phase_is_pruned_least(backbone):
    reductions = mosaicdiff.phase_reductions(backbone.alphas_bar, data(backbone).latents, (0, 200, 600, 1000), 10)
    assert min(reductions) == reductions[1]
    assert 0.2 * reductions[0] + 0.4 * reductions[1] + 0.4 * reductions[2] == pytest.approx(10)


def one_unit_per_layer(backbone):
    """Return the operations of a forward pass, and how many fewer they are if every layer keeps its first unit."""
    model, run = backbone.denoiser, lambda: RUN[backbone.family](backbone.denoiser, batch=1)
    plain, layers = counted(run), layers_of(model, context=5)
    for layer in layers:
        small = pruned(layer.module, torch.arange(1), layer.output.weight[:, : layer.size].detach(), layer.output.bias)
        model.set_submodule(layer.name, small)
    least = counted(run)
    for layer in layers:
        model.set_submodule(layer.name, layer.module)
    return plain, plain - least


def test_the_largest_reduction_is_reached_and_one_above_it_is_refused_before_any_prediction(backbone, monkeypatch):
    total, saved = one_unit_per_layer(backbone)
    of_phases = mosaicdiff.phase_reductions(backbone.alphas_bar, data(backbone).latents, (0, 200, 600, 1000), 1)
    largest = 100 * saved / total / max(of_phases)
    closed = mosaicdiff.calibrate(backbone, data(backbone), METHODS["mosaicdiff"], largest * (1 - 1e-9), seed=0)
    phase = of_phases.index(max(of_phases))
    assert {len(closed.tensors[f"{phase}.{name}.units"]) for name in closed.about["layers"]} == {1}
    monkeypatch.setattr(backbone, "predict_noise", None, raising=False)
    named = math.floor(100 * largest) / 100
    with pytest.raises(ValueError, match=rf"mosaicdiff: .* at most {named:g} percent can be: ask for a smaller"):
        mosaicdiff.calibrate(backbone, data(backbone), METHODS["mosaicdiff"], largest + 0.01, seed=0)


def test_pruning_by_the_data_beats_pruning_blindly(backbone, calibrated, tmp_path):
    """The compensated subnet is nearer to the model than one without the same number of its last units."""
    path, _ = calibrated(backbone, "mosaicdiff", 5)
    x, conditions = data(backbone).latents, backbone.conditions_of(6)
    t = torch.full((6,), 700)
    closed = Calibration.load(path, "mosaicdiff")
    blind = dict(closed.tensors)
    for layer in layers_of(backbone.denoiser, context=5):
        units = torch.arange(len(blind[f"2.{layer.name}.units"]))
        blind[f"2.{layer.name}.units"] = units
        blind[f"2.{layer.name}.weight"] = layer.output.weight[:, : len(units) * layer.size].detach()
        blind[f"2.{layer.name}.bias"] = layer.output.bias.detach()
    Calibration(blind, closed.about).save(tmp_path / "blind.safetensors")
    errors = []
    with torch.no_grad():
        plain = backbone.predict_noise(x, t, conditions)
        for file in (path, tmp_path / "blind.safetensors"):
            with bigain.compressed(backbone.denoiser, "mosaicdiff", calibration=file):
                errors.append((backbone.predict_noise(x, t, conditions) - plain).square().mean().item())
    assert errors[0] < 0.5 * errors[1]


# -- DiP-GO ---------------------------------------------------------------------------------------------------------


def test_consumers_of_a_unets_blocks(unet):
    """Two downs of one layer, two ups of two: the first up reads the second down and the first down's downsampler."""
    blocks = gated_blocks_of(unet)
    assert blocks.names == ["down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1"]
    assert blocks.consumers == [{1, 3, 4}, {2, 3}, {3}, {4}, {-1}]
    assert blocks.idle(frozenset({4})) == {0, 1, 2, 3, 4}
    assert blocks.idle(frozenset({3})) == {1, 2, 3}
    assert blocks.idle(frozenset({2})) == {2}


def test_no_running_block_reads_an_idle_one(unet):
    """Ruin what an idle block that is not reused returns: the output must not change."""
    model = tiny_unet()
    blocks = gated_blocks_of(model)
    for block in range(len(blocks.names)):
        gates = Gates(blocks)
        gates.put_on("test")
        run_unet(model)
        gates.idle = blocks.idle(frozenset({block}))
        expected = run_unet(model, t=300)
        for other in gates.idle - {block}:
            kept = gates.cache[other]
            ruined = (kept[0] * torch.nan, tuple(k * torch.nan for k in kept[1])) if isinstance(kept, tuple) else None
            gates.cache[other] = kept * torch.nan if ruined is None else ruined
        assert torch.equal(run_unet(model, t=300), expected)
        gates.take_off("test")


@pytest.mark.parametrize("method", ["dip_go", "dip_go~gates-trained"])
@pytest.mark.parametrize("generation", [False, True])
def test_dip_go_reaches_its_reduction(backbone, method, generation, calibrated):
    path, about = calibrated(backbone, method, 10, generation=generation)
    assert 10 <= about["reached_percent"] < 20
    assert 0 < about["relative_error"] < 1
    reused = Calibration.load(path, method).tensors["reused"]
    assert not reused[[i for i, start in enumerate(about["starts"]) if start]].any()
    assert all(parameter.requires_grad for parameter in backbone.denoiser.parameters())
    assert not any({"forward", "_diffusers_hook"} & set(vars(module)) for module in backbone.denoiser.modules())


@pytest.mark.parametrize("generation", [False, True])
def test_the_largest_reduction_of_dip_go_reuses_every_block_wherever_a_step_came_before(
    backbone, generation, monkeypatch
):
    """Of 4 candidates for 2 timesteps and 2 for 6 more, or of 6 steps; the first of each run computes all."""
    share = 5 / 6 if generation else (4 + 5 * 2) / (2 * 4 + 6 * 2)
    blocks = gated_blocks_of(backbone.denoiser)
    of_modules = operations.by_module(operations.on_meta(backbone.denoiser), backbone.conditions_of(1))
    largest = 100 * share * sum(of_modules[name] for name in blocks.names) / of_modules[""]

    def run_of(part):
        if generation:
            return GenerationRun(backbone, part, steps=6, guidance=2.0, seed=0)
        return ClassificationRun(backbone, part, STAGES, candidates=4, seed=0)

    arguments = data(backbone), run_of, METHODS["dip_go"]
    closed = dip_go.calibrate(backbone, *arguments, largest * (1 - 1e-9), 0, updates=0)
    assert closed.about["reached_percent"] == pytest.approx(largest)
    monkeypatch.setattr(dip_go, "_losses", None)
    with pytest.raises(ValueError, match=rf"dip_go: .* at most {math.floor(100 * largest) / 100:g} percent can be"):
        dip_go.calibrate(backbone, *arguments, largest + 0.01, 0, updates=0)


def test_dip_go_saves_the_operations_it_reports(backbone, calibrated):
    path, about = calibrated(backbone, "dip_go", 10)
    with bigain.compressed(backbone.denoiser, "dip_go", calibration=path) as at:
        flops = [
            (counted(lambda t=t: RUN[backbone.family](backbone.denoiser, 1, t=t)), share) for t, share in at.visits()
        ]
    mean = sum(count * share for count, share in flops)
    assert 100 * (1 - mean / about["operations"]) == pytest.approx(about["reached_percent"])


def test_classification_reuses_between_the_same_rows_only(backbone, calibrated):
    """An image's trials do not depend on which other images are in the block, beyond rounding."""
    path, _ = calibrated(backbone, "dip_go", 10)
    together = {(t.image, t.class_index, t.t): t.error for t in classify(backbone, "dip_go", path)}
    for image in (0, 1, 2):
        for trial in classify(backbone, "dip_go", path, images=(image,)):
            assert together[trial.image, trial.class_index, trial.t] == pytest.approx(trial.error, abs=1e-5)
    plain = {(t.image, t.class_index, t.t): t.error for t in classify(backbone, "none~noise-shared")}
    common = plain.keys() & together.keys()
    assert any(abs(plain[key] - together[key]) > 1e-6 for key in common)
    first = max(t for t in STAGES.timesteps()[0])
    assert all(abs(plain[key] - together[key]) < 1e-6 for key in common if key[2] == first)
    assert any(key[2] == first for key in common)


def test_shared_noise_is_one_for_all_timesteps(backbone):
    """x_t of shared noise: two timesteps of a model that predicts nothing have the same error."""
    backbone.predict_noise = lambda x_t, t, conditions: torch.zeros_like(x_t)
    errors = {}
    for method in ("none", "none~noise-shared"):
        errors[method] = {trial.error for trial in classify(backbone, method, images=(1,))}
    assert len(errors["none~noise-shared"]) == 1
    assert len(errors["none"]) == 8


def test_timesteps_out_of_order_are_refused(backbone, calibrated):
    path, about = calibrated(backbone, "dip_go", 10)
    with bigain.compressed(backbone.denoiser, "dip_go", calibration=path):
        RUN[backbone.family](backbone.denoiser, t=about["timesteps"][0])
        with pytest.raises(ValueError, match="visit the timesteps in their order"):
            RUN[backbone.family](backbone.denoiser, t=about["timesteps"][-1])
        with pytest.raises(ValueError, match="was calibrated for timesteps"):
            RUN[backbone.family](backbone.denoiser, t=1)


def test_a_calibration_is_needed_whole_and_of_this_method(backbone, calibrated, tmp_path):
    denoiser = backbone.denoiser
    with pytest.raises(ValueError, match="mosaicdiff needs calibration=FILE"):
        bigain.apply(denoiser, "mosaicdiff")
    with pytest.raises(ValueError, match="takes no calibration"):
        bigain.apply(denoiser, "tome", ratio=0.5, calibration="x")
    with pytest.raises(ValueError, match=r"none\.safetensors is missing"):
        bigain.apply(denoiser, "dip_go", calibration=tmp_path / "none.safetensors")
    path = Path(shutil.copy(calibrated(backbone, "dip_go", 10)[0], tmp_path))
    with pytest.raises(ValueError, match="a calibration of dip_go, not of mosaicdiff"):
        bigain.apply(denoiser, "mosaicdiff", calibration=path)
    with pytest.raises(ValueError, match="dip_go takes no strength"):
        bigain.apply(denoiser, "dip_go", calibration=path, ratio=0.5)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="not a calibration"):
        bigain.apply(denoiser, "dip_go", calibration=path)
    assert bigain.compression.attach.attached_to(denoiser) is None


@pytest.mark.parametrize("method", ["dip_go", "mosaicdiff"])
def test_a_calibration_serves_a_plain_pipeline(root, method, tmp_path):
    backbone = StableDiffusion(root / "resources/mini-unet", "cpu", "float32")
    conditions = backbone.conditions(["a photo of a bag", "a photo of a coat"], [])
    latents = torch.randn(2, *LATENT_SHAPE, generator=torch.Generator().manual_seed(0))
    few = CalibrationData([0, 1], latents, conditions.clone(), backbone.null_condition().clone())
    if method == "dip_go":

        def run_of(part):
            return GenerationRun(backbone, part, steps=4, guidance=2.0, seed=0)

        closed = dip_go.calibrate(backbone, few, run_of, METHODS[method], 10, 0, 1)
    else:
        closed = mosaicdiff.calibrate(backbone, few, METHODS[method], 5, 0)
    closed.save(tmp_path / "c.safetensors")
    pipe = StableDiffusionPipeline.from_pretrained(root / "resources/mini-unet")
    pipe.set_progress_bar_config(disable=True)

    def sample(steps=4):
        generator = torch.Generator().manual_seed(0)
        return pipe("a photo of a bag", num_inference_steps=steps, generator=generator, output_type="np").images

    plain = sample()
    with bigain.compressed(pipe, method, calibration=tmp_path / "c.safetensors"):
        first, second = sample(), sample()
        assert (first == second).all()
        assert 0 < abs(first - plain).mean() < 0.2
        if method == "dip_go":
            with pytest.raises(ValueError, match="was calibrated for timesteps"):
                sample(steps=5)
    assert (sample() == plain).all()


@pytest.mark.parametrize("method", ["mosaicdiff", "dip_go"])
def test_offloading_that_comes_and_goes_loses_no_structural_method(backbone, calibrated, method):
    path, _ = calibrated(backbone, method, 5)
    network = copy.deepcopy(backbone.denoiser)  # on which accelerate leaves wrappers
    plain = RUN[backbone.family](network, t=62)
    outputs = []
    for offloaded in (False, True):
        if offloaded:
            cpu_offload_with_hook(network, "cpu")
        with bigain.compressed(network, method, calibration=path) as at:
            t = at.visits()[-1 if method == "mosaicdiff" else 0][0]
            outputs.append(RUN[backbone.family](network, t=t))
            if offloaded:
                remove_hook_from_module(network, recurse=True)
                outputs.append(RUN[backbone.family](network, t=t))
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    assert torch.equal(RUN[backbone.family](network, t=62), plain)


def test_a_gate_that_is_lost_is_named(backbone, calibrated):
    path, _ = calibrated(backbone, "dip_go", 10)
    network = backbone.denoiser
    block = gated_blocks_of(network).modules[0]
    with bigain.compressed(network, "dip_go", calibration=path) as at:
        block.forward = type(block).forward.__get__(block)
        with pytest.raises(ValueError, match="ran without its gate"):
            RUN[backbone.family](network, t=at.visits()[0][0])
        del block.forward
