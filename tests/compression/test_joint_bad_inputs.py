"""What people put on SD3 and FLUX beside a method: it works, or the error says what to do."""

import copy

import pytest
import torch
from diffusers.models.attention_processor import (
    PAGCFGJointAttnProcessor2_0,
    PAGJointAttnProcessor2_0,
    SD3IPAdapterJointAttnProcessor2_0,
)
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor

import bigain
from bigain.compression.structural.layers import layers_of
from bigain.compression.structural.reuse import gated_blocks_of
from tests.helpers.methods import arguments_for
from tests.helpers.models import (
    RUN,
    flux_inputs,
    flux_positions,
    mmdit_inputs,
    run_flux,
    run_mmdit,
    tiny_flux,
    tiny_mmdit,
)

INPUTS = {"mmdit": mmdit_inputs, "flux": flux_inputs}


@pytest.fixture(params=["mmdit", "flux"])
def model(request):
    return request.param, request.getfixturevalue(request.param)


def run(network, inputs):
    with torch.no_grad():
        return network(**inputs)[0]


@pytest.fixture(params=["mmdit", "flux"])
def fusible(request):
    """Of SD3's one without dual blocks and norms of queries and keys, which diffusers' fused processor leaves out."""
    return request.param, tiny_mmdit(dual=(), qk_norm=None) if request.param == "mmdit" else tiny_flux()


def test_merging_runs_with_fused_projections_and_fewer_keys_are_refused(fusible):
    family, network = fusible
    with bigain.compressed(network, "bigain_tm", ratio=0.5):
        separate = RUN[family](network)
    network.fuse_qkv_projections()
    with bigain.compressed(network, "bigain_tm", ratio=0.5):
        assert torch.allclose(RUN[family](network), separate, atol=1e-5)
    with bigain.compressed(network, "todo", factor=2), pytest.raises(ValueError, match="undo fuse_qkv_projections"):
        RUN[family](network)


def test_projections_may_be_fused_while_tokens_are_merged(fusible):
    family, network = fusible
    plain = RUN[family](network)
    with bigain.compressed(network, "bigain_tm", ratio=0.5):
        separate = RUN[family](network)
        network.fuse_qkv_projections()
        assert torch.allclose(RUN[family](network), separate, atol=1e-5)
    assert torch.allclose(RUN[family](network), plain, atol=1e-5)


@pytest.mark.parametrize("method", ["bigain_tm", "bigain_tm@sa+mlp", "todo"])
def test_an_attention_mask_is_refused(model, method):
    family, network = model
    masked = INPUTS[family]() | {"joint_attention_kwargs": {"attention_mask": torch.zeros(2, 1, 69, 69)}}
    refused = pytest.raises(ValueError, match="joint attention must run without a mask, which would be for the tokens")
    with bigain.compressed(network, method, **arguments_for(method)), refused:
        run(network, masked)


