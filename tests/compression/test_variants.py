"""Variants of methods on a model: other layers, cells, blocks and levels, shared plans, clamped ratios, t = 0."""

import pytest
import torch

import bigain
from bigain.compression.attachment import RowKey
from bigain.methods.ids import method_of
from bigain.methods.places import chosen, part_of, span
from tests.helpers.methods import arguments_for, record_options
from tests.helpers.models import RUN, run_dit, run_unet


def test_larger_cells_reach_larger_ratios(unet):
    with pytest.raises(ValueError, match=r"cells of 2x2 only 192 can be merged: the largest ratio is 0\.75"):
        bigain.apply(unet, "bigain_tm", ratio=0.9)
    with bigain.compressed(unet, "bigain_tm~cell-4x4", ratio=0.9) as attachment:
        run_unet(unet)
        assert {site.kept for site in attachment.sites} == {256 - 230}


@pytest.mark.parametrize(
    ("method", "kept"),
    [("bigain_tm", 64), ("tome_fixed", 64), ("bigain_tm~protect-0.1", 64 + 25), ("bigain_tm_block", 64), ("sito", 64)],
)
def test_a_clamped_ratio_is_the_largest_there_is(unet, method, kept):
    with pytest.raises(ValueError, match="the largest ratio is"):
        bigain.apply(unet, method, ratio=0.9)
    with bigain.compressed(unet, f"{method}~clamp-on", ratio=0.9) as attachment:
        run_unet(unet)
        assert {site.kept for site in attachment.sites} == {kept}
    with bigain.compressed(unet, f"{method}~clamp-on", ratio=0.5) as attachment:
        assert {site.kept for site in attachment.sites} <= {128, 130}


@pytest.mark.parametrize(
    ("variant", "places"),
    [("blocks-first_12", [0, 1]), ("blocks-1_6", [0]), ("blocks-7_12", [1]), ("blocks-0+3", [0, 3])],
)
def test_blocks_of_an_id_override_the_options(dit, variant, places):
    with bigain.compressed(dit, f"bigain_tm~{variant}", ratio=0.5, blocks=(1, 2)) as attachment:
        assert [site.block.place for site in attachment.sites] == places


def test_levels_of_an_id_override_the_options(unet):
    with bigain.compressed(unet, "todo~levels-1", factor=2) as attachment:
        assert {str(site.grid) for site in attachment.sites} == {"8x8"}
    with pytest.raises(ValueError, match="chosen by `levels`"):
        bigain.apply(unet, "todo~blocks-1", factor=2)


def test_parts_of_dit_xl_are_those_of_the_paper():
    assert part_of("first_12", 28) == tuple(range(12))
    assert part_of("1_6", 28) + part_of("7_12", 28) == tuple(range(12))
    assert part_of("first_12", 6) == (0, 1, 2)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_shallow_transformer_needs_its_blocks_chosen(depth):
    exist = range(depth)
    with pytest.raises(ValueError, match=f"all blocks but the first and the last.*by `blocks` \\({span(exist)}\\)"):
        chosen("dit", exist, levels=None, blocks=None)
    with pytest.raises(ValueError, match=f"1_6 is a part of 28 blocks, and of {depth} blocks it holds none"):
        chosen("dit", exist, levels=None, blocks="1_6")
    assert chosen("dit", exist, levels=None, blocks=[0]) == (0,)


def test_tokens_left_by_the_quantile_rule_are_measured(unet):
    with bigain.compressed(unet, "bigain_tm_block@sa+mlp~rule-quantile", ratio=0.7) as attachment:
        changed = run_unet(unet)
        fewest = method_of("bigain_tm_block~rule-quantile").tokens_left(0.7, 16, 16)[0]
        assert all(fewest < site.kept < 256 for site in attachment.sites)
    assert not torch.equal(changed, run_unet(unet))
    with pytest.raises(ValueError, match="drop ca"):
        bigain.apply(unet, "bigain_tm_block@sa+ca~rule-quantile", ratio=0.7)


