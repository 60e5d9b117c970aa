"""Attaching: equal to tomesd, exactly undone, and errors instead of silent no-ops."""

import copy
import threading
from contextlib import suppress

import pytest
import tomesd
import torch
from torch._dynamo.testing import CompileCounter

import bigain
from bigain.compression.token_attachment import all_finite
from bigain.methods.presets import ALPHA
from tests.helpers.methods import COMPRESSING_TOKENS, WITHOUT_CALIBRATION, arguments_for, record_options
from tests.helpers.models import RUN, run_unet, tiny_unet, traced
from tests.helpers.quick import in_turn

EVERY_BLOCK = {"unet": {}, "dit": {"blocks": (0, 1, 2, 3)}}


@pytest.fixture(params=["unet", "dit"])
def model(request):
    return request.param, request.getfixturevalue(request.param)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.75])
def test_tome_fixed_equals_tomesd(model, ratio):
    family, network = model
    peer_model = copy.deepcopy(network)
    tomesd.apply_patch(peer_model, ratio=ratio, max_downsample=1, use_rand=False)
    peer = RUN[family](peer_model)
    plain = RUN[family](network)
    with bigain.compressed(network, "tome_fixed", ratio=ratio, metric_site="block_input", **EVERY_BLOCK[family]):
        ours = RUN[family](network)
    assert torch.allclose(ours, peer, atol=1e-5)
    assert (ours - plain).abs().max() > 1e-3


@pytest.mark.parametrize("method", WITHOUT_CALIBRATION)
def test_every_method_changes_the_output_and_is_undone_exactly(model, method):
    family, network = model
    plain = RUN[family](network)
    with bigain.compressed(network, method, **arguments_for(method)):
        inside = RUN[family](network)
    assert torch.equal(inside, plain) == (method == "none")
    assert torch.equal(RUN[family](network), plain)
    assert bigain.attached_to(network) is None
    assert not any({"forward", "_diffusers_hook"} & set(vars(module)) for module in network.modules())


@pytest.mark.parametrize("method", ["tome", "tome_fixed", "bigain_tm"])
def test_ratio_zero_is_the_untouched_model(model, method):
    family, network = model
    plain = RUN[family](network)
    with bigain.compressed(network, method, ratio=0.0):
        assert torch.allclose(RUN[family](network), plain, atol=1e-6)


def test_a_ratio_that_merges_no_token_is_refused(unet):
    plain = dict(unet.named_modules())
    with pytest.raises(ValueError, match=r"strength 0\.001 removes no token of .* grids"):
        bigain.apply(unet, "bigain_tm", ratio=0.001)
    assert bigain.attached_to(unet) is None
    assert dict(unet.named_modules()) == plain


@pytest.mark.parametrize(("family", "side", "tokens"), [("unet", 16, 16**2), ("mmdit", 16, 8**2), ("flux", 8, 8**2)])
def test_a_smaller_grid_on_which_a_ratio_merges_no_token_is_refused(family, side, tokens, request):
    network = request.getfixturevalue(family)
    with bigain.compressed(network, "bigain_tm", ratio=1.5 / tokens) as attachment:
        RUN[family](network, height=side, width=side)
        assert {(site.grid.tokens, site.kept) for site in attachment.sites} == {(tokens, tokens - 1)}
        smaller = attachment.sites[0].grid.height // 2
        with pytest.raises(ValueError, match=rf"removes no token of {smaller}x{smaller} grids; .* is the smallest"):
            RUN[family](network, height=side // 2, width=side // 2)
        RUN[family](network, height=side, width=side)


@pytest.mark.parametrize("method", ["todo", "avg_pool", "bigain_td"])
def test_factor_one_is_the_untouched_model(model, method):
    family, network = model
    plain = RUN[family](network)
    with bigain.compressed(network, method, factor=1):
        assert torch.allclose(RUN[family](network), plain, atol=1e-6)


def test_an_attachment_reports_its_blocks_and_tokens(unet):
    with bigain.compressed(unet, "bigain_tm", ratio=0.7) as attachment:
        assert [site.block.name for site in attachment.sites] == [
            "down_blocks.0.attentions.0.transformer_blocks.0",
            "up_blocks.1.attentions.0.transformer_blocks.0",
            "up_blocks.1.attentions.1.transformer_blocks.0",
        ]
        assert {(site.grid.tokens, site.kept, site.keys) for site in attachment.sites} == {(256, 77, 77)}
    with bigain.compressed(unet, "todo", factor=3, levels=(0, 1)) as attachment:
        assert [(str(s.grid), s.kept, s.keys) for s in attachment.sites] == [
            ("16x16", 256, 25),
            ("8x8", 64, 4),
            ("16x16", 256, 25),
            ("16x16", 256, 25),
        ]


def test_rectangles_get_their_own_grid(unet):
    with bigain.compressed(unet, "bigain_tm", ratio=0.5) as attachment:
        run_unet(unet, height=18, width=26)
        assert {(str(site.grid), site.kept) for site in attachment.sites} == {("18x26", 234)}


def test_dit_default_blocks_leave_first_and_last(dit):
    with bigain.compressed(dit, "todo", factor=2) as attachment:
        assert [site.block.place for site in attachment.sites] == [1, 2]


def test_the_metric_site_matters(unet):
    outputs = []
    for site in ("block_input", "norm1_output"):
        with bigain.compressed(unet, "bigain_tm", ratio=0.5, metric_site=site):
            outputs.append(run_unet(unet))
    assert not torch.equal(*outputs)


def test_random_destinations_are_new_every_call_and_repeat_with_the_seed(unet):
    def two_calls(seed):
        with bigain.compressed(unet, "tome", ratio=0.5, seed=seed):
            return run_unet(unet), run_unet(unet)

    first, second = two_calls(0)
    assert not torch.equal(first, second)
    again = two_calls(0)
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])
    assert not torch.equal(first, two_calls(1)[0])


