"""Tiny U-Nets and DiTs of diffusers' own classes, and one forward pass of each."""

from __future__ import annotations

import torch


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
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16,),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=16,
        attention_head_dim=1,
        use_linear_projection=True,
        down_block_types=("CrossAttnDownBlock2D",),
        mid_block_type=None,
        up_block_types=("UpBlock2D",),
    ).eval()


def tiny_dit():
    from diffusers import DiTTransformer2DModel

    torch.manual_seed(0)
    model = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        out_channels=8,
        num_layers=4,
        sample_size=16,
        patch_size=1,
        num_embeds_ada_norm=1000,
    )
    return model.eval()


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


RUN = {"unet": run_unet, "dit": run_dit}


def count_rows(monkeypatch, module) -> list[int]:
    """Record the batch size of each call of a module from now on."""
    rows: list[int] = []
    forward = module.forward

    def counted(x, *rest, **named):
        rows.append(len(x))
        return forward(x, *rest, **named)

    monkeypatch.setattr(module, "forward", counted)
    return rows
