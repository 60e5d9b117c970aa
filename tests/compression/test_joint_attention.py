"""SD3 and FLUX, whose attention is joint with the text's: exactly undone, compiled whole, sample by sample."""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounter

import bigain
from bigain.compression.flux import grid_of
from bigain.methods.presets import METHODS
from bigain.tokens import TokenGrid
from tests.helpers.methods import COMPRESSING_TOKENS, arguments_for, record_options
from tests.helpers.models import RUN, flux_inputs, flux_positions, mmdit_inputs, run_flux, run_mmdit

INPUTS = {"mmdit": mmdit_inputs, "flux": flux_inputs}
AROUND_MLP = ("bigain_tm@sa+mlp", "sito@sa+mlp")


@pytest.fixture(params=["mmdit", "flux"])
def model(request):
    return request.param, request.getfixturevalue(request.param)


@pytest.mark.parametrize("method", [*COMPRESSING_TOKENS, *AROUND_MLP])
def test_every_method_changes_the_output_and_is_undone_exactly(model, method):
    family, network = model
    plain, processors = RUN[family](network), network.attn_processors
    with bigain.compressed(network, method, **arguments_for(method)) as attachment:
        inside = RUN[family](network)
        assert {str(site.grid) for site in attachment.sites} == {"8x8"}
    assert not torch.equal(inside, plain)
    assert torch.equal(RUN[family](network), plain)
    assert all(network.attn_processors[name] is processor for name, processor in processors.items())
    assert not any({"forward", "_diffusers_hook"} & set(vars(module)) for module in network.modules())


@pytest.mark.parametrize("method", [id for id in (*COMPRESSING_TOKENS, *AROUND_MLP) if id != "sito"])
def test_strength_zero_is_the_untouched_model(model, method):
    family, network = model
    strength = {"ratio": 0.0} if METHODS[method.split("@")[0]].strength_kind == "merge_ratio" else {"factor": 1}
    plain = RUN[family](network)
    with bigain.compressed(network, method, blocks=tuple(range(3)), **strength):
        assert torch.allclose(RUN[family](network), plain, atol=1e-6)


@pytest.mark.parametrize("method", ["todo", "avg_pool", "kv_high_frequency"])
def test_factor_one_is_equal_bit_for_bit(model, method):
    family, network = model
    plain = RUN[family](network)
    with bigain.compressed(network, method, factor=1):
        assert torch.equal(RUN[family](network), plain)


@pytest.mark.parametrize("method", ["tome_fixed", "bigain_tm@sa+mlp", "bigain_td", "kv_low_frequency", "sito"])
def test_a_sample_does_not_depend_on_the_others_of_its_batch(model, method):
    family, network = model
    outputs = []
    for rows in (3, 1):
        inputs = {
            name: x[:rows] if isinstance(x, torch.Tensor) and len(x) == 3 else x
            for name, x in INPUTS[family](batch=3).items()
        }
        with torch.no_grad(), bigain.compressed(network, method, **arguments_for(method)):
            outputs.append(network(**inputs)[0])
    assert torch.allclose(outputs[0][:1], outputs[1], atol=1e-5)


def test_other_sizes_get_their_own_grid(mmdit, flux):
    with bigain.compressed(mmdit, "bigain_tm", ratio=0.5) as attachment:
        run_mmdit(mmdit, height=12, width=16)
        assert {(str(site.grid), site.kept) for site in attachment.sites} == {("6x8", 24)}
    with bigain.compressed(flux, "bigain_tm", ratio=0.5) as attachment:
        run_flux(flux, height=4, width=16)
        assert {(str(site.grid), site.kept) for site in attachment.sites} == {("4x16", 32)}


@pytest.mark.parametrize(
    ("blocks", "places"), [("double", [0, 1]), ("single", [2, 3]), ((1, 2), [1, 2]), (None, [1, 2])]
)
def test_blocks_of_flux_are_numbered_through_and_chosen_by_their_kind(flux, blocks, places):
    with bigain.compressed(flux, "todo", factor=2, blocks=blocks) as attachment:
        assert [site.block.place for site in attachment.sites] == places
    with bigain.compressed(flux, f"todo~blocks-{blocks}" if isinstance(blocks, str) else "todo", factor=2) as named:
        assert [site.block.place for site in named.sites] == (places if isinstance(blocks, str) else [1, 2])