@pytest.mark.parametrize("method", ["bigain_tm@sa+mlp", "bigain_td"])
def test_residuals_of_a_controlnet_are_added_to_all_tokens(model, method):
    """At strength zero as without a method; at others they change the output."""
    family, network = model
    width = 16 if family == "mmdit" else 32
    residuals = [torch.randn(2, 64, width, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    named = (
        {"block_controlnet_hidden_states": residuals}
        if family == "mmdit"
        else {"controlnet_block_samples": residuals, "controlnet_single_block_samples": residuals}
    )
    controlled = INPUTS[family]() | named
    plain = run(network, controlled)
    assert not torch.allclose(plain, RUN[family](network), atol=1e-2)
    nothing = {"ratio": 0.0} if "tm" in method else {"factor": 1}
    with bigain.compressed(network, method, **nothing):
        assert torch.allclose(run(network, controlled), plain, atol=1e-5)
    with bigain.compressed(network, method, **arguments_for(method)):
        assert not torch.allclose(run(network, controlled), RUN[family](network), atol=1e-2)


def test_a_scale_among_the_attention_arguments_changes_nothing(model):
    family, network = model
    with bigain.compressed(network, "bigain_tm", ratio=0.5):
        scaled = run(network, INPUTS[family]() | {"joint_attention_kwargs": {"scale": 1.0}})
        assert torch.equal(scaled, RUN[family](network))


@pytest.mark.parametrize("method", ["dip_go", "mosaicdiff"])
def test_structural_methods_are_refused(model, method, tmp_path):
    _, network = model
    with pytest.raises(ValueError, match="dip_go and mosaicdiff change U-Nets and DiTs only"):
        bigain.apply(network, method, calibration=tmp_path / "any.safetensors")
    for read in (gated_blocks_of, lambda net: layers_of(net, context=0)):
        with pytest.raises(ValueError, match="U-Nets and DiTs only"):
            read(network)


@pytest.mark.parametrize(
    ("method", "strength", "message"),
    [
        ("tome@sa+ca", {"ratio": 0.5}, "transformer_blocks.1 has no cross-attention to merge around"),
        ("bigain_tm_block~rule-quantile", {"ratio": 0.5}, "different numbers of tokens, which attention shared with"),
        ("ca_tome", {"threshold": 0.5}, "different numbers of tokens, which attention shared with the text cannot"),
        ("tome", {"ratio": 0.5, "levels": (0,)}, "has one resolution and no levels"),
        ("tome", {"ratio": 0.8}, "largest ratio is 0.75"),
        ("todo", {"factor": 2, "grid": (8,)}, r"grid: \(8,\) is not a height and a width in tokens"),
    ],
)
def test_what_the_method_cannot_do_here_is_refused_and_leaves_the_model_alone(model, method, strength, message):
    family, network = model
    plain = RUN[family](network)
    with pytest.raises(ValueError, match=message):
        bigain.apply(network, method, **strength)
    assert bigain.attached_to(network) is None
    assert torch.equal(RUN[family](network), plain)


def test_only_flux_takes_a_grid(mmdit, unet):
    with pytest.raises(ValueError, match="an MMDiT shows its token grid itself; only FLUX takes one"):
        bigain.apply(mmdit, "tome", ratio=0.5, grid=(8, 8))
    with pytest.raises(ValueError, match="a U-Net shows its token grid itself"):
        bigain.apply(unet, "tome", ratio=0.5, grid=(8, 8))


@pytest.mark.parametrize("kept", [1, 2])
def test_image_prompts_of_sd3_run_beside_merging_and_fewer_keys(mmdit, kept):
    """Their attention is another one, of the image's queries to the prompt's keys."""
    network = copy.deepcopy(mmdit)
    torch.manual_seed(0)
    for block in network.transformer_blocks:
        block.attn.processor = SD3IPAdapterJointAttnProcessor2_0(16, 12, 8, timesteps_emb_dim=10, scale=1.0).eval()
    prompted = mmdit_inputs() | {
        "joint_attention_kwargs": {"ip_hidden_states": torch.ones(2, 3, 12), "temb": torch.ones(2, 10)}
    }
    plain = run(network, prompted)
    for method, nothing in (("bigain_tm", {"ratio": 0.0}), ("todo", {"factor": 1})):
        with bigain.compressed(network, method, blocks=(kept,), **nothing):
            assert torch.allclose(run(network, prompted), plain, atol=1e-5)
        with bigain.compressed(network, method, blocks=(kept,), **arguments_for(method)):
            assert not torch.allclose(run(network, prompted), plain, atol=1e-5)


def test_image_prompts_of_flux_are_refused_before_and_after_a_method(flux):
    network = copy.deepcopy(flux)
    original = network.transformer_blocks[1].attn.processor
    network.transformer_blocks[1].attn.set_processor(FluxIPAdapterAttnProcessor(32, 12))
    with pytest.raises(ValueError, match=r"FluxIPAdapterAttnProcessor.*unload_ip_adapter\(\)"):
        bigain.apply(network, "tome", ratio=0.5, blocks=(0, 1))
    assert type(network.transformer_blocks[0].attn.processor) is type(original)
    network.transformer_blocks[1].attn.set_processor(original)
    with bigain.compressed(network, "tome", ratio=0.5):
        network.transformer_blocks[1].attn.set_processor(FluxIPAdapterAttnProcessor(32, 12))
        with pytest.raises(
            ValueError, match="processor is FluxIPAdapterAttnProcessor, which does not know the positions"
        ):
            run_flux(network)
    assert type(network.transformer_blocks[1].attn.processor) is FluxIPAdapterAttnProcessor


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"32 positions in img_ids are not .* several images in one sequence"),
        ({"grid": (8, 4)}, r"grid is 8x4, but the first coordinates of img_ids differ .* several images in one"),
    ],
)
def test_two_images_in_one_sequence_are_refused(flux, options, message):
    """FLUX.1 Kontext appends the image that is edited."""
    inputs = flux_inputs(height=4, width=4)
    other = flux_positions(4, 4) + torch.tensor([1.0, 0.0, 0.0])
    two = inputs | {
        "hidden_states": torch.cat([inputs["hidden_states"]] * 2, dim=1),
        "img_ids": torch.cat([inputs["img_ids"], other]),
    }
    with bigain.compressed(flux, "todo", factor=2, **options), pytest.raises(ValueError, match=message):
        run(flux, two)


