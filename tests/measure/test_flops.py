"""Counted operations against the paper's Table 11, a closed form, and the committed table."""

import pandas as pd
import pytest

from bigain.measure.flops import architecture, count
from bigain.measure.flops_table import EXTRA, TODAY, row, rows
from bigain.methods.ids import strength_of
from bigain.study.flops_table import gflops as table_gflops
from tests.helpers.models import one_block_unet

N, C, D = 4096, 320, 1024  # SD 2.0's five highest-resolution blocks


@pytest.fixture(scope="module")
def sd2():
    return architecture("sd2")


@pytest.fixture(scope="module")
def dit():
    return architecture("dit_xl2")


def gflops(model, method, strength=None, **where):
    return count(model, method, **strength_of(method, strength), **where).total / 1e9


@pytest.mark.parametrize(
    ("method", "strength", "paper"),
    [
        ("none", None, 804.26),
        ("tome", 0.7, 704.87),
        ("bigain_tm", 0.7, 704.99),
        ("bigain_tm_cached", 0.7, 698.88),
        ("bigain_tm_block~score_twice-on", 0.7, 695.08),
        ("bigain_tm~plan_for-model", 0.7, 696.84),  # the released default of the cached variant
        ("sito", 0.7, 748.49),
    ],
)
def test_table_11(sd2, method, strength, paper):
    assert gflops(sd2, method, strength) == pytest.approx(paper, abs=0.005)


@pytest.mark.parametrize(("factor", "saved"), [(2, 10.80), (3, 12.84), (8, 14.17)])
def test_savings_of_fewer_keys(sd2, factor, saved):
    assert 100 * (1 - gflops(sd2, "bigain_td", factor) / gflops(sd2, "none")) == pytest.approx(saved, abs=0.005)


def test_dit_xl2(dit):
    assert gflops(dit, "none") == pytest.approx(1049.17, abs=0.005)
    assert 100 * (1 - gflops(dit, "tome", 0.7) / gflops(dit, "none")) == pytest.approx(11.0, abs=0.05)


def attention(queries, keys):
    """q and out for the queries, k and v for the keys, both products."""
    return 4 * queries * C**2 + 4 * keys * C**2 + 4 * queries * keys * C


@pytest.mark.parametrize("ratio", [0.1, 0.45, 0.7])
def test_merging_follows_its_closed_form(sd2, ratio):
    left = N - int(N * ratio)
    one_block = attention(left, left) - attention(N, N) + 2 * (N - D) * D * C + 18 * N * C
    flops = count(sd2, "bigain_tm", ratio=ratio)
    assert flops.total - count(sd2, "none").total == 5 * one_block
    assert flops.planning == 5 * (2 * (N - D) * D * C + 18 * N * C)
    assert flops.sparsity == pytest.approx(1 - left / N)


@pytest.mark.parametrize("ratio", [0.3, 0.5])
def test_a_merge_in_tiles_follows_its_closed_form(sd2, ratio):
    """ToMA: 256 Gram matrices of 16 tokens, and a merge and an unmerge of D x 16 weights each."""
    kept = 16 - int(16 * ratio)
    left = 256 * kept
    planning, moving = 2 * N * 16 * C, 2 * 2 * left * 16 * C
    flops = count(sd2, "toma", ratio=ratio)
    assert flops.total - count(sd2, "none").total == 5 * (attention(left, left) - attention(N, N) + planning + moving)
    assert flops.planning == 5 * planning


def test_fusion_costs_what_tome_does_and_the_best_of_k_plans_k_matchings(sd2):
    tome, best = (count(sd2, name, ratio=0.5) for name in ("tome", "best_plan~k-3"))
    assert all(count(sd2, name, ratio=0.5) == tome for name in ("tofu", "importance_tm"))
    assert best.planning == 3 * tome.planning == 3 * 5 * 2 * (N - D) * D * C
    assert best.total - best.planning == tome.total - tome.planning


def test_a_model_with_weights_is_refused():
    with pytest.raises(ValueError, match=r"this UNet2DConditionModel has weights on cpu: build it with .*architecture"):
        count(one_block_unet(), "bigain_tm", ratio=0.5)


def test_a_threshold_is_not_counted(sd2):
    with pytest.raises(ValueError, match="depends on the image: nothing to count"):
        count(sd2, "ca_tome", threshold=0.5)


def test_downsampling_follows_its_closed_form(sd2):
    flops, plain = count(sd2, "todo", factor=3), count(sd2, "none")
    assert flops.total - plain.total == 5 * (attention(N, 441) - attention(N, N))
    assert (flops.planning, flops.cross_attention, flops.feed_forward) == (0, plain.cross_attention, plain.feed_forward)


