"""FLOPs and seconds side by side, on a tiny real model."""

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from bigain.backbones.unet import StableDiffusion
from bigain.measure.efficiency import Arm, measure
from bigain.measure.vanilla import attention_layers, vanilla_attention
from tests.helpers.models import RUN


@pytest.fixture(scope="module")
def backbone(root):
    return StableDiffusion(root / "resources/mini-unet", "cpu", "float32")


def test_every_arm_is_counted_and_timed(backbone):
    arms = [Arm("none", None), Arm("bigain_tm", 0.7), Arm("todo", 2), Arm("bigain_tm_block~rule-quantile", 0.7)]
    sites = {"levels": None, "blocks": None, "metric_site": None}
    rows = {row["method"]: row for row in measure(backbone, arms, sites, batch=2, rounds=2)}
    assert [Arm(row["method"], row["strength"]) for row in rows.values()] == arms
    assert rows["bigain_tm_block~rule-quantile"]["gflops"] is None
    assert rows["none"]["saved_percent"] == 0
    assert rows["none"]["speedup"] == rows["none"]["speedup_vanilla"] == 1
    assert rows["bigain_tm"]["planning_gflops"] > rows["todo"]["planning_gflops"] == 0
    assert rows["todo"]["sparsity"] == pytest.approx(0.75)
    for row in rows.values():
        assert row["seconds"] > 0
        assert row["speedup"] > 0
        assert row["seconds_vanilla"] > 0
        assert row["speedup_vanilla"] > 0
        assert "CPU" in row["device"]


def test_vanilla_attention_computes_the_same_and_goes_again(unet):
    before = [layer.processor for layer in attention_layers(unet)]
    plain = RUN["unet"](unet)
    with vanilla_attention(unet):
        assert all(type(layer.processor) is AttnProcessor for layer in attention_layers(unet))
        assert torch.allclose(RUN["unet"](unet), plain, atol=1e-5)
    assert [layer.processor for layer in attention_layers(unet)] == before
