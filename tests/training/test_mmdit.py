"""The embedded flow model: its forward process, its prompts, and its start from a trained DiT."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import DiTPipeline, StableDiffusion3Pipeline, StableDiffusionPipeline

from bigain.datasets import corpus, scenes
from bigain.training import from_dit, mmdit, text
from bigain.training.loop import Recipe
from bigain.training.noising import interpolated

RECIPE = Recipe(steps=1, batch_size=2, learning_rate=1e-12, muon_learning_rate=1e-12, warmup=1, checkpoint_every=1)
IMAGES = np.random.default_rng(0).integers(0, 255, (4, 32, 32)).astype(np.uint8)


@pytest.fixture(scope="module")
def unet(root):
    return StableDiffusionPipeline.from_pretrained(root / "resources/mini-unet")


@pytest.fixture(scope="module")
def dit(root):
    return DiTPipeline.from_pretrained(root / "resources/mini-dit")


def trained(unet, dit, folder, start=None):
    def draw(generator):
        return int(generator.integers(len(IMAGES))), "a photo of a bag"

    return mmdit.train_mmdit(unet, dit, corpus.words(), IMAGES, draw, folder, 0, RECIPE, start)


def test_the_velocity_leads_from_x_t_to_x_0_and_to_eps():
    x_0 = torch.randn(64, 4, 16, 16)
    x_t, sigma, v = interpolated(x_0, torch.Generator().manual_seed(0))
    sigma = sigma.view(-1, 1, 1, 1)
    assert torch.allclose(x_t - sigma * v, x_0, atol=1e-5)
    assert (x_t + (1 - sigma) * v).std() == pytest.approx(1, abs=0.01)
    assert sigma.logit().mean() == pytest.approx(0, abs=0.3)


def test_a_ddpm_has_the_signal_to_noise_ratio_of_the_flow_at_the_timestep_of_its_sigma(dit):
    alphas_bar = dit.scheduler.alphas_cumprod
    sigma = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    t = from_dit.timestep_of(sigma, alphas_bar)
    assert all(a < b for a, b in pairwise(t.tolist()))
    alpha_bar = alphas_bar[t.round().long()]
    assert torch.allclose((alpha_bar / (1 - alpha_bar)).sqrt(), (1 - sigma) / sigma, rtol=0.02)


def test_every_word_is_one_token_of_t5_too():
    tokenizer = text.build_t5_tokenizer(corpus.words())
    assert tokenizer.tokenize("a t-shirt") == ["▁a", "▁t", "-", "shirt"]
    ids = tokenizer(scenes.caption([0, 9, 1, 2])).input_ids
    assert len(ids) <= text.MAX_LENGTH
    assert tokenizer.unk_token_id not in ids


def test_prompts_are_encoded_as_the_pipeline_encodes_them(unet):
    prompts = mmdit.Prompts(text.with_projection(unet.text_encoder), unet.tokenizer, corpus.words())
    pipeline = StableDiffusion3Pipeline(
        transformer=mmdit.build(),
        scheduler=None,
        vae=None,
        text_encoder=prompts.clip,
        tokenizer=prompts.tokenizer,
        text_encoder_2=prompts.clip,
        tokenizer_2=prompts.tokenizer,
        text_encoder_3=prompts.t5,
        tokenizer_3=prompts.t5_tokenizer,
    )
    captions = ["a photo of a t-shirt", ""]
    with torch.no_grad():
        theirs = pipeline.encode_prompt(
            captions, None, None, do_classifier_free_guidance=False, max_sequence_length=text.MAX_LENGTH
        )
        ours = prompts.encode(captions)
    assert torch.allclose(ours[0], theirs[0], atol=1e-5)
    assert torch.allclose(ours[1], theirs[2], atol=1e-5)


def test_image_blocks_start_as_the_dit_s_and_text_is_silent(unet, dit, tmp_path, monkeypatch):
    monkeypatch.setattr(from_dit, "STEPS", 1)
    transformer = trained(unet, dit, tmp_path).transformer
    for block, source in zip(transformer.transformer_blocks, dit.transformer.transformer_blocks, strict=True):
        assert torch.allclose(block.attn.to_q.weight, source.attn1.to_q.weight, atol=1e-6)
        assert torch.allclose(block.ff.net[2].weight, source.ff.net[2].weight, atol=1e-6)
        assert block.attn.add_v_proj.weight.abs().max() < 1e-6


def test_the_modulation_is_fitted_to_the_dit_s(unet, dit, monkeypatch):
    monkeypatch.setattr(from_dit, "STEPS", 30)
    torch.manual_seed(0)
    model, vectors = mmdit.build(), torch.randn(11, 128)
    before, after = [], []
    for errors in (before, after):
        sigma = torch.linspace(0.1, 0.9, 11)
        classes = torch.tensor([*range(10), from_dit.NULL_CLASS])
        t, norm = from_dit.timestep_of(sigma, dit.scheduler.alphas_cumprod), from_dit.relative_norm(sigma)
        with torch.no_grad():
            wanted = from_dit.dit_modulation(dit.transformer, t, classes, norm)
            errors.append((from_dit.mmdit_modulation(model, 1000 * sigma, vectors) - wanted).square().mean())
        from_dit._fit_modulation(model, dit.transformer, dit.scheduler.alphas_cumprod, vectors, 0)
    assert after[0] < before[0] / 2


def test_training_goes_on_from_a_finished_pipeline(unet, tmp_path):
    first = trained(unet, None, tmp_path / "first")
    second = trained(unet, None, tmp_path / "second", first)
    for part in ("transformer", "text_encoder_3"):
        for name, value in getattr(first, part).state_dict().items():
            assert torch.allclose(value, getattr(second, part).state_dict()[name], atol=1e-6), name