def test_random_destinations_ignore_the_global_generator(unet):
    outputs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with bigain.compressed(unet, "tome", ratio=0.5):
            outputs.append(run_unet(unet))
    assert torch.equal(*outputs)


def test_guidance_halves_share_random_destinations(unet):
    x, context = torch.randn(1, 4, 16, 16), torch.randn(1, 5, 16)
    with torch.no_grad(), bigain.compressed(unet, "tome", ratio=0.5):
        out = unet(torch.cat([x, x]), 10, encoder_hidden_states=torch.cat([context, context]), return_dict=False)[0]
    assert torch.allclose(out[0], out[1], atol=1e-6)


def test_alpha_follows_family_task_and_timestep():
    assert ALPHA.resolve("unet", "classification") == 0.9
    assert ALPHA.resolve("dit", "generation") == 0.1
    schedule = ALPHA.resolve("unet", "generation")
    assert schedule.at(999) == pytest.approx(0.8)
    assert schedule.at(0) == pytest.approx(1.2)
    assert torch.allclose(schedule.at(torch.tensor([999.0, 0.0])), torch.tensor([0.8, 1.2]))


def test_bigain_td_uses_its_schedule_in_generation(unet):
    def at(t, task):
        torch.manual_seed(0)
        x, context = torch.randn(1, 4, 16, 16), torch.randn(1, 5, 16)
        with torch.no_grad(), bigain.compressed(unet, "bigain_td", factor=2, task=task) as attachment:
            seen = record_options(attachment)
            unet(x, t, encoder_hidden_states=context)
            return seen[0]["alpha"]

    assert float(at(torch.tensor(999), "generation")) == pytest.approx(0.8)
    assert float(at(torch.tensor(0), "generation")) == pytest.approx(1.2)
    assert at(500, "classification") == 0.9


@pytest.mark.parametrize(("family", "method"), in_turn(("unet", "dit"), WITHOUT_CALIBRATION))
def test_it_survives_a_whole_graph_capture(family, method):
    """The second call draws anew and shares plans anew, and does not need another graph."""
    network, blocks = traced(family, method)
    outputs, counter = [], CompileCounter()
    for compiled in (False, True):
        torch._dynamo.reset()
        run = torch.compile(network, backend=counter, fullgraph=True) if compiled else network
        with bigain.compressed(network, method, **arguments_for(method), **blocks):
            outputs.append([RUN[family](run) for _ in range(2)])
    for eager, captured in zip(*outputs, strict=True):
        assert torch.allclose(eager, captured, atol=1e-5)
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("bigain_tn", {"ratio": 0.5}, r"unknown method 'bigain_tn'\. Did you mean 'bigain_tm'\?"),
        ("tome", {"ratio": 0.8}, "largest ratio is 0.75"),
        ("tome", {"ratio": 1.7}, "strength 1.7 is not allowed"),
        ("tome", {"factor": 2}, "takes a merge ratio"),
        ("tome", {}, "needs `ratio`: a merge ratio"),
        ("todo", {"factor": 17}, "allowed are 1 to 16"),
        ("todo", {"factor": 2.5}, "strength 2.5 is not allowed"),
        ("none", {"ratio": 0.1}, "takes no strength"),
        ("todo", {"factor": 2, "levels": (3,)}, "no self-attention at level 3; allowed are 0 to 1"),
        ("todo", {"factor": 2, "levels": ()}, "no level is chosen; allowed are 0 to 1"),
        ("todo", {"factor": 2, "levels": (1, 0, 1)}, "level 1 is repeated; allowed are 0 to 1, each once"),
        ("todo", {"factor": 2, "blocks": (1,)}, "chosen by `levels`"),
    ],
)
def test_misuse_is_an_error_and_leaves_the_model_alone(unet, method, arguments, message):
    plain = run_unet(unet)
    with pytest.raises(ValueError, match=message):
        bigain.apply(unet, method, **arguments)
    assert torch.equal(run_unet(unet), plain)


