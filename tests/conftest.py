"""Tiny real models and fixtures for all tests: no mocks, no network, one thread."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


def _tiny_unet(sample_size: int = 16, layers: int = 1):
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


def _tiny_dit():
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


@pytest.fixture(scope="session")
def unet():
    return _tiny_unet()


@pytest.fixture(scope="session")
def dit():
    return _tiny_dit()


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
