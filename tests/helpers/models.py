"""Tiny U-Nets and DiTs of diffusers' own classes, and one forward pass of each."""

from __future__ import annotations

import torch

from bigain.methods.ids import method_of


def tiny_unet(sample_size: int = 16, layers: int = 1):
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=sample_size,
        block_out_channels=(16, 32),
        layers_per_block=layers,
        norm_num_groups=8,
        cross_attention_dim=16,
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()


def one_block_unet():
    """Return a U-Net with a single transformer block, which is traced in half the time."""
    return shallow_unet(1)


def shallow_unet(blocks: int):
    """Return a U-Net of a single stage with so many transformer blocks, which share their plans if they may."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16,),
        layers_per_block=blocks,
        norm_num_groups=8,
        cross_attention_dim=16,
        attention_head_dim=1,
        use_linear_projection=True,
        down_block_types=("CrossAttnDownBlock2D",),
        mid_block_type=None,
        up_block_types=("UpBlock2D",),
    ).eval()


def tiny_dit(layers: int = 4):
    from diffusers import DiTTransformer2DModel

    torch.manual_seed(0)
    model = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        out_channels=8,
        num_layers=layers,
        sample_size=16,
        patch_size=1,
        num_embeds_ada_norm=1000,
    )
    return model.eval()


def tiny_mmdit(num_layers: int = 3, dual: tuple[int, ...] = (0, 1), qk_norm: str | None = "rms_norm"):
    """Return an SD3 transformer; like SD3.5-medium's, its first blocks have a second attention."""
    from diffusers import SD3Transformer2DModel

    torch.manual_seed(0)
    return SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=num_layers,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=16,
        pooled_projection_dim=10,
        pos_embed_max_size=16,
        dual_attention_layers=dual,
        qk_norm=qk_norm,
    ).eval()


def tiny_flux(doubles: int = 2, singles: int = 2):
    """Return a FLUX transformer."""
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=16,
        num_layers=doubles,
        num_single_layers=singles,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=10,
        axes_dims_rope=(4, 6, 6),
    ).eval()


def run_unet(model, batch: int = 2, height: int = 16, width: int = 16, t=500):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 4, height, width, generator=generator)
    context = torch.randn(batch, 5, 16, generator=generator)
    with torch.no_grad():
        return model(x, t, encoder_hidden_states=context, return_dict=False)[0]


def run_dit(model, batch: int = 2, t=500):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 4, 16, 16, generator=generator)
    with torch.no_grad():
        return model(x, timestep=torch.as_tensor(t).expand(batch), class_labels=torch.arange(batch), return_dict=False)[
            0
        ]


def traced(family: str, method: str):
    """Return the smallest model that a test can trace under a method, with every block compressed, and the blocks'
    argument: two blocks for methods that share plans among them."""
    count = 1 if method_of(method).plan_for == "block" else 2
    if family == "unet":
        return shallow_unet(count), {}
    return tiny_dit(count), {"blocks": tuple(range(count))}


def mmdit_inputs(batch: int = 2, height: int = 16, width: int = 16, t=500):
    """Return an SD3 transformer's arguments for latents of some size."""
    generator = torch.Generator().manual_seed(1)
    return {
        "hidden_states": torch.randn(batch, 4, height, width, generator=generator),
        "encoder_hidden_states": torch.randn(batch, 5, 12, generator=generator),
        "pooled_projections": torch.randn(batch, 10, generator=generator),
        "timestep": torch.as_tensor(float(t)).expand(batch),
        "return_dict": False,
    }


def run_mmdit(model, batch: int = 2, height: int = 16, width: int = 16, t=500):
    with torch.no_grad():
        return model(**mmdit_inputs(batch, height, width, t))[0]


def flux_positions(height: int, width: int):
    """Return img_ids as FluxPipeline makes them."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()


def flux_inputs(batch: int = 2, height: int = 8, width: int = 8, t=500):
    """Return a FLUX's arguments for a grid of tokens."""
    generator = torch.Generator().manual_seed(1)
    return {
        "hidden_states": torch.randn(batch, height * width, 16, generator=generator),
        "encoder_hidden_states": torch.randn(batch, 5, 12, generator=generator),
        "pooled_projections": torch.randn(batch, 10, generator=generator),
        "timestep": torch.as_tensor(t / 1000).expand(batch),
        "img_ids": flux_positions(height, width),
        "txt_ids": torch.zeros(5, 3),
        "return_dict": False,
    }


def run_flux(model, batch: int = 2, height: int = 8, width: int = 8, t=500):
    with torch.no_grad():
        return model(**flux_inputs(batch, height, width, t))[0]


RUN = {"unet": run_unet, "dit": run_dit, "mmdit": run_mmdit, "flux": run_flux}


def count_rows(monkeypatch, module) -> list[int]:
    """Record the batch size of each call of a module from now on."""
    rows: list[int] = []
    forward = module.forward

    def counted(x, *rest, **named):
        rows.append(len(x))
        return forward(x, *rest, **named)

    monkeypatch.setattr(module, "forward", counted)
    return rows
