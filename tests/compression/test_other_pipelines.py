"""Models of other pipelines, with tiny real configs: Stable Diffusion 1.5, SDXL, PixArt."""

import pytest
import torch
from diffusers import PixArtTransformer2DModel, UNet2DConditionModel

import bigain
from tests.helpers.methods import record_options
from tests.helpers.pipelines import tiny_pixart


@pytest.fixture(scope="module")
def sd15():
    """Convolutions as projections, self-attention at the highest resolution."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=16,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()


@pytest.fixture(scope="module")
def sdxl():
    """No attention at the highest resolution, several transformer blocks in one place, added conditions."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(8, 16, 32),
        layers_per_block=2,
        norm_num_groups=8,
        cross_attention_dim=16,
        attention_head_dim=(1, 2, 4),
        transformer_layers_per_block=(1, 2, 3),
        use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 10,
    ).eval()


@pytest.fixture(scope="module")
def pixart():
    return tiny_pixart(num_layers=4)


def run(model):
    draw = torch.Generator().manual_seed(1)
    size = model.config.sample_size
    x = torch.randn(2, 4, size, size, generator=draw)
    with torch.no_grad():
        if isinstance(model, PixArtTransformer2DModel):
            text = torch.randn(2, 5, 12, generator=draw)
            mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
            return model(x, text, torch.tensor([7, 7]), encoder_attention_mask=mask, return_dict=False)[0]
        context = torch.randn(2, 5, 16, generator=draw)
        added = {"text_embeds": torch.randn(2, 10, generator=draw), "time_ids": torch.ones(2, 6)}
        return model(x, 7, context, added_cond_kwargs=added, return_dict=False)[0]


@pytest.mark.parametrize(
    ("name", "blocks", "grid"), [("sd15", 3, "16x16"), ("sdxl", 2 * 2 + 3 * 2, "16x16"), ("pixart", 2, "8x8")]
)
@pytest.mark.parametrize(
    ("method", "strength"),
    [("bigain_tm", {"ratio": 0.5}), ("tome@sa+ca+mlp", {"ratio": 0.5}), ("bigain_td", {"factor": 2})],
)
def test_it_compresses_the_highest_resolution_with_attention_and_is_undone(
    request, name, blocks, grid, method, strength
):
    model = request.getfixturevalue(name)
    plain = run(model)
    with bigain.compressed(model, method, **strength) as attachment:
        inside = run(model)
        assert len(attachment.sites) == blocks
        assert {str(site.grid) for site in attachment.sites} == {grid}
    assert not torch.equal(inside, plain)
    assert torch.equal(run(model), plain)


def test_the_timestep_is_found_wherever_a_model_takes_it(pixart, sd15):
    for model in (pixart, sd15):
        with bigain.compressed(model, "bigain_td~alpha-0to999", factor=2) as attachment:
            seen = record_options(attachment)
            run(model)
            assert float(torch.as_tensor(seen[0]["alpha"]).flatten()[0]) == pytest.approx(999 - 7)


def test_pixart_self_attention_with_a_mask_is_refused(pixart):
    mask = torch.ones(2, 64)
    with bigain.compressed(pixart, "tome", ratio=0.5), pytest.raises(ValueError, match="context or mask"):
        pixart(torch.randn(2, 4, 16, 16), torch.randn(2, 5, 12), torch.tensor([7, 7]), attention_mask=mask)
