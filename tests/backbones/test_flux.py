"""FLUX.1 in a tiny real config: its epsilon, its sampler, and a method on its denoiser."""

import pytest
import torch
from diffusers import FluxPipeline

import bigain
from bigain import backbones
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Uncompressed
from bigain.core.rng import torch_generator
from bigain.sampling.generate import Sampling, generate_images
from bigain.sampling.guided import GuidedSampler
from tests.helpers.random_pipelines import flux


@pytest.fixture(scope="module", params=[True, False], ids=["distilled", "plain"])
def backbone(request, tmp_path_factory):
    return backbones.load("flux", flux(tmp_path_factory.mktemp("flux") / "model", guidance_embeds=request.param))


def test_epsilon_is_recovered_from_the_velocity(backbone, monkeypatch):
    """A model that predicts v = eps - x_0 predicts eps at every t."""
    x_0, eps = (torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    t = torch.tensor([25, 500, 975])
    monkeypatch.setattr(backbone, "predict", lambda x_t, t, conditions: eps - x_0)
    eps_theta = backbone.predict_noise(backbone.noised(x_0, eps, t), t, torch.zeros(3))
    assert torch.allclose(eps_theta, eps, atol=1e-5)


def test_it_classifies(backbone):
    conditions = backbone.conditions(["a photo of a bag", "a photo of a coat"], [])
    latents = torch.randn(2, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    trials = classify_images(
        backbone, latents, [4, 7], conditions, ClassificationSettings(Stages((1, 2), (2, 1)), 0, 3), Uncompressed()
    )
    assert len(trials) == 2 * 2 * 2
    assert {trial.image for trial in trials} == {4, 7}
    assert len({trial.error for trial in trials}) == 8


@pytest.fixture
def rows(backbone):
    """The rows of every forward pass of the denoiser."""
    counts = []
    hook = backbone.denoiser.register_forward_pre_hook(
        lambda module, args, inputs: counts.append(len(inputs["hidden_states"])), with_kwargs=True
    )
    yield counts
    hook.remove()


def test_samples_equal_those_of_diffusers_pipeline(backbone, rows):
    """The same images from the same forward passes: neither runs a null half."""
    prompt, steps, distilled = "a bag", 3, backbone.is_distilled
    conditions = backbone.conditions([prompt] * 2, [])
    sampling = Sampling(steps, guidance=3.5 if distilled else 1.0, seed=0)
    ours = generate_images(backbone, [0, 1], conditions, backbone.null_condition(), sampling, Uncompressed())
    assert rows == [2] * steps
    pipe = FluxPipeline(**{**FluxPipeline.from_pretrained(backbone.path).components, "transformer": backbone.denoiser})
    pipe.set_progress_bar_config(disable=True)
    noise = torch.stack([torch.randn(backbone.latent_shape, generator=torch_generator(0, "x_T", k)) for k in (0, 1)])
    theirs = pipe(
        prompt_embeds=conditions[:, 1:],
        pooled_prompt_embeds=conditions[:, 0, :16],
        latents=FluxPipeline._pack_latents(noise, 2, *backbone.latent_shape),
        height=64,
        width=64,
        num_inference_steps=steps,
        guidance_scale=3.5,
        output_type="pt",
    ).images
    assert rows == [2] * (2 * steps)
    assert ours.shape == theirs.shape == (2, 3, 64, 64)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_without_the_null_half_a_compressed_model_gives_the_images_that_it_gave_with_it(backbone, rows, monkeypatch):
    """At guidance 1 the null half cancels out. The plain model runs it at any other guidance, the distilled at none."""
    conditions, null = backbone.conditions(["a bag", "a coat"], []), backbone.null_condition()

    def images(guidance):
        rows.clear()
        with bigain.compressed(backbone.denoiser, "bigain_tm~blocks-double", ratio=0.5) as attached:
            return generate_images(backbone, [0, 1], conditions, null, Sampling(2, guidance, seed=0), attached)

    alone = images(3.5 if backbone.is_distilled else 1.0)
    assert rows == [2, 2]
    with_null = GuidedSampler.__init__

    def both_halves(sampler, *arguments):
        sampler.rows_per_image = 2
        with_null(sampler, *arguments)

    monkeypatch.setattr(GuidedSampler, "__init__", both_halves)
    assert torch.allclose(images(3.5 if backbone.is_distilled else 1.0), alone, atol=1e-5)
    assert rows == [4, 4]
    monkeypatch.undo()
    guided = images(2.0)
    assert rows == ([2, 2] if backbone.is_distilled else [4, 4])
    assert not torch.allclose(guided, alone, atol=1e-5)


def test_the_autoencoder_shifts_both_ways(backbone):
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    config = backbone.vae.config
    with torch.inference_mode():
        mean = backbone.vae.encode(image * 2 - 1).latent_dist.mean
        decoded = backbone.vae.decode(mean).sample
    latents = backbone.encode_images(image)
    assert torch.allclose(latents, (mean - config.shift_factor) * config.scaling_factor, atol=1e-6)
    assert torch.allclose(backbone.decode(latents), (decoded / 2 + 0.5).clamp(0, 1), atol=1e-4)


def test_a_method_changes_what_is_predicted_and_leaves_nothing_behind(backbone):
    x, t = torch.randn(2, *backbone.latent_shape, generator=torch.Generator().manual_seed(0)), torch.tensor([250, 750])
    conditions = backbone.conditions(["a photo of a bag"] * 2, [])
    with torch.inference_mode():
        before = backbone.predict(x, t, conditions)
        with bigain.compressed(backbone.denoiser, "todo~blocks-double", factor=2):
            compressed = backbone.predict(x, t, conditions)
        assert torch.equal(backbone.predict(x, t, conditions), before)
    assert compressed.isfinite().all()
    assert not torch.allclose(compressed, before)