def test_a_threshold_leaves_each_image_its_own_number_of_tokens(unet):
    plain = run_unet(unet)
    with bigain.compressed(unet, "ca_tome", threshold=0.8) as attachment:
        assert all(site.kept == 64 for site in attachment.sites)  # the fewest, before any image was seen
        changed = run_unet(unet)
        assert all(64 < site.kept < 256 for site in attachment.sites)
    assert not torch.equal(changed, plain)
    assert torch.equal(run_unet(unet), plain)
    with pytest.raises(ValueError, match="drop ca"):
        bigain.apply(unet, "ca_tome@sa+ca", threshold=0.2)
    with pytest.raises(ValueError, match=r"ca_tome takes a similarity from 0 to 1 .*, not ratio=0\.5"):
        bigain.apply(unet, "ca_tome", ratio=0.5)
    with pytest.raises(ValueError, match=r"strength 1\.5 is not allowed; it takes a similarity from 0 to 1"):
        bigain.apply(unet, "ca_tome", threshold=1.5)


def test_pixart_s_keys_are_those_of_todo_s_first_tokens_in_the_second_half_of_the_blocks(dit):
    with bigain.compressed(dit, "pixart_kv", factor=2) as attachment:
        blocks, changed = [site.block.place for site in attachment.sites], RUN["dit"](dit)
    depth = len(dit.transformer_blocks)
    assert blocks == list(range(depth // 2, depth))
    with bigain.compressed(dit, "todo~site-top_left", factor=2, blocks=tuple(blocks)):
        assert torch.equal(RUN["dit"](dit), changed)


class Counted:
    """Counts the token rows that a layer is really given."""

    def __init__(self, layer):
        self.tokens = []
        self.handle = layer.register_forward_pre_hook(
            lambda module, args, kwargs: self.tokens.append((args[0] if args else kwargs["hidden_states"]).shape[1]),
            with_kwargs=True,
        )


@pytest.mark.parametrize(("layers", "expected"), [("sa", (256, 256)), ("sa+ca", (77, 256)), ("sa+ca+mlp", (77, 77))])
def test_cross_attention_and_feed_forward_run_on_merged_tokens(unet, layers, expected):
    block = unet.down_blocks[0].attentions[0].transformer_blocks[0]
    inner = [Counted(block.attn2.to_q), Counted(block.ff.net[0])]
    plain = run_unet(unet)
    with bigain.compressed(unet, f"bigain_tm@{layers}", ratio=0.7):
        for counter in inner:
            counter.tokens.clear()
        changed = run_unet(unet)
    for counter in inner:
        counter.handle.remove()
    assert tuple(counter.tokens[0] for counter in inner) == expected
    assert not torch.equal(changed, plain)
    assert torch.equal(run_unet(unet), plain)


def test_layers_at_ratio_zero_change_nothing(unet, dit):
    for run, network, layers in ((run_unet, unet, "sa+ca+mlp"), (run_dit, dit, "sa+mlp")):
        plain = run(network)
        with bigain.compressed(network, f"bigain_tm@{layers}", ratio=0.0):
            assert torch.allclose(run(network), plain, atol=1e-6)


def test_calls_of_one_seed_are_not_those_of_another(unet):
    """Nor a permutation of them, as seed xor call would give."""
    drawn = []
    for seed in (0, 1):
        with bigain.compressed(unet, "tome", ratio=0.5, seed=seed) as attachment:
            seen = record_options(attachment)
            for _ in range(4):
                run_unet(unet)
            drawn += [tuple(options["offsets"].flatten().tolist()) for options in seen[::3]]
    assert len(set(drawn)) == 8


def test_official_v1_is_refused_where_cells_do_not_fill_the_width(unet):
    with bigain.compressed(unet, "bigain_tm~destinations-official_v1", ratio=0.5):
        run_unet(unet)
        with pytest.raises(ValueError, match="rows of whole cells; 2x2 cells do not fill the width of 16x17"):
            run_unet(unet, width=17)
        assert run_unet(unet, height=17).shape[2] == 17


def test_a_dit_has_no_cross_attention(dit):
    with pytest.raises(ValueError, match=r"transformer_blocks\.1 has no cross-attention"):
        bigain.apply(dit, "bigain_tm@sa+ca", ratio=0.5)


def plans_made(network, run, method, **arguments):
    with bigain.compressed(network, method, ratio=0.5, **arguments) as attachment:
        made, operator = [], attachment.operator_options
        attachment.operator_options = lambda site, device: made.append(site.block.name) or operator(site, device)
        run(network)
        first = list(made)
        run(network)
    assert made == first * 2, "nothing crosses forward passes"
    return first


def test_cached_merging_plans_once_per_stage(unet, dit):
    everywhere = plans_made(unet, run_unet, "bigain_tm")
    cached = plans_made(unet, run_unet, "bigain_tm_cached")
    assert len(everywhere) == 3
    assert cached == [
        "down_blocks.0.attentions.0.transformer_blocks.0",
        "up_blocks.1.attentions.0.transformer_blocks.0",
    ]
    runs = plans_made(dit, run_dit, "bigain_tm_cached", blocks=(0, 1, 3))
    assert runs == ["transformer_blocks.0", "transformer_blocks.3"]


@pytest.mark.parametrize(
    ("plan_for", "planning"),
    [("stage", ["down_blocks.0", "mid_block", "up_blocks.1"]), ("model", ["down_blocks.0", "mid_block"])],
)
def test_cached_plans_of_two_resolutions_do_not_mix(unet, plan_for, planning):
    """The middle block has a smaller grid than the other two, which share a plan where the whole model has one."""
    plans = plans_made(unet, run_unet, f"bigain_tm~plan_for-{plan_for}", levels=(0, 1))
    assert plans == [f"{stage}.attentions.0.transformer_blocks.0" for stage in planning]


@pytest.mark.parametrize(
    ("method", "same"), [("tome", False), ("tome_shared", True), ("bigain_tm_shuffled", True), ("sito", True)]
)
def test_which_methods_share_draws_between_classes(unet, method, same):
    """Two rows of one image and t but different classes; the U-Net's first block has not seen the class yet."""
    plans = []
    x, context = torch.randn(1, 4, 16, 16), torch.randn(2, 5, 16)
    with torch.no_grad(), bigain.compressed(unet, method, ratio=0.5) as attachment:
        attachment.set_rows([RowKey(3, 0, 10), RowKey(3, 1, 10)])
        operator = attachment.operator
        attachment.operator = lambda *args, **options: plans.append(operator(*args, **options)) or plans[-1]
        unet(x.expand(2, -1, -1, -1), 10, encoder_hidden_states=context)
    index = plans[0].merged if hasattr(plans[0], "merged") else plans[0].pruned
    assert torch.equal(index[0], index[1]) == same


@pytest.mark.parametrize("method", ["todo", "bigain_tm", "bigain_tm@sa+mlp"])
def test_skip_t0_is_uncompressed_at_t_zero_only(model_and_run, method):
    network, run = model_and_run
    plain = {t: run(network, t=t) for t in (0, 10)}
    with bigain.compressed(network, f"{method}~skip_t0-on", **arguments_for(method)):
        assert torch.equal(run(network, t=0), plain[0])
        assert not torch.equal(run(network, t=10), plain[10])
        with pytest.raises(ValueError, match="one timestep for the whole batch"):
            run(network, t=torch.tensor([0, 10]))


@pytest.fixture(params=["unet", "dit"])
def model_and_run(request):
    return request.getfixturevalue(request.param), RUN[request.param]


@pytest.mark.parametrize("method", ["bigain_tm", "todo"])
def test_tokens_that_are_not_finite_are_an_error(unet, method):
    x = torch.full((1, 4, 16, 16), torch.nan)
    with bigain.compressed(unet, method, **arguments_for(method)), pytest.raises(ValueError, match="not all finite"):
        unet(x, 1, encoder_hidden_states=torch.zeros(1, 5, 16))
