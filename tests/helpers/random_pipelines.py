"""Pipeline folders with random weights: the true architectures of SD 2.0 and DiT-XL/2, or small ones of the same shape.

`python -m tests.helpers.random_pipelines` writes what config/paper_smoke.yaml needs (about 8 GB).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    PNDMScheduler,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from pytorch_fid import inception
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

from bigain.core.files import read_json, write_json
from bigain.measure.flops import ARCHITECTURES

KL = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
# OpenCLIP-H's text part as Stability's folder has it.
TEXT = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}
SMALL_KL = {**KL, "block_out_channels": [8, 8, 16, 16], "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 64}
SMALL_TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL: dict[str, dict[str, Any]] = {
    "sd2": {
        "sample_size": 8,
        "block_out_channels": [16, 32],
        "attention_head_dim": [2, 4],
        "cross_attention_dim": 16,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 4,
    },
    "dit_xl2": {"sample_size": 8, "num_layers": 4, "num_attention_heads": 2, "attention_head_dim": 8},
    "sd3": {
        "sample_size": 8,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 40,
        "caption_projection_dim": 16,
        "pooled_projection_dim": 48,
        "pos_embed_max_size": 8,
    },
    "flux": {
        "in_channels": 16,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 16,
        "axes_dims_rope": (4, 4, 8),
    },
}
SHRUNKEN: dict[str, dict[str, Any]] = {  # the text encoders' widths are those of `SMALL`
    "sd35_medium": {
        "sample_size": 8,
        "num_layers": 4,
        "dual_attention_layers": [0, 1],
        "num_attention_heads": 2,
        "caption_projection_dim": 128,
        "joint_attention_dim": 40,
        "pooled_projection_dim": 48,
        "pos_embed_max_size": 8,
    },
    "flux1_dev": {
        "num_layers": 2,
        "num_single_layers": 2,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 16,
    },
}
SD2_SCHEDULER = {  # what the hub's folder holds; the paper samples with Euler from the same betas
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}
DIT_SCHEDULER = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", "clip_sample": False}


def stable_diffusion(folder: Path, small: bool = False) -> Path:
    """Write a StableDiffusionPipeline folder; its tokenizer knows letters, not words."""
    torch.manual_seed(0)
    config = read_json(ARCHITECTURES / "sd2.json") | (SMALL["sd2"] if small else {})
    UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    AutoencoderKL(**(SMALL_KL if small else KL)).save_pretrained(folder / "vae")
    _text(folder, SMALL_TEXT if small else TEXT)
    PNDMScheduler(**SD2_SCHEDULER).save_pretrained(folder / "scheduler")
    parts = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
    }
    write_json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline", **parts})
    return folder


def dit(folder: Path, small: bool = False) -> Path:
    """Write a DiTPipeline folder."""
    torch.manual_seed(1)
    config = read_json(ARCHITECTURES / "dit_xl2.json") | (SMALL["dit_xl2"] if small else {})
    DiTTransformer2DModel.from_config(config).save_pretrained(folder / "transformer")
    AutoencoderKL(**(SMALL_KL if small else KL)).save_pretrained(folder / "vae")
    DDIMScheduler(**DIT_SCHEDULER).save_pretrained(folder / "scheduler")
    parts = {
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    write_json(folder / "model_index.json", {"_class_name": "DiTPipeline", **parts})
    return folder


def flux(folder: Path, guidance_embeds: bool, **architecture: Any) -> Path:
    """A small FluxPipeline folder, whose transformer is as `architecture` says beyond that."""
    torch.manual_seed(2)
    settings = SMALL["flux"] | architecture
    FluxTransformer2DModel(**settings, guidance_embeds=guidance_embeds).save_pretrained(folder / "transformer")
    _flow_autoencoder(folder, settings["in_channels"] // 4)
    _text(folder, SMALL_TEXT)
    T5EncoderModel(T5Config(vocab_size=600, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)).save_pretrained(
        folder / "text_encoder_2"
    )
    CLIPTokenizer.from_pretrained(folder / "tokenizer").save_pretrained(folder / "tokenizer_2")
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
    scheduler.save_pretrained(folder / "scheduler")
    parts = {
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    }
    write_json(folder / "model_index.json", {"_class_name": "FluxPipeline", **parts})
    return folder


def sd3(folder: Path, t5: bool, shift: dict, **architecture: Any) -> Path:
    """A small StableDiffusion3Pipeline folder, with or without T5, whose scheduler has the settings `shift`, and whose
    transformer is as `architecture` says beyond that."""
    torch.manual_seed(3)
    settings = SMALL["sd3"] | architecture
    model = SD3Transformer2DModel(**settings)
    torch.nn.init.normal_(model.proj_out.weight)
    model.save_pretrained(folder / "transformer")
    _flow_autoencoder(folder, settings["in_channels"])
    _text(folder, SMALL_TEXT)
    for suffix, projection in (("", 16), ("_2", 32)):
        CLIPTokenizer.from_pretrained(folder / "tokenizer").save_pretrained(folder / f"tokenizer{suffix}")
        config = CLIPTextConfig.from_pretrained(folder / "text_encoder", projection_dim=projection)
        CLIPTextModelWithProjection(config).save_pretrained(folder / f"text_encoder{suffix}")
    FlowMatchEulerDiscreteScheduler(**shift).save_pretrained(folder / "scheduler")
    parts = {
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "text_encoder_3": ["transformers", "T5EncoderModel"] if t5 else [None, None],
        "tokenizer_3": ["transformers", "CLIPTokenizer"] if t5 else [None, None],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    }
    if t5:
        CLIPTokenizer.from_pretrained(folder / "tokenizer").save_pretrained(folder / "tokenizer_3")
        config = T5Config(vocab_size=600, d_model=40, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
        T5EncoderModel(config).save_pretrained(folder / "text_encoder_3")
    write_json(folder / "model_index.json", {"_class_name": "StableDiffusion3Pipeline", **parts})
    return folder


def sd35_medium(folder: Path) -> Path:
    """Stable Diffusion 3.5 medium's blocks, of both kinds, four of them and two heads wide."""
    return sd3(folder, t5=True, shift={"shift": 3.0}, **_shrunken("sd35_medium"))


