"""What diffusers, accelerate and torch put on a model: with a method in either order the same, or a named error.

`DIFFUSERS` covers every technique of `diffusers.hooks`, so that a new release with another is noticed.
"""

from __future__ import annotations

import diffusers.hooks
import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module, remove_hook_from_module
from diffusers.hooks import (
    FirstBlockCacheConfig,
    LayerSkipConfig,
    MagCacheConfig,
    TaylorSeerCacheConfig,
    apply_first_block_cache,
    apply_group_offloading,
    apply_layer_skip,
    apply_mag_cache,
    apply_taylorseer_cache,
)
from diffusers.hooks.hooks import CacheContext, _set_cache_context
from diffusers.hooks.smoothed_energy_guidance_utils import (
    SmoothedEnergyGuidanceConfig,
    _apply_smoothed_energy_guidance_hook,
)
from diffusers.models.attention_processor import AttnProcessor, IPAdapterAttnProcessor2_0
from torch import nn

import bigain
from bigain.compression.attach import denoiser_of
from tests.helpers.methods import arguments_for
from tests.helpers.models import one_block_unet, run_unet, tiny_unet
from tests.helpers.pipelines import tiny_pixart


def run_pixart(model):
    """Run three steps with the context that diffusers' caches need."""
    generator, outputs = torch.Generator().manual_seed(1), []
    x, text = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 5, 12, generator=generator)
    for number, t in enumerate((500, 480, 460)):
        _set_cache_context(model, CacheContext("conditional", step_index=number, sigma=t / 1000))
        with torch.no_grad():
            outputs.append(model(x, text, torch.tensor([t, t]), return_dict=False)[0])
    return torch.stack(outputs)


MODELS = {"unet": (tiny_unet, run_unet), "pixart": (lambda: tiny_pixart(4), run_pixart)}


def offload_groups(model, kind):
    apply_group_offloading(model, torch.device("cpu"), torch.device("cpu"), offload_type=kind, num_blocks_per_group=1)


def first_block(model):
    apply_first_block_cache(model, FirstBlockCacheConfig(threshold=10.0))


def magnitudes(model):
    ones = torch.ones(3)
    apply_mag_cache(model, MagCacheConfig(0.9, 1, retention_ratio=0.0, num_inference_steps=3, mag_ratios=ones))


def predicted_attention(model):
    where = [r"transformer_blocks\.\d+\.attn1"]
    config = TaylorSeerCacheConfig(cache_interval=2, disable_cache_before_step=1, max_order=0, cache_identifiers=where)
    apply_taylorseer_cache(model, config)


def skip(model, **what):
    apply_layer_skip(model, LayerSkipConfig(indices=[1], fqn="transformer_blocks", **what))


def smooth_energy(model):
    _apply_smoothed_energy_guidance_hook(model, SmoothedEnergyGuidanceConfig(indices=[1, 2]), 1e4)


def devices_of_every_module(model):
    """As sequential offloading: a wrapper on the `forward` of every module, which moves its inputs."""
    for module in model.modules():
        add_hook_to_module(module, AlignDevicesHook("cpu", io_same_device=True))