@pytest.mark.parametrize("first", ["todo", "none"])
def test_a_second_method_is_refused_and_so_is_removing_nothing(unet, first):
    bigain.apply(unet, first, **arguments_for(first))
    try:
        with pytest.raises(ValueError, match=f"{first} is already applied to this model"):
            bigain.apply(unet, "tome", ratio=0.5)
    finally:
        bigain.remove(unet)
    with pytest.raises(ValueError, match="no method is applied to this model"):
        bigain.remove(unet)


def test_none_attaches_something_that_does_nothing(model):
    family, network = model
    plain = RUN[family](network)
    attachment = bigain.apply(network, "none")
    assert bigain.attached_to(network) is attachment
    attachment.set_rows([])
    assert (attachment.method.id, attachment.report(), str(attachment)) == ("none", [], "none: no compression")
    assert torch.equal(RUN[family](network), plain)
    assert not any({"forward", "_diffusers_hook"} & set(vars(module)) for module in network.modules())
    bigain.remove(network)
    assert bigain.attached_to(network) is None


def test_an_unknown_option_is_refused(unet):
    with pytest.raises(TypeError, match=r"unknown option 'ration'\. Did you mean 'ratio'"):
        bigain.apply(unet, "tome", ration=0.5)
    assert bigain.attached_to(unet) is None


def test_another_kind_of_model_is_refused():
    with pytest.raises(TypeError, match="Linear is not supported"):
        bigain.apply(torch.nn.Linear(2, 2), "tome", ratio=0.5)


def test_fused_projections_are_refused():
    network = tiny_unet()
    network.fuse_qkv_projections()
    with bigain.compressed(network, "todo", factor=2), pytest.raises(ValueError, match="fuse_qkv_projections"):
        run_unet(network)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_all_finite_sees_every_number_and_survives_an_overflowing_sum(bad):
    x = torch.full((2, 3), 3e38)
    assert not x.sum().isfinite()
    assert all_finite(x)
    assert all_finite(torch.ones(2, 3))
    for size in (1.0, 3e38):
        x = torch.full((2, 3), size)
        x[1, 2] = bad
        assert not all_finite(x)
    assert not all_finite(torch.tensor([torch.inf, -torch.inf]))


@pytest.mark.parametrize("family", ["unet", "dit"])
@pytest.mark.parametrize("method", COMPRESSING_TOKENS)
def test_plans_are_made_in_full_precision_under_autocast(request, family, method):
    """Scores and similarities in half precision would be read as half as many float32 numbers."""
    network = request.getfixturevalue(family)
    with torch.no_grad(), bigain.compressed(network, method, **arguments_for(method)):
        full = RUN[family](network)
    with (
        torch.no_grad(),
        bigain.compressed(network, method, **arguments_for(method)),
        torch.autocast("cpu", torch.bfloat16),
    ):
        half = RUN[family](network)
    assert ((full - half.float()).abs() < 0.1).float().mean() > 0.9


def test_contexts_tolerate_removal_errors_and_one_another(unet):
    plain = run_unet(unet)
    with pytest.raises(RuntimeError, match="of the user"), bigain.compressed(unet, "bigain_tm_cached", ratio=0.5):
        raise RuntimeError("of the user")
    assert torch.equal(run_unet(unet), plain)
    with bigain.compressed(unet, "todo", factor=2) as outer:
        compressed = run_unet(unet)
        with pytest.raises(ValueError, match="todo is already applied"), bigain.compressed(unet, "tome", ratio=0.5):
            pass
        assert torch.equal(run_unet(unet), compressed)
        outer.remove()
        outer.remove()
        assert torch.equal(run_unet(unet), plain)
        with bigain.compressed(unet, "tome", ratio=0.5):
            outer.remove()
            assert bigain.attached_to(unet).method.id == "tome"
    assert torch.equal(run_unet(unet), plain)


@pytest.mark.parametrize("name", ["strength", "ratio", "timesteps", "levels", "rato"])
def test_an_attached_method_does_not_change(unet, name):
    with bigain.compressed(unet, "tome", ratio=0.5) as attachment:
        with pytest.raises(AttributeError, match=f"{name} of an attached method cannot change: remove the method"):
            setattr(attachment, name, 0.1)
        assert attachment.strength == 0.5


def test_threads_that_apply_at_once_leave_nothing_behind(model):
    """One of them succeeds, and its `remove` takes off every hook."""
    family, network = model
    plain = RUN[family](network)
    for _ in range(5):
        start, attached = threading.Barrier(3), []

        def work(start=start, attached=attached):
            start.wait()
            with suppress(ValueError):
                attached.append(bigain.apply(network, "tome_fixed", ratio=0.5))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(attached) == 1
        attached[0].remove()
        assert torch.equal(RUN[family](network), plain)
