"""Counted operations of SD3 and FLUX against closed forms, and the table in the documentation."""

import re

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel

from bigain import backbones
from bigain.measure.flops import architecture, count, prompt_tokens
from bigain.measure.vanilla import attention_layers
from bigain.methods.ids import strength_of
from tests.helpers.random_pipelines import flux as random_flux
from tests.helpers.random_pipelines import sd3

TEXT = {"mmdit": 333, "flux": 512}
N, WIDTH, HEADS = 64, 64, 4  # 8x8 tokens of latents with side 16


@pytest.fixture(scope="module")
def mmdit():
    with torch.device("meta"):
        return SD3Transformer2DModel(
            sample_size=16,
            num_layers=3,
            attention_head_dim=16,
            num_attention_heads=HEADS,
            joint_attention_dim=32,
            caption_projection_dim=WIDTH,
            pooled_projection_dim=32,
            dual_attention_layers=(0, 1),
        ).eval()


@pytest.fixture(scope="module")
def flux():
    with torch.device("meta"):
        return FluxTransformer2DModel(
            in_channels=16,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=HEADS,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 6, 6),
        ).eval()


def joint(queries, keys, text):
    """Joint attention: four projections of the image's tokens, both products over text and image."""
    return 4 * WIDTH**2 * (queries + keys) + 4 * WIDTH * (queries + text) * (keys + text)


def planning(sources=48, destinations=16):
    """Similarities of sources to destinations; the Laplacian score's nine taps, at two operations, count too."""
    return 2 * sources * destinations * WIDTH + 18 * N * WIDTH


def test_merging_in_a_dual_block_of_sd3_follows_its_closed_form(mmdit):
    """Both attentions shrink, the image's alone and the one with the text, on one plan."""
    plain, merged = count(mmdit, "none"), count(mmdit, "bigain_tm", ratio=0.5)
    saved = joint(N, N, TEXT["mmdit"]) - joint(32, 32, TEXT["mmdit"]) + joint(N, N, 0) - joint(32, 32, 0)
    assert plain.self_attention - merged.self_attention == saved
    assert merged.planning == planning()
    assert (merged.feed_forward, merged.rest) == (plain.feed_forward, plain.rest)
    assert merged.total == plain.total - saved + planning()


def test_fewer_keys_of_sd3_follow_their_closed_form(mmdit):
    plain, fewer = count(mmdit, "none"), count(mmdit, "todo", factor=2)
    saved = joint(N, N, TEXT["mmdit"]) - joint(N, 16, TEXT["mmdit"]) + joint(N, N, 0) - joint(N, 16, 0)
    assert plain.total - fewer.total == plain.self_attention - fewer.self_attention == saved


def test_merging_around_the_feed_forward_of_sd3_follows_its_closed_form(mmdit):
    attention, around = count(mmdit, "bigain_tm", ratio=0.5), count(mmdit, "bigain_tm@sa+mlp", ratio=0.5)
    assert attention.total - around.total == 2 * 2 * 4 * WIDTH**2 * 32


def test_merging_in_both_kinds_of_flux_blocks_follows_its_closed_form(flux):
    """Compressed are the second double-stream block and the first single-stream block, whose attention ends without a
    projection: with the MLP, that is merged too, and reads the attention's and the MLP's channels."""
    plain = count(flux, "none", 16)
    merged, around = (count(flux, name, 16, ratio=0.5) for name in ("bigain_tm", "bigain_tm@sa+mlp"))
    saved = joint(N, N, TEXT["flux"]) - joint(32, 32, TEXT["flux"])
    single = saved - 2 * WIDTH**2 * 32
    assert plain.self_attention - merged.self_attention == saved + single
    assert merged.planning == around.planning == 2 * planning()
    assert merged.total == plain.total - saved - single + merged.planning
    mlp = 2 * 2 * 4 * WIDTH**2 * 32 + 2 * (4 + 5) * WIDTH**2 * 32
    assert merged.total - around.total == merged.feed_forward - around.feed_forward == mlp


