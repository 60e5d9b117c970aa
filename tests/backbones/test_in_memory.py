"""Backbones over a pipeline in memory: its own modules, the same numbers as from its folder, clear refusals."""

import json
import shutil

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, FluxPipeline, LCMScheduler

from bigain import backbones
from bigain.backbones.in_memory import family_of_folder, from_folder, from_pipeline
from bigain.jobs.pipelines import load_pipeline
from tests.helpers.pipelines import pipeline
from tests.helpers.random_pipelines import flux

PROMPTS = ["a photo of a bag", "a photo of a coat"]
DENOISER = {"unet": "unet", "dit": "transformer"}


@pytest.fixture(scope="module", params=["unet", "dit"])
def loaded(request, root):
    """Family, folder and pipeline of an embedded model."""
    folder = root / f"resources/mini-{request.param}"
    return request.param, folder, DiffusionPipeline.from_pretrained(folder)


def test_a_pipeline_s_modules_are_used_themselves(loaded):
    family, _, pipe = loaded
    backbone = from_pipeline(pipe)
    assert backbone.denoiser is getattr(pipe, DENOISER[family])
    assert backbone.vae is pipe.vae


def test_all_numbers_are_those_of_the_folder(loaded):
    _, folder, pipe = loaded
    in_memory, from_folder = from_pipeline(pipe), backbones.load(family_of_folder(folder), folder)
    assert in_memory.latent_shape == from_folder.latent_shape
    assert in_memory.image_shape == from_folder.image_shape
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    x, t = from_folder.encode_images(images), torch.tensor([25, 975])
    assert torch.equal(in_memory.encode_images(images), x)
    conditions = from_folder.conditions(PROMPTS, [8, 4])
    assert torch.equal(in_memory.conditions(PROMPTS, [8, 4]), conditions)
    assert torch.equal(in_memory.noised(x, x, t), from_folder.noised(x, x, t))
    with torch.inference_mode():
        predictions = [backbone.predict_noise(x, t, conditions) for backbone in (in_memory, from_folder)]
    assert torch.equal(*predictions)


def test_flux_too(tmp_path):
    folder = flux(tmp_path / "model", guidance_embeds=False)
    in_memory, from_folder = from_pipeline(FluxPipeline.from_pretrained(folder)), backbones.load("flux", folder)
    assert family_of_folder(folder) == "flux"
    assert in_memory.latent_shape == from_folder.latent_shape
    conditions = from_folder.conditions(PROMPTS, [])
    assert torch.equal(in_memory.conditions(PROMPTS, []), conditions)
    x_t = torch.randn(2, *from_folder.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        a, b = (part.predict_noise(x_t, torch.tensor([25, 975]), conditions) for part in (in_memory, from_folder))
    assert torch.equal(a, b)


def test_noise_levels_are_those_of_the_pipeline_s_scheduler_whatever_its_class_s_defaults():
    pipe = pipeline("dit")
    pipe.scheduler = LCMScheduler()  # whose betas are scaled-linear unless told otherwise, and DDIM's linear
    assert torch.equal(from_pipeline(pipe).alphas_bar, pipe.scheduler.alphas_cumprod)
    assert not torch.equal(pipe.scheduler.alphas_cumprod, DDIMScheduler().alphas_cumprod)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pixart", "PixArtAlphaPipeline has PixArtTransformer2DModel; supported are pipelines like StableDiffusion"),
        ("text", "StableDiffusionPipeline: its text_encoder is None, and has to be CLIPTextModel"),
    ],
)
def test_a_pipeline_of_another_kind_is_an_error_that_lists_what_is_supported(kind, message):
    with pytest.raises(TypeError, match=message) as error:
        from_pipeline(pipeline(kind))
    assert "DiTPipeline" in str(error.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"in_channels": 9}, "reads 9 channels, and a latent has 4: models for inpainting"),
        ({"addition_embed_type": "text_time"}, "addition_embed_type of its denoiser is 'text_time'"),
    ],
)
def test_a_u_net_that_needs_more_than_a_prompt_is_an_error(config, message, root, monkeypatch):
    pipe = DiffusionPipeline.from_pretrained(root / "resources/mini-unet")
    monkeypatch.setattr(pipe.unet, "_internal_dict", {**pipe.unet.config, **config})
    with pytest.raises(TypeError, match=message):
        from_pipeline(pipe)


def test_a_model_in_training_mode_is_an_error():
    pipe = pipeline("dit")
    pipe.transformer.train()
    with pytest.raises(ValueError, match=r"denoiser is in training mode.*\.eval\(\)"):
        from_pipeline(pipe)


def test_a_folder_that_is_no_pipeline_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model_index.json is missing: .* is not a diffusers pipeline folder"):
        family_of_folder(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "SanaPipeline", "transformer": ["diffusers", "Sana"]}')
    with pytest.raises(TypeError, match=r"SanaPipeline in .* has Sana; supported are"):
        family_of_folder(tmp_path)


def test_a_folder_with_missing_or_damaged_parts_is_named(root, tmp_path):
    folder = tmp_path / "mini-unet"
    shutil.copytree(root / "resources/mini-unet", folder)
    shutil.move(folder / "tokenizer", tmp_path / "tokenizer")
    with pytest.raises(FileNotFoundError, match="mini-unet/tokenizer is missing: the pipeline needs its tokenizer"):
        from_folder(folder).readers()
    with pytest.raises(FileNotFoundError, match=r"mini-unet/tokenizer is missing: model_index\.json lists it"):
        load_pipeline(folder, "cpu", "float32")
    config = json.loads((folder / "unet/config.json").read_text())
    config.pop("in_channels")
    (folder / "unet/config.json").write_text(json.dumps(config))
    with pytest.raises(TypeError, match="the config of its denoiser has no number in_channels"):
        from_folder(folder)
    (folder / "unet/config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"unet/config\.json is missing"):
        from_folder(folder)
    (folder / "model_index.json").write_text("[]")
    with pytest.raises(ValueError, match=r"model_index\.json has to hold a mapping, not list"):
        from_folder(folder)
    with pytest.raises(ValueError, match=r"model_index\.json has to hold a mapping, not list"):
        load_pipeline(folder, "cpu", "float32")


def test_text_encoders_are_known_with_what_they_read(root):
    (reader,) = backbones.load("unet", root / "resources/mini-unet").readers()
    (short, long), (_, cut) = (read(["a photo of a bag", "a " * 30]) for read in (reader.tokens, reader.tokens_read))
    assert len(short) == 7
    assert len(long) == 32 > reader.limit == len(cut) == 20
    assert backbones.load("dit", root / "resources/mini-dit").readers() == []
    three = backbones.load("mmdit", root / "resources/mini-mmdit").readers()
    assert [(reader.name[-9:], reader.limit) for reader in three] == [
        ("t_encoder", 20),
        ("encoder_2", 20),
        ("encoder_3", 20),
    ]