# By name: the technique, and whether outputs stay those without it.
ANY_MODEL = {
    "group offloading, leaves": (lambda model: offload_groups(model, "leaf_level"), True),
    "group offloading, blocks": (lambda model: offload_groups(model, "block_level"), True),
    "layerwise casting": (lambda model: model.enable_layerwise_casting(torch.bfloat16, torch.float32), False),
    "attention backend": (lambda model: model.set_attention_backend("_native_math"), True),
    "other processors": (lambda model: model.set_attn_processor(AttnProcessor()), False),
    "channels last": (lambda model: model.to(memory_format=torch.channels_last), False),
    "sequential offloading": (devices_of_every_module, True),
}
TRANSFORMERS = {
    "first-block cache": (first_block, False),
    "MagCache": (magnitudes, False),
    "TaylorSeer": (predicted_attention, False),
    "skipped block": (skip, False),
    "skipped attention": (
        lambda model: skip(model, skip_attention=True, skip_attention_scores=False, skip_ff=False),
        False,
    ),
    "smoothed energy": (smooth_energy, False),
}
CASES = [("unet", name) for name in ANY_MODEL] + [("pixart", name) for name in (*ANY_MODEL, *TRANSFORMERS)]
REFUSED = {
    ("TaylorSeer", "bigain_tm_cached"): "taylorseer_cache",
    ("skipped attention", "todo"): "does not make keys",
    ("smoothed energy", "bigain_tm_cached"): "smoothed-energy guidance blurs the output of to_q as a map",
}
DIFFUSERS = {
    "apply_group_offloading": "tested here",
    "apply_layerwise_casting": "tested here",
    "apply_first_block_cache": "tested here",
    "apply_mag_cache": "tested here",
    "apply_taylorseer_cache": "tested here",
    "apply_layer_skip": "tested here",
    "apply_pyramid_attention_broadcast": "tested in test_techniques",
    "apply_faster_cache": "for video transformers",
    "apply_text_kv_cache": "for models with keys of text of their own",
    "apply_sea_cache": "reuses all blocks together, as MagCache does",
    "apply_layerwise_casting_hook": "part of layerwise casting",
    "apply_context_parallel": "needs several processes",
    "apply_tensor_parallel": "needs several processes",
}


@pytest.mark.parametrize("method", ["bigain_tm_cached", "todo"])
@pytest.mark.parametrize(("kind", "technique"), CASES)
def test_a_technique_before_or_after_a_method_gives_the_same_or_is_named(kind, technique, method):
    build, run = MODELS[kind]
    put_on, keeps_outputs = {**ANY_MODEL, **TRANSFORMERS}[technique]
    outputs, refused = [], REFUSED.get((technique, method))
    for technique_first in (True, False):
        model = build()
        if technique_first:
            put_on(model)
        bigain.apply(model, method, **arguments_for(method))
        if not technique_first:
            put_on(model)
        if refused:
            with pytest.raises(ValueError, match=refused):
                run(model)
            continue
        outputs.append(run(model))
        bigain.remove(model)
    if refused:
        return
    assert torch.equal(*outputs)
    alone = build()
    put_on(alone)
    assert not torch.equal(run(alone), outputs[0])
    if keeps_outputs:
        compressed = build()
        with bigain.compressed(compressed, method, **arguments_for(method)):
            assert torch.equal(run(compressed), outputs[0])


class Adapter(nn.Module):
    """A projection wrapped as peft wraps it."""

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer

    def forward(self, x):
        return self.base_layer(x)


def test_smoothed_energy_is_named_under_an_adapter_too():
    build, run = MODELS["pixart"]
    model = build()
    smooth_energy(model)
    for block in model.transformer_blocks:
        block.attn1.to_q = Adapter(block.attn1.to_q)
    with bigain.compressed(model, "bigain_tm", ratio=0.5), pytest.raises(ValueError, match="blurs the output of to_q"):
        run(model)


def test_every_technique_of_diffusers_is_known():
    assert {name for name in dir(diffusers.hooks) if name.startswith("apply_")} == set(DIFFUSERS)


def test_fused_projections_go_with_merging(unet):
    with bigain.compressed(unet, "bigain_tm", ratio=0.5):
        expected = run_unet(unet)
    network = tiny_unet()
    network.fuse_qkv_projections()
    with bigain.compressed(network, "bigain_tm", ratio=0.5):
        assert torch.allclose(run_unet(network), expected, atol=1e-6)


def with_image_prompts():
    network = one_block_unet()
    attention = network.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    attention.set_processor(IPAdapterAttnProcessor2_0(16, 16, num_tokens=(2,), scale=1.0))
    return network


@pytest.mark.parametrize("method", ["bigain_tm", "todo"])
def test_prompts_of_images_stay_with_cross_attention(method):
    """As IP-Adapter: its processors are on attn2 and take keys of images beside those of the prompt."""
    network = with_image_prompts()
    pictures = [torch.ones(2, 1, 2, 16)]
    generator = torch.Generator().manual_seed(1)
    x, text = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 5, 16, generator=generator)

    def run():
        with torch.no_grad():
            return network(x, 500, encoder_hidden_states=(text, pictures)).sample

    plain = run()
    keys = []
    handle = (
        network.down_blocks[0]
        .attentions[0]
        .transformer_blocks[0]
        .attn1.to_k.register_forward_hook(lambda module, args, output: keys.append(output.shape[1]))
    )
    with bigain.compressed(network, method, **arguments_for(method)):
        assert not torch.equal(run(), plain)
    handle.remove()
    assert keys == [128 if method == "bigain_tm" else 64]
    assert torch.equal(run(), plain)