@pytest.mark.parametrize("kind", ["embedded", "sd3 without T5", "flux"])
def test_a_pipeline_s_prompts_count_as_long_as_its_conditions_are(root, tmp_path, kind):
    if kind == "embedded":
        family, folder = "mmdit", root / "resources/mini-mmdit"
    elif kind == "flux":
        family, folder = "flux", random_flux(tmp_path / "model", guidance_embeds=True)
    else:
        family, folder = "mmdit", sd3(tmp_path / "model", t5=False, shift={})
    model = architecture(str(folder))
    tokens = prompt_tokens(str(folder), model)
    assert tokens == backbones.load(family, folder).null_condition().shape[1] - 1  # the first row is the pooled vector
    side = 16 if kind == "flux" else None
    counted, default = count(model, "none", side, tokens), count(model, "none", side)
    assert tokens != TEXT[family] or counted == default
    assert (counted.total < default.total) == (tokens < TEXT[family])


def test_prompts_of_an_architecture_are_as_long_as_the_pipeline_makes_them():
    assert prompt_tokens("sd3_medium", architecture("sd3_medium")) is None


def test_joint_attention_is_not_exchanged_for_vanilla_attention(mmdit, flux, unet, dit):
    assert attention_layers(mmdit) == attention_layers(flux) == []
    assert attention_layers(unet)
    assert attention_layers(dit)


def documented(root):
    """Yield model, side, method and strength, and the documented thousands of GFLOPs and bound."""
    lines = (root / "docs/performance.md").read_text(encoding="utf-8").splitlines()
    header = next(line for line in lines if line.startswith("| | `none` | scores of attention"))
    methods = re.findall(r"`([^`]+)`(?: ([\d.]+))?", header)
    for line in lines[lines.index(header) + 2 :]:
        if not line.startswith("|"):
            return
        name, none, _, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        model, pixels = name.rsplit(", ", 1)
        side = int(pixels.removesuffix(" px").replace(",", "")) // 8
        yield model, side, "none", None, none, "1.00"
        for (method, strength), cell in zip(methods[1:], cells, strict=True):
            yield model, side, method, float(strength), *re.fullmatch(r"([\d.]+) \(([\d.]+)\)", cell).groups()


ARCHITECTURES = {
    "SD3-medium": "sd3_medium",
    "SD3.5-medium": "sd35_medium",
    "SD3.5-large": "sd35_large",
    "FLUX.1-dev": "flux1_dev",
}


def check(rows):
    plain = {}
    for model, side, method, strength, gflops, bound in rows:
        flops = count(architecture(ARCHITECTURES[model]), method, side, **strength_of(method, strength))
        whole = plain.setdefault((model, side), flops.total)
        assert f"{flops.total / 1e12:.3f}" == gflops, (model, side, method, strength)
        assert f"{whole / (flops.total - flops.planning):.2f}" == bound, (model, side, method, strength)


def test_the_documented_counts_of_a_model_are_counted(root):
    rows = [row for row in documented(root) if row[:2] == ("SD3-medium", 64) and row[2] in ("none", "bigain_tm")]
    assert len(rows) == 3
    check(rows)


@pytest.mark.slow
def test_all_documented_counts_are_counted(root):
    rows = list(documented(root))
    assert len(rows) == 8 * 6
    check(rows)


@pytest.mark.parametrize(
    ("name", "billions"), [("sd3_medium", 2.03), ("sd35_medium", 2.24), ("sd35_large", 8.06), ("flux1_dev", 11.90)]
)
def test_the_architectures_have_the_released_models_sizes(name, billions):
    """Parameters without the two autoencoders and the text encoders; the position table of SD3 is a buffer."""
    parameters = sum(parameter.numel() for parameter in architecture(name).parameters())
    assert parameters / 1e9 == pytest.approx(billions, abs=0.005)
