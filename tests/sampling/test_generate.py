"""Sampling with tiny networks and the embedded pipelines: equal to diffusers' own pipelines, keyed by image."""

import pytest
import torch

import bigain
from bigain import backbones
from bigain.core.rng import torch_generator
from bigain.sampling.generate import Sampling, generate_images


def sample(backbone, images, sampling, method="none", **strength):
    conditions = backbone.conditions(["a photo of a bag"] * len(images), [8] * len(images))
    with bigain.compressed(backbone.denoiser, method, **strength) as at:
        return generate_images(backbone, images, conditions, backbone.null_condition(), sampling, at)


@pytest.fixture(scope="module", params=["unet", "dit"])
def backbone(request, root):
    return backbones.load(request.param, root / "resources" / f"mini-{request.param}")


def test_samples_equal_those_of_diffusers_pipeline(backbone, root):
    from diffusers import DiTPipeline, StableDiffusionPipeline

    ours = sample(backbone, [0, 1], Sampling(steps=4, guidance=3.0, seed=0))
    noise = torch.stack([torch.randn(4, 16, 16, generator=torch_generator(0, "x_T", i)) for i in (0, 1)])
    if backbone.path.name == "mini-unet":
        pipe = StableDiffusionPipeline.from_pretrained(backbone.path)
        pipe.set_progress_bar_config(disable=True)
        theirs = pipe(
            ["a photo of a bag"] * 2, latents=noise, num_inference_steps=4, guidance_scale=3.0, output_type="pt"
        ).images
    else:
        pipe = DiTPipeline.from_pretrained(backbone.path)
        pipe.set_progress_bar_config(disable=True)
        generators = [torch_generator(0, "x_T", i) for i in (0, 1)]
        theirs = pipe([8, 8], guidance_scale=3.0, generator=generators, num_inference_steps=4, output_type="pt").images
    assert ours.shape == theirs.shape == (2, 1, 32, 32)
    assert torch.allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize(("method", "strength"), [("none", {}), ("tome", {"ratio": 0.5}), ("bigain_td", {"factor": 2})])
def test_an_image_depends_on_its_id_not_on_its_neighbours(backbone, method, strength):
    sampling = Sampling(steps=2, guidance=2.0, seed=0)
    pair = sample(backbone, [4, 9], sampling, method, **strength)
    swapped = sample(backbone, [9, 4], sampling, method, **strength)
    assert torch.allclose(pair[0], swapped[1], atol=1e-3)
    assert not torch.allclose(pair[0], pair[1], atol=1e-2)
    assert torch.equal(pair, sample(backbone, [4, 9], sampling, method, **strength))


def test_the_autoencoder_reconstructs_images(backbone, root):
    from bigain.backbones.images import to_float
    from bigain.datasets import load
    from bigain.datasets.photos import crops

    dataset = load({"reader": "fashion", "path": root / "resources/fashion"})
    images = to_float(crops(dataset, range(20), size=32, channels=1))
    decoded = backbone.decode(backbone.encode_images(images).to(backbone.device))
    mse = (images - decoded).square().mean()
    assert -10 * torch.log10(mse) > 35  # dB