def flux1_dev(folder: Path) -> Path:
    """FLUX.1-dev's blocks, two of each kind and two heads wide."""
    return flux(folder, guidance_embeds=True, **_shrunken("flux1_dev"))


def _shrunken(name: str) -> dict[str, Any]:
    """Return an architecture's settings with fewer blocks and heads, whose dimensions stay."""
    settings = read_json(ARCHITECTURES / f"{name}.json") | SHRUNKEN[name]
    return {key: value for key, value in settings.items() if key not in ("_class_name", "guidance_embeds")}


def _flow_autoencoder(folder: Path, channels: int) -> None:
    AutoencoderKL(**SMALL_KL | {"latent_channels": channels}, shift_factor=0.1).save_pretrained(folder / "vae")


def inception_weights(path: Path) -> Path:
    """Write random weights in pytorch-fid's format."""
    torch.manual_seed(3)
    network = inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    for name, block in {
        "Mixed_5b": inception.FIDInceptionA(192, pool_features=32),
        "Mixed_5c": inception.FIDInceptionA(256, pool_features=64),
        "Mixed_5d": inception.FIDInceptionA(288, pool_features=64),
        "Mixed_6b": inception.FIDInceptionC(768, channels_7x7=128),
        "Mixed_6c": inception.FIDInceptionC(768, channels_7x7=160),
        "Mixed_6d": inception.FIDInceptionC(768, channels_7x7=160),
        "Mixed_6e": inception.FIDInceptionC(768, channels_7x7=192),
        "Mixed_7b": inception.FIDInceptionE_1(1280),
        "Mixed_7c": inception.FIDInceptionE_2(2048),
    }.items():
        setattr(network, name, block)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)
    return path


def pytorch_fid_network(weights: Path) -> inception.InceptionV3:
    """pytorch-fid's own network with these weights instead of those that it downloads."""
    state = torch.load(weights, weights_only=True)
    with mock.patch.object(inception, "load_state_dict_from_url", return_value=state):
        return inception.InceptionV3([inception.InceptionV3.DEFAULT_BLOCK_INDEX]).eval()


def _text(folder: Path, sizes: dict) -> None:
    letters = [chr(code) for code in _byte_letters()]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", model_max_length=77)
    tokenizer.save_pretrained(folder / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=49408, max_position_embeddings=77, hidden_act="gelu", projection_dim=512, **sizes
    )
    config.eos_token_id = vocabulary["<|endoftext|>"]
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")


def _byte_letters() -> list[int]:
    """Return the characters that stand for the 256 bytes in byte-level tokenizers."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*visible, *(256 + k for k in range(256 - len(visible)))]


if __name__ == "__main__":
    stable_diffusion(Path("models/random-sd2"))
    dit(Path("models/random-dit-xl2"))
    inception_weights(Path("models/random-inception.pth"))
