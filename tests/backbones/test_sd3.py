"""Stable Diffusion 3 in a tiny real config: conditions and samples of its pipeline, eps and x_0 of its velocity."""

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from bigain import backbones
from bigain.backbones.in_memory import family_of_folder, from_pipeline
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Uncompressed
from bigain.core.rng import torch_generator
from bigain.sampling.generate import Sampling, generate_images
from tests.helpers.random_pipelines import sd3

SHIFTS = {"static": {"shift": 3.0}, "dynamic": {"use_dynamic_shifting": True, "base_image_seq_len": 8}}
PROMPTS = ["a photo of a bag", "a photo of a coat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return sd3(tmp_path_factory.mktemp("sd3") / "model", t5=True, shift=SHIFTS["static"])


@pytest.fixture(scope="module")
def pipe(folder):
    pipe = StableDiffusion3Pipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def backbone(folder):
    return backbones.load(family_of_folder(folder), folder)


def unpacked_of(pipe):
    """The pipeline's own encoding of the prompts, with the tokens of T5 that the backbone takes."""
    length = min(256, pipe.tokenizer_3.model_max_length) if pipe.tokenizer_3 else 256
    with torch.inference_mode():
        sequence, _, pooled, _ = pipe.encode_prompt(
            PROMPTS, None, None, do_classifier_free_guidance=False, max_sequence_length=length
        )
    return pooled, sequence


def test_conditions_are_those_of_the_pipeline(backbone, pipe):
    conditions = backbone.conditions(PROMPTS, [])
    assert conditions.shape == (2, 1 + 77 + 77, 48)
    for ours, theirs in zip(backbone.unpacked(conditions), unpacked_of(pipe), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_prompt_s_condition_does_not_depend_on_the_others(backbone):
    assert torch.equal(backbone.conditions(PROMPTS, [])[1:], backbone.conditions(PROMPTS[1:], []))


def test_without_t5_its_tokens_are_zeros_as_in_the_pipeline(tmp_path):
    folder = sd3(tmp_path / "model", t5=False, shift=SHIFTS["static"])
    backbone = backbones.load("mmdit", folder)
    pipe = StableDiffusion3Pipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    for candidate in (backbone, from_pipeline(pipe)):
        pooled, sequence = candidate.unpacked(candidate.conditions(PROMPTS, []))
        assert sequence.shape == (2, 77 + 256, 40)
        assert not sequence[:, 77:].any()
        for ours, theirs in zip((pooled, sequence), unpacked_of(pipe), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("shift", SHIFTS)
def test_samples_equal_those_of_the_pipeline(folder, pipe, backbone, monkeypatch, shift, guidance):
    scheduler = type(pipe.scheduler)(**SHIFTS[shift])
    monkeypatch.setattr(pipe, "scheduler", scheduler)
    monkeypatch.setitem(vars(backbone), "scheduler", scheduler)
    conditions, null = backbone.conditions(PROMPTS, []), backbone.null_condition()
    ours = generate_images(backbone, [0, 1], conditions, null, Sampling(3, guidance, seed=0), Uncompressed())
    noise = torch.stack([torch.randn(backbone.latent_shape, generator=torch_generator(0, "x_T", k)) for k in (0, 1)])
    theirs = pipe(
        PROMPTS,
        latents=noise,
        num_inference_steps=3,
        guidance_scale=guidance,
        max_sequence_length=77,
        output_type="pt",
    ).images
    assert ours.shape == theirs.shape == (2, 3, 64, 64)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_epsilon_and_x_0_are_recovered_from_the_velocity(backbone, monkeypatch):
    """A model that predicts v = eps - x_0 has error 0 at every t."""
    x_0, eps = (torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    t = torch.tensor([25, 500, 975])
    monkeypatch.setattr(backbone, "predict", lambda x_t, t, conditions: eps - x_0)
    x_t = backbone.noised(x_0, eps, t)
    assert torch.allclose(backbone.predict_noise(x_t, t, torch.zeros(3)), eps, atol=1e-5)
    assert torch.allclose(backbone.predict_clean(x_t, t, torch.zeros(3)), x_0, atol=1e-5)


def test_alpha_bar_has_the_flow_s_ratio_of_image_to_noise(backbone):
    """So weights of x_0's errors become weights of eps' as for a diffusion model."""
    sigma = torch.arange(50, 1000) / 1000
    alpha_bar = backbone.alphas_bar[50:]
    assert backbone.alphas_bar[0] == 1
    assert torch.allclose((alpha_bar / (1 - alpha_bar)).sqrt(), (1 - sigma) / sigma, rtol=1e-3)


def test_it_classifies_from_the_folder_and_from_memory_alike(backbone, pipe):
    errors = []
    for candidate in (backbone, from_pipeline(pipe)):
        conditions = candidate.conditions(PROMPTS, [])
        images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        settings = ClassificationSettings(Stages((1, 2), (2, 1)), 0, 3)
        trials = classify_images(
            candidate, candidate.encode_images(images), [4, 7], conditions, settings, Uncompressed()
        )
        errors.append([trial.error for trial in trials])
    assert errors[0] == errors[1]
    assert len(set(errors[0])) == 2 * 2 * 2


def test_a_damaged_part_is_named(folder, tmp_path):
    copy = sd3(tmp_path / "model", t5=False, shift={})
    (copy / "text_encoder_2" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"text_encoder_2 could not be loaded as CLIPTextModelWithProjection"):
        backbones.load("mmdit", copy).conditions(PROMPTS, [])