def test_regions_of_image_prompts_go_with_self_attention_and_not_with_cross_attention():
    network, left = with_image_prompts(), torch.zeros(1, 1, 16, 16)
    left[..., :8] = 1
    generator = torch.Generator().manual_seed(1)
    x, text = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 5, 16, generator=generator)

    def run(mask):
        arguments = None if mask is None else {"ip_adapter_masks": [mask]}
        with torch.no_grad():
            return network(x, 500, (text, [torch.ones(2, 1, 2, 16)]), cross_attention_kwargs=arguments).sample

    plain = run(left)
    assert not torch.allclose(plain, run(None), atol=1e-4)
    with bigain.compressed(network, "tome_fixed", ratio=0.0):
        assert torch.allclose(run(left), plain, atol=1e-5)
    with bigain.compressed(network, "tome_fixed@sa+ca", ratio=0.5):
        run(None)
        with pytest.raises(ValueError, match="ip_adapter_masks has values for every token, but tome_fixed@sa"):
            run(left)


def test_regions_of_a_prompt_go_with_self_attention_and_not_with_cross_attention():
    """As a mask of queries and keys, which PixArt hands on to cross-attention."""
    network = tiny_pixart()
    mask = torch.zeros(2, 64, 5)
    mask[:, :32, :2] = -1e4
    generator = torch.Generator().manual_seed(1)
    x, text = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 5, 12, generator=generator)

    def run(mask):
        with torch.no_grad():
            return network(x, text, torch.tensor([500, 500]), encoder_attention_mask=mask, return_dict=False)[0]

    plain = run(mask)
    with bigain.compressed(network, "tome_fixed", ratio=0.0):
        assert torch.allclose(run(mask), plain, atol=1e-5)
    with bigain.compressed(network, "tome_fixed@sa+ca", ratio=0.5):
        run(torch.ones(2, 5))
        with pytest.raises(ValueError, match="attention_mask has values for every token"):
            run(mask)


@pytest.mark.parametrize("wrap", ["data_parallel", "distributed"])
def test_wrappers_of_data_parallelism_share_the_method_of_their_model(wrap, tmp_path):
    network = one_block_unet()
    if wrap == "distributed":
        torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        parallel = torch.nn.parallel.DistributedDataParallel if wrap == "distributed" else torch.nn.DataParallel
        wrapped = parallel(network)
        plain = run_unet(wrapped)
        with bigain.compressed(wrapped, "bigain_td", factor=2) as attachment:
            assert bigain.attached_to(network) is attachment
            assert denoiser_of(wrapped) is network
            output = run_unet(wrapped)
            assert torch.equal(output, run_unet(network))
            assert not torch.equal(output, plain)
        assert torch.equal(run_unet(wrapped), plain)
    finally:
        if wrap == "distributed":
            torch.distributed.destroy_process_group()


def test_replicas_of_data_parallelism_get_no_second_hook():
    network = one_block_unet()
    attention = network.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    with bigain.compressed(network, "todo", factor=2):
        expected = run_unet(network)
        for _ in range(2):
            replica = attention.to_k._replicate_for_data_parallel()
            replica._parameters = attention.to_k._parameters
            attention.to_k = replica
            assert torch.equal(run_unet(network), expected)
        assert len(attention.to_k._forward_pre_hooks) == 1


def test_wrappers_of_forward_that_go_first_take_no_method_with_them():
    unet = tiny_unet()
    with bigain.compressed(unet, "bigain_td", factor=2):
        expected = run_unet(unet)
    devices_of_every_module(unet)
    with bigain.compressed(unet, "bigain_td", factor=2):
        remove_hook_from_module(unet, recurse=True)
        assert torch.equal(run_unet(unet), expected)
