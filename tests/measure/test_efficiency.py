"""FLOPs and seconds side by side, on a tiny real model."""

import pytest

from bigain.backbones.unet import StableDiffusion
from bigain.measure.efficiency import Arm, measure


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
    assert rows["none"]["speedup"] == 1
    assert rows["bigain_tm"]["planning_gflops"] > rows["todo"]["planning_gflops"] == 0
    assert rows["todo"]["sparsity"] == pytest.approx(0.75)
    for row in rows.values():
        assert row["seconds"] > 0
        assert row["speedup"] > 0
        assert "CPU" in row["device"]
