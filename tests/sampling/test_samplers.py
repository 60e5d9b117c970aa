"""The paper's samplers on the hub's own scheduler configs, against the values of the released protocol (B.2.2)."""

import pytest
import torch
from diffusers import StableDiffusionPipeline

import bigain
from bigain import backbones
from bigain.core.rng import torch_generator
from bigain.sampling.generate import Sampling, as_stored, generate_images
from bigain.sampling.guided import sampler_for
from tests.helpers.random_pipelines import dit, stable_diffusion


@pytest.fixture(scope="module")
def sd2(tmp_path_factory):
    return backbones.load("unet", stable_diffusion(tmp_path_factory.mktemp("sd2") / "model", small=True))


@pytest.fixture(scope="module")
def dit_xl2(tmp_path_factory):
    return backbones.load("dit", dit(tmp_path_factory.mktemp("dit") / "model", small=True))


def test_alpha_bar_is_stable_diffusions(sd2):
    alphas_bar = sd2.alphas_bar[[25, 125, 525, 925, 999]]
    assert alphas_bar.tolist() == pytest.approx([0.97661, 0.86208, 0.24402, 0.01086, 0.00466], abs=5e-6)


def test_euler_over_50_steps(sd2):
    """50 float timesteps evenly from 999 to 0, from the hub's PNDM config; sigmas end with 0.1393, 0.0292, 0."""
    sampler = sampler_for(sd2, torch.zeros(1, 77, 16), torch.zeros(1, 77, 16), steps=50, guidance=7.5)
    assert sampler.timesteps.numpy() == pytest.approx(torch.linspace(999, 0, 50).numpy(), abs=1e-3)
    assert sampler.timesteps[1].item() == pytest.approx(978.61, abs=5e-3)
    assert sampler.scheduler.sigmas[-3:].tolist() == pytest.approx([0.1393, 0.0292, 0], abs=5e-5)
    noise = torch.randn(1, 4, 64, 64, generator=torch_generator(0, "x_T", 0))
    assert torch.allclose(sampler.start(noise), 14.6146 * noise, rtol=1e-5)
    assert sampler.scheduler.sigmas[0].item() == pytest.approx(14.6146, abs=5e-5)


def test_ddim_over_50_steps(dit_xl2):
    """Leading spacing, 980 to 0, from noise of standard deviation 1, although alpha_bar(980) is 5.9e-5."""
    sampler = sampler_for(dit_xl2, torch.tensor([0]), torch.tensor([1000]), steps=50, guidance=4.0)
    assert sampler.timesteps.tolist() == list(range(980, -1, -20))
    noise = torch.randn(1, 4, 64, 64, generator=torch_generator(0, "x_T", 0))
    assert torch.equal(sampler.start(noise), noise)
    assert dit_xl2.alphas_bar[980].item() == pytest.approx(5.9e-5, abs=5e-7)


@pytest.mark.parametrize(
    ("method", "strength"),
    [
        ("none", {}),
        ("bigain_tm", {"ratio": 0.7}),
        ("tome_fixed", {"ratio": 0.5}),
        ("todo", {"factor": 2}),
        ("bigain_td", {"factor": 2}),
    ],
)
def test_a_pipelines_own_call_gives_the_same_image(sd2, method, strength):
    """`StableDiffusionPipeline.__call__` with Euler from its own config, and our sampler, for the same noise."""
    prompts, steps = ["a bag", "a coat"], 4
    conditions, null = sd2.conditions(prompts, []), sd2.null_condition()
    with bigain.compressed(sd2.denoiser, method, **strength) as at:
        ours = generate_images(sd2, [0, 1], conditions, null, Sampling(steps, guidance=7.5, seed=0), at)
    pipe = StableDiffusionPipeline.from_pretrained(sd2.path, scheduler=sd2.scheduler)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.stack([torch.randn(sd2.latent_shape, generator=torch_generator(0, "x_T", k)) for k in (0, 1)])
    with bigain.compressed(pipe, method, **strength):
        theirs = pipe(
            prompts, latents=noise, num_inference_steps=steps, guidance_scale=7.5, height=64, width=64, output_type="pt"
        ).images
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_what_a_file_keeps_of_an_image():
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    png, jpeg = as_stored(images, "png"), as_stored(images, "jpeg")
    assert torch.equal(as_stored(images, "float"), images)
    assert torch.equal(png * 255, (images * 255).round())
    assert (png - images).abs().max() <= 0.5 / 255 + 1e-6
    assert (jpeg - images).abs().mean() > 10 * (png - images).abs().mean()  # noise has colours that 4:2:0 halves
    flat = torch.full((1, 3, 64, 64), 0.999)
    assert torch.equal(as_stored(flat, "jpeg"), torch.full_like(flat, 254 / 255))  # cut off, not rounded
    assert as_stored(images[:, :1], "jpeg").shape == (2, 1, 64, 64)
