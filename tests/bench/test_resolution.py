"""Speed-ups at several sizes of the latents, with bounds by counted operations and the steps of a compressed block."""

import pytest
import torch

from bench import resolution, tables
from bench.architectures import RandomDiT
from bigain.measure.flops import architecture, count

pytestmark = pytest.mark.system  # one round of every method at every size takes most of a minute


@pytest.fixture(scope="module")
def rows(root):
    return list(resolution.resolution(rounds=1, batches={1: 1, 2: 1}))


def of(rows, model, side, arm, kind="SDPA attention"):
    start = f"mini-{model}'s architecture, random weights, {side}x{side}, batch 1"
    (row,) = [row for row in rows if row["case"].startswith(start) and row["arm"] == arm and row["benchmark"] == kind]
    return row


def test_every_method_is_timed_at_every_size_beside_its_bound(rows, root):
    timed = [row for row in rows if row["benchmark"] == "SDPA attention"]
    assert {row["arm"] for row in timed if "mini-unet" in row["case"]} == {*resolution.ARMS, "tomesd"}
    assert {row["arm"] for row in timed if "mini-dit" in row["case"]} == {*resolution.ARMS}
    assert all(("bound" in row) == (row["arm"] != "none") for row in timed)
    merged = count(architecture(str(root / "resources/mini-unet")), "bigain_tm", ratio=0.7)
    whole = count(architecture(str(root / "resources/mini-unet")), "none")
    bound = of(rows, "unet", 16, "bigain_tm")["bound"]
    assert bound == pytest.approx(whole.total / (merged.total - merged.planning))
    assert of(rows, "unet", 16, "tomesd")["bound"] == bound


@pytest.mark.parametrize("model", ["unet", "dit"])
@pytest.mark.parametrize("arm", ["bigain_tm", "bigain_td"])
def test_larger_latents_leave_more_to_gain(rows, model, arm):
    small, large = (of(rows, model, side, arm)["bound"] for side in (16, 32))
    assert 1.1 < small < large - 0.2


def test_a_block_s_steps_are_timed_alone_where_the_method_has_them(rows):
    tokens = ": 1024 tokens"
    merging, downsampling = (of(rows, "dit", 32, arm, "one block") for arm in ("bigain_tm", "bigain_td"))
    assert merging["case"].endswith(tokens)
    assert all(merging[step] > 0 for step in resolution.STEPS)
    assert [step for step in resolution.STEPS if not downsampling[step]] == ["plan", "restore"]
    assert merging["uncompressed"] == downsampling["uncompressed"] > merging["attention"] > 0


def test_the_page_shows_bounds_and_steps(rows):
    text = "\n".join(tables.TABLES["resolution"](rows))
    row = of(rows, "dit", 32, "bigain_td")
    line = next(line for line in text.splitlines() if f"| {row['case']} | bigain_td |" in line)
    assert f"| {1e3 * row['seconds']:.2f} | {row['ratio']:.2f} |" in line
    assert f"| {row['bound']:.2f} |" in line
    assert "goal" not in text
    assert "| plan | reduce | attention | restore | sum | attention of all tokens |" in text


def test_a_size_replaces_the_config_s(root):
    model = RandomDiT(str(root / "resources/mini-dit"), "meta", torch.float32, 32)
    assert model.latent_shape == (4, 32, 32)
    assert model.denoiser.pos_embed.pos_embed.shape[1] == 32 * 32
