"""Tiny real pipelines of every supported kind, and one call of each; prompts come as embeddings."""

from __future__ import annotations

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    DiTPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.helpers.models import tiny_dit, tiny_flux, tiny_mmdit, tiny_unet
from tests.helpers.repository import ROOT

PIPELINES = ("text", "image", "inpaint", "controlnet", "pag", "xl", "dit", "pixart", "sigma", "sd3", "flux")


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def _autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        sample_size=32,
    ).eval()


def tiny_xl() -> UNet2DConditionModel:
    """Return a U-Net with SDXL's added conditions."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=16,
        attention_head_dim=(1, 2),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 10,
    ).eval()


def tiny_pixart(num_layers: int = 3) -> PixArtTransformer2DModel:
    """Return a PixArt transformer."""
    torch.manual_seed(0)
    return PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=num_layers,
        sample_size=16,
        patch_size=2,
        cross_attention_dim=16,
        caption_channels=12,
        use_additional_conditions=False,
    ).eval()


def pipeline(kind: str):
    """Return a tiny pipeline with random weights that are the same every time."""
    torch.manual_seed(0)
    euler, vae = EulerDiscreteScheduler(steps_offset=1), _autoencoder()
    if kind == "dit":
        built = DiTPipeline(tiny_dit(), vae, DDIMScheduler())
    elif kind == "pixart":
        built = PixArtAlphaPipeline(None, None, vae, tiny_pixart(), DDIMScheduler())
    elif kind == "sigma":
        built = PixArtSigmaPipeline(None, None, vae, tiny_pixart(), DDIMScheduler())
    elif kind == "sd3":
        built = StableDiffusion3Pipeline(
            tiny_mmdit(), FlowMatchEulerDiscreteScheduler(), vae, *(None,) * 6, image_encoder=None
        )
    elif kind == "flux":
        built = FluxPipeline(FlowMatchEulerDiscreteScheduler(), vae, *(None,) * 4, tiny_flux())
    elif kind == "xl":
        built = StableDiffusionXLPipeline(vae, None, None, None, None, tiny_xl(), euler, add_watermarker=False)
    else:
        unet = tiny_unet()
        parts = {"vae": vae, "text_encoder": None, "tokenizer": None, "unet": unet, "scheduler": euler}
        parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        match kind:
            case "image":
                built = StableDiffusionImg2ImgPipeline(**parts)
            case "inpaint":
                built = StableDiffusionInpaintPipeline(**parts)
            case "controlnet":
                control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8))
                built = StableDiffusionControlNetPipeline(controlnet=control.eval(), **parts)
            case "pag":
                built = StableDiffusionPAGPipeline(pag_applied_layers=["down_blocks", "up_blocks"], **parts)
            case _:
                built = StableDiffusionPipeline(**parts)
    built.set_progress_bar_config(disable=True)
    return built


def xl_pipeline_with_text() -> StableDiffusionXLPipeline:
    """Return the tiny SDXL pipeline with two tiny text encoders and the embedded tokenizer."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(ROOT / "resources/mini-unet", subfolder="tokenizer")
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 20, "bos_token_id": 104, "eos_token_id": 105}
    sizes |= {"intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    first = CLIPTextModel(CLIPTextConfig(hidden_size=6, **sizes))
    second = CLIPTextModelWithProjection(CLIPTextConfig(hidden_size=10, projection_dim=10, **sizes))
    built = pipeline("xl")
    parts = {"text_encoder": first.eval(), "text_encoder_2": second.eval(), "tokenizer": tokenizer}
    return StableDiffusionXLPipeline(**{**built.components, **parts, "tokenizer_2": tokenizer}, add_watermarker=False)


@torch.no_grad()
def generated(pipe, kind: str) -> torch.Tensor:
    """Run two steps of a pipeline from fixed noise with fixed prompts."""
    steps = {"num_inference_steps": 2, "generator": torch.Generator().manual_seed(5)}
    if kind == "dit":
        return torch.as_tensor(pipe([1, 2], output_type="np", **steps).images)
    if kind == "flux":
        call = {"prompt_embeds": _noise(1, 5, 12), "pooled_prompt_embeds": _noise(1, 10), "height": 32, "width": 32}
        return pipe(**call, output_type="latent", **steps).images
    width = 16 if kind in ("text", "image", "inpaint", "controlnet", "pag", "xl") else 12
    call = {
        "prompt_embeds": _noise(1, 5, width),
        "negative_prompt_embeds": -_noise(1, 5, width),
        "output_type": "latent",
    }
    picture = _noise(1, 3, 32, 32).clamp(-1, 1) / 2 + 0.5
    match kind:
        case "pixart" | "sigma":
            ones = torch.ones(1, 5)
            call |= {"prompt_attention_mask": ones, "negative_prompt_attention_mask": ones, "negative_prompt": None}
            call |= {"height": 32, "width": 32, "use_resolution_binning": False}
        case "xl":
            call |= {"pooled_prompt_embeds": _noise(1, 10), "negative_pooled_prompt_embeds": -_noise(1, 10)}
        case "sd3":
            call |= {"pooled_prompt_embeds": _noise(1, 10), "negative_pooled_prompt_embeds": -_noise(1, 10)}
            call |= {"height": 32, "width": 32}
        case "image":
            call |= {"image": picture, "strength": 1.0}
        case "inpaint":
            call |= {"image": picture, "mask_image": (picture[:, :1] > 0.5).float(), "height": 32, "width": 32}
        case "controlnet":
            call |= {"image": picture}
    return pipe(**call, **steps).images