def test_a_kind_of_block_that_a_model_lacks_is_named(mmdit, flux):
    with bigain.compressed(mmdit, "todo~blocks-dual", factor=2) as attachment:
        assert [site.block.place for site in attachment.sites] == [0, 1]
    with pytest.raises(ValueError, match="no dual blocks in this model; its named blocks are double, single"):
        bigain.apply(flux, "todo~blocks-dual", factor=2)
    with pytest.raises(ValueError, match="no double blocks in this model; its named blocks are dual, first_12"):
        bigain.apply(mmdit, "todo~blocks-double", factor=2)


def test_cached_plans_are_shared_among_blocks_of_one_kind(flux):
    with bigain.compressed(flux, "bigain_tm_cached", ratio=0.5, blocks=(0, 1, 2, 3)) as attachment:
        assert [site.plan_group for site in attachment.sites] == ["from block 0"] * 2 + ["from block 2"] * 2


def test_alpha_is_that_of_a_dit_and_follows_the_timestep_in_thousandths(model):
    family, network = model
    for method, alpha in (("bigain_td", 0.1), ("bigain_td~alpha-999to0", 250)):
        with bigain.compressed(network, method, factor=2) as attachment:
            seen = record_options(attachment)
            RUN[family](network, t=250)
        assert float(torch.as_tensor(seen[0]["alpha"]).flatten()[0]) == pytest.approx(alpha)


@pytest.mark.system
@pytest.mark.parametrize("method", ["tome", "bigain_tm@sa+mlp", "bigain_td", "kv_high_frequency"])
def test_it_survives_a_whole_graph_capture(model, method):
    family, network = model
    outputs, counter = [], CompileCounter()
    for compiled in (False, True):
        torch._dynamo.reset()
        run = torch.compile(network, backend=counter, fullgraph=True) if compiled else network
        with bigain.compressed(network, method, **arguments_for(method)):
            outputs.append([RUN[family](run) for _ in range(2)])
    for eager, captured in zip(*outputs, strict=True):
        assert torch.allclose(eager, captured, atol=1e-5)
    assert counter.frame_count == 1


@pytest.mark.system
def test_a_compiled_flux_notices_another_shape_of_as_many_tokens(flux):
    torch._dynamo.reset()
    run = torch.compile(flux, backend="eager", fullgraph=True)
    with bigain.compressed(flux, "bigain_tm", ratio=0.5):
        for height, width in ((8, 8), (4, 16), (8, 8)):
            compiled = run_flux(run, height=height, width=width)
            assert torch.allclose(compiled, run_flux(flux, height=height, width=width), atol=1e-5)


@pytest.mark.system
def test_a_model_compiled_before_notices_a_method_and_its_removal(model):
    family, network = model
    torch._dynamo.reset()
    run = torch.compile(network, backend="eager", fullgraph=True)
    plain = RUN[family](run)
    with bigain.compressed(network, "bigain_tm", ratio=0.5):
        assert not torch.allclose(RUN[family](run), plain, atol=1e-4)
    assert torch.equal(RUN[family](run), plain)


def test_a_deep_copy_is_compressed_alike_and_independent(model):
    family, network = model
    plain = RUN[family](network)
    with bigain.compressed(network, "bigain_tm", ratio=0.5):
        inside, other = RUN[family](network), copy.deepcopy(network)
    assert torch.equal(RUN[family](other), inside)
    bigain.remove(other)
    assert torch.equal(RUN[family](other), plain)


@pytest.mark.parametrize("method", ["tome@sa+mlp", "bigain_td"])
def test_gradients_through_checkpoints_are_those_without(model, method):
    family, network = model
    network = copy.deepcopy(network).train()
    gradients = []
    for checkpoints in (False, True):
        network.zero_grad()
        if checkpoints:
            network.enable_gradient_checkpointing()
        with bigain.compressed(network, method, **arguments_for(method)):
            network(**INPUTS[family]())[0].square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert gradients[0]
    for without, through in zip(*gradients, strict=True):
        assert torch.allclose(without, through, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(4, 6), (1, 5), (5, 1)])
def test_positions_show_their_grid(height, width):
    positions = flux_positions(height, width)
    assert grid_of(positions) == TokenGrid(height, width)
    assert grid_of(positions * 0.5 + 3) == TokenGrid(height, width)


def test_positions_that_are_no_grid_are_not_taken_for_one():
    positions = flux_positions(4, 6)
    second = positions + torch.tensor([1.0, 0.0, 0.0])
    assert grid_of(torch.cat([positions, second])) is None  # a reference image after the one that is made
    assert grid_of(positions[:-1]) is None
    assert grid_of(positions[torch.randperm(24, generator=torch.Generator().manual_seed(0))]) is None
    assert grid_of(torch.zeros(24, 3)) is None
