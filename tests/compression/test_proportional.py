"""Proportional attention: merged keys weigh as much as the tokens in them, and only processors that read a mask run."""

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0, SlicedAttnProcessor

import bigain
from bigain.methods.ids import method_of
from bigain.study.denoisers import Denoiser
from bigain.tokens import TokenGrid
from bigain.tokens.facility import merge_tiles
from bigain.tokens.merge import merge_top_left
from tests.helpers.models import RUN, run_unet, tiny_unet

GRID = TokenGrid(8, 8)


def groups_of_equal_tokens() -> torch.Tensor:
    """Tokens [2, 64, 16] of which the four of a 2x2 cell are one and the same."""
    cells = torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    return GRID.to_sequence(cells.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))


@pytest.mark.parametrize("processor", [AttnProcessor(), AttnProcessor2_0()])
@pytest.mark.parametrize("ratio", [0.3, 0.75])
def test_merging_equal_tokens_changes_nothing_if_keys_are_weighted(processor, ratio):
    """exp(q k + log n) is n times exp(q k): what n equal keys have together."""
    torch.manual_seed(0)
    attention, x = Attention(16, heads=2, dim_head=8, processor=processor), groups_of_equal_tokens()
    plan = merge_top_left(x, GRID, ratio, (2, 2))
    with torch.no_grad():
        whole, short = attention(x), plan.reduce(x)
        weighted = plan.restore(attention(short, attention_mask=plan.sizes.log().unsqueeze(1)))
        plain = plan.restore(attention(short))
    torch.testing.assert_close(weighted, whole, atol=1e-5, rtol=1e-5)
    assert ratio == 0.75 or (plain - whole).abs().max() > 1e-3  # where all groups have one size, it does not matter


def test_sizes_add_up_to_all_tokens():
    x = torch.randn(2, 64, 5, generator=torch.Generator().manual_seed(0))
    plan = merge_top_left(x, GRID, 0.5, (2, 2))
    assert plan.sizes.shape == (2, 32)
    assert plan.sizes.sum(dim=1).tolist() == [64, 64]
    for sample, place in zip(plan.sizes, plan.place(), strict=True):
        assert torch.equal(sample, place.bincount(minlength=32).float())
    soft = merge_tiles(x, GRID, 0.5, (4, 4), 5.0)
    torch.testing.assert_close(soft.sizes.sum(dim=1), torch.tensor([64.0, 64.0]))


@pytest.mark.parametrize("family", ["unet", "dit"])
@pytest.mark.parametrize(("method", "strength"), [("tome_fixed", {"ratio": 0.5}), ("ca_tome", {"threshold": 0.8})])
def test_every_compressed_attention_gets_its_sizes(request, family, method, strength):
    network, masks = request.getfixturevalue(family), []
    with bigain.compressed(network, method, **strength):
        plain = RUN[family](network)
    with bigain.compressed(network, f"{method}~attention-proportional", **strength) as attachment:
        for site in attachment.sites:
            handle = site.block.module.attn1.register_forward_hook(
                lambda module, args, kwargs, output: masks.append(kwargs["attention_mask"]), with_kwargs=True
            )
            attachment.handles.append(handle)
        weighted = RUN[family](network)
    assert len(masks) == len(attachment.sites)
    assert all(mask.exp().sum(dim=-1).sub(256).abs().max() < 1e-2 for mask in masks)
    assert not torch.equal(weighted, plain)


def test_a_processor_that_reads_no_mask_is_named():
    unet = tiny_unet()
    unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1.set_processor(SlicedAttnProcessor(1))
    with (
        bigain.compressed(unet, "tome_fixed~attention-proportional", ratio=0.5),
        pytest.raises(ValueError, match="has to be AttnProcessor or AttnProcessor2_0, not SlicedAttnProcessor"),
    ):
        run_unet(unet)
    with pytest.raises(ValueError, match="unknown option 'attention'"):
        method_of("sito~attention-proportional")


def test_attention_shared_with_the_text_is_refused(flux):
    with pytest.raises(ValueError, match="shared with the text takes no mask"):
        bigain.apply(flux, "tome~attention-proportional", ratio=0.5)
    for family in ("mmdit", "flux"):
        denoiser = Denoiser(family, (8, 8), (0, 1))
        with pytest.raises(ValueError, match="joint attention takes no mask"):
            denoiser.check_layers(method_of("tome~attention-proportional"))
        with pytest.raises(ValueError, match="different numbers of tokens"):
            denoiser.check_layers(method_of("ca_tome"))