def test_a_grid_said_by_the_caller_stands_in_for_positions_that_show_none(flux):
    shifted = flux_inputs() | {"img_ids": flux_positions(8, 8) * torch.tensor([1.0, 0.0, 1.0])}
    with bigain.compressed(flux, "todo", factor=2), pytest.raises(ValueError, match=r"pass grid=\(height, width\)"):
        run(flux, shifted)
    with bigain.compressed(flux, "todo", factor=2, grid=(8, 8)) as attachment:
        run(flux, shifted)
        assert {str(site.grid) for site in attachment.sites} == {"8x8"}


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ((8, 4), "grid is 8x4 = 32 tokens, but hidden_states hold 64"),
        ((4, 16), "grid is 4x16, but img_ids are a grid of 8x8"),
    ],
)
def test_a_grid_that_is_not_the_models_is_refused(flux, grid, message):
    with bigain.compressed(flux, "todo", factor=2, grid=grid), pytest.raises(ValueError, match=message):
        run_flux(flux)


def test_positions_of_every_sample_as_diffusers_used_to_pass_them_still_count(flux):
    batched = flux_inputs() | {"img_ids": flux_positions(8, 8).expand(2, -1, -1)}
    with bigain.compressed(flux, "bigain_tm", ratio=0.5):
        assert torch.equal(run(flux, batched), run_flux(flux))


def test_processors_read_while_a_method_is_attached_may_be_set_again_after_it(flux):
    network = copy.deepcopy(flux)
    plain = run_flux(network)
    with bigain.compressed(network, "todo", factor=2):
        expected = run_flux(network)
        saved = network.attn_processors
    network.set_attn_processor(dict(saved))
    assert torch.equal(run_flux(network), plain)
    with bigain.compressed(network, "todo", factor=2):
        assert torch.equal(run_flux(network), expected)
        network.set_attn_processor(dict(saved))
        with pytest.raises(ValueError, match="RotaryProcessor of another block or attachment, which does not know"):
            run_flux(network)
    assert torch.equal(run_flux(network), plain)
    with bigain.compressed(network, "todo", factor=2):
        pass
    assert not {type(p) for p in network.attn_processors.values()} - {type(flux.transformer_blocks[0].attn.processor)}


@pytest.mark.parametrize(("dim", "part"), [(0, "1 x 64"), (1, "2 x 1")])
def test_chunks_of_a_merged_feed_forward_are_refused(mmdit, dim, part):
    """A chunk of all rows changes nothing, nor do chunks of a layer around which nothing is merged."""
    network = copy.deepcopy(mmdit)
    with bigain.compressed(network, "bigain_tm@sa+mlp", ratio=0.5):
        expected = run_mmdit(network)
        network.enable_forward_chunking(2)
        assert torch.equal(run_mmdit(network), expected)
        network.enable_forward_chunking(1, dim)
        with pytest.raises(ValueError, match=f"feed-forward chunking hands FeedForward {part} of the 2 x 64 tokens"):
            run_mmdit(network)
    with bigain.compressed(network, "bigain_tm", ratio=0.5):
        chunked = run_mmdit(network)
        network.disable_forward_chunking()
        assert torch.allclose(run_mmdit(network), chunked, atol=1e-5)


@pytest.mark.parametrize("processor", [PAGJointAttnProcessor2_0, PAGCFGJointAttnProcessor2_0])
def test_perturbed_joint_attention_goes_with_merging_and_not_with_fewer_keys(processor):
    network = tiny_mmdit(dual=(), qk_norm=None)
    network.transformer_blocks[1].attn.set_processor(processor())
    inputs = mmdit_inputs(batch=3)
    plain = run(network, inputs)
    with bigain.compressed(network, "bigain_tm", ratio=0.0):
        assert torch.allclose(run(network, inputs), plain, atol=1e-5)
    refused = pytest.raises(ValueError, match=f"perturbed attention's processor {processor.__name__} masks as many")
    with bigain.compressed(network, "todo", factor=2), refused:
        run(network, inputs)


def test_an_attention_backend_may_be_chosen_before_and_after_a_method(flux):
    network = copy.deepcopy(flux)
    with bigain.compressed(network, "bigain_tm", ratio=0.5):
        plain = run_flux(network)
        network.set_attention_backend("_native_math")
        assert torch.allclose(run_flux(network), plain, atol=1e-5)
    assert network.transformer_blocks[1].attn.processor._attention_backend.value == "_native_math"
    with bigain.compressed(network, "bigain_tm", ratio=0.5):
        assert torch.allclose(run_flux(network), plain, atol=1e-5)