def test_pruning_without_the_gram_matrix_counts_only_what_it_compares(sd2):
    with_it, without = (count(sd2, name, ratio=0.7) for name in ("sito", "sito~full_gram-off"))
    pruned, compared = 2867, (N - D) * D
    assert with_it.planning == 5 * 2 * N * N * C
    assert without.planning == 5 * 2 * C * (N + compared + pruned * (N - pruned))
    assert with_it.total - with_it.planning == without.total - without.planning


def test_a_dit_s_planning_is_not_counted_as_attention(dit):
    flops, plain = count(dit, "tome", ratio=0.5), count(dit, "none")
    assert flops.planning == 10 * 2 * 768 * 256 * 1152
    assert flops.rest == plain.rest
    assert flops.self_attention < plain.self_attention


def test_layers_and_blocks_change_the_count(sd2, dit):
    assert gflops(sd2, "bigain_tm@sa+ca+mlp", 0.5) < gflops(sd2, "bigain_tm@sa+ca", 0.5) < gflops(sd2, "bigain_tm", 0.5)
    assert gflops(dit, "tome", 0.5, blocks=(1,)) > gflops(dit, "tome", 0.5)


def test_the_committed_table_holds(root):
    table = pd.read_csv(root / "bigain/study/flops.csv")
    for backbone in EXTRA:
        part = table[table["backbone"] == backbone]
        cases = [(m, None if pd.isna(s) else s) for m, s in zip(part["method"], part["strength"], strict=True)]
        assert cases == list(rows(backbone))
    check(table[~table["backbone"].isin(TODAY)][::83])


@pytest.mark.slow
def test_the_committed_table_holds_for_todays_models(root):
    table = pd.read_csv(root / "bigain/study/flops.csv")
    check(table[table["backbone"].isin(TODAY)])


def check(part):
    """Recount rows of the table."""
    for committed in part.to_dict("records"):
        strength = None if pd.isna(committed["strength"]) else committed["strength"]
        recounted = row(committed["backbone"], committed["method"], strength)
        recounted.pop("strength")
        for name, value in recounted.items():
            expected = value if isinstance(value, str) else pytest.approx(value)
            assert committed[name] == expected, (committed["backbone"], committed["method"], strength, name)


def test_an_embedded_model_is_counted_from_its_folder(root):
    assert count(architecture(str(root / "resources/mini-unet")), "none").total > 0


def test_an_unknown_backbone_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown backbone 'sd3'\. Did you mean 'sd2'\? Allowed: dit_xl2, flux1_dev, sd2, "
    ):
        architecture("sd3")


def test_a_strength_that_depends_on_t_counts_as_the_mean_over_timesteps():
    small = architecture("resources/mini-unet")
    plain, merged = count(small, "none"), count(small, "bigain_tm", ratio=0.75)
    mixed = count(small, "bigain_tm~timesteps-999to250", ratio=0.75)
    assert mixed.total == pytest.approx(0.25 * plain.total + 0.75 * merged.total)
    assert mixed.sparsity == pytest.approx(0.75 * merged.sparsity)


def test_planning_counts_the_mean_of_what_is_counted_at_each_timestep():
    plain, half, whole = (table_gflops("sd2", *arm) for arm in (("none", None), ("bigain_tm", 0.5), ("bigain_tm", 0.7)))
    assert table_gflops("sd2", "bigain_tm~timesteps-899to200", 0.5) == pytest.approx(0.3 * plain + 0.7 * half)
    assert table_gflops("sd2", "bigain_tm~timesteps-899to200", 0.5, {300: 0.9, 100: 0.1}) == pytest.approx(
        0.1 * plain + 0.9 * half
    )
    assert table_gflops("sd2", "bigain_tm", 0.6, {5: 1.0}) == pytest.approx((half + whole) / 2, rel=2e-3)
    linear = table_gflops("sd2", "bigain_tm~ratio_times-1.2to0.8", 0.5)
    assert min(plain, whole) < linear < plain
    assert linear == pytest.approx(half, rel=2e-3)


@pytest.mark.parametrize("name", ["todo~skip_t0-on", "bigain_td~skip_t0-on", "tome~skip_t0-on"])
def test_skipping_t_0_saves_a_thousandth_less(sd2, name):
    options = {"ratio": 0.5} if name.startswith("tome") else {"factor": 2}
    always, skipping, none = (
        count(sd2, method, **kept).total
        for method, kept in ((name.split("~")[0], options), (name, options), ("none", {}))
    )
    assert none - skipping == pytest.approx(none - always, rel=2e-3)
