"""What people do with one model: threads, checkpoints, copies, caches and mergers of others, wrappers, bad values."""

import copy
import io
import pickle
import threading
from functools import partial

import numpy as np
import pytest
import tomesd
import torch
from accelerate import cpu_offload_with_hook
from accelerate.hooks import remove_hook_from_module
from diffusers.hooks import PyramidAttentionBroadcastConfig, apply_pyramid_attention_broadcast
from torch._dynamo.testing import CompileCounter

import bigain
from tests.helpers.methods import arguments_for
from tests.helpers.models import one_block_unet, run_unet, tiny_dit, tiny_unet

SHARED = ("bigain_tm", "bigain_tm_cached", "bigain_td")


def test_a_lost_offloading_hook_loses_neither_timestep_nor_plans():
    unet = tiny_unet()
    with bigain.compressed(unet, "bigain_td", factor=2):
        expected = [run_unet(unet, t=t) for t in (500, 100)]
    with bigain.compressed(unet, "bigain_td", factor=2):
        outputs = []
        for t in (500, 100):
            cpu_offload_with_hook(unet, "cpu")
            outputs.append(run_unet(unet, t=t))
            remove_hook_from_module(unet, recurse=True)
    assert all(map(torch.equal, outputs, expected))


@pytest.mark.parametrize("method", SHARED)
def test_threads_share_a_model(unet, method):
    with bigain.compressed(unet, method, **arguments_for(method)):
        expected = {(batch, t): run_unet(unet, batch=batch, t=t) for batch in (1, 2) for t in (10, 900)}
        calls, wrong = list(expected), []

        def work(first):
            for i in range(8):
                batch, t = calls[(first + i) % 4]
                if not torch.equal(run_unet(unet, batch=batch, t=t), expected[batch, t]):
                    wrong.append((batch, t))

        threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def gradients(model, checkpointing):
    """Return those of two forward passes and one backward pass."""
    model.zero_grad()
    model.train()
    if checkpointing:
        model.enable_gradient_checkpointing()
    generator = torch.Generator().manual_seed(1)
    x, context = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 5, 16, generator=generator)
    outputs = [model(x, t, encoder_hidden_states=context).sample for t in (500, 100)]
    sum(output.square().mean() for output in outputs).backward()
    model.disable_gradient_checkpointing()
    return [p.grad.clone() for p in model.eval().parameters() if p.grad is not None]


@pytest.mark.parametrize("method", ["tome", "sito", *SHARED])
def test_checkpoints_run_blocks_again_with_the_plans_and_draws_of_their_pass(method):
    network = tiny_unet()
    computed = []
    for checkpointing in (False, True):
        with bigain.compressed(network, method, **arguments_for(method)):
            computed.append(gradients(network, checkpointing))
    assert len(computed[0]) == len(computed[1]) > 100
    for without, with_checkpoints in zip(*computed, strict=True):
        assert torch.allclose(without, with_checkpoints, atol=1e-7)


@pytest.mark.parametrize("then", ["removed", "applied anew"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_do_not_run_blocks_again_once_the_method_is_removed(reentrant, then):
    network = one_block_unet().train()
    network.enable_gradient_checkpointing(partial(torch.utils.checkpoint.checkpoint, use_reentrant=reentrant))
    x = torch.ones(1, 4, 16, 16, requires_grad=True)
    with bigain.compressed(network, "bigain_tm", ratio=0.5):
        losses = [network(x, 1, encoder_hidden_states=torch.ones(1, 5, 16)).sample.sum() for _ in range(2)]
        losses[0].backward()
        assert x.grad.abs().sum() > 0
    if then == "applied anew":
        bigain.apply(network, "bigain_tm", ratio=0.5)
    with pytest.raises(ValueError, match="bigain_tm was removed before the backward pass"):
        losses[1].backward()


def test_a_checkpoint_around_the_model_cannot_draw_again():
    network = one_block_unet().train()
    x = torch.ones(1, 4, 16, 16, requires_grad=True)
    with bigain.compressed(network, "tome", ratio=0.5):
        call = lambda x: network(x, 1, encoder_hidden_states=torch.ones(1, 5, 16)).sample  # noqa: E731
        y = torch.utils.checkpoint.checkpoint(call, x, use_reentrant=False)
        with pytest.raises(ValueError, match="would draw other random numbers"):
            y.sum().backward()


@pytest.mark.parametrize("method", ["tome", *SHARED])
def test_copies_are_independent(unet, method):
    plain = run_unet(unet)
    with bigain.compressed(unet, method, **arguments_for(method)):
        buffer = io.BytesIO()
        torch.save(unet, buffer)
        buffer.seek(0)
        copies = [copy.deepcopy(unet), torch.load(buffer, weights_only=False)]
    reference = tiny_unet()
    for network in (reference, *copies):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.05)
    uncompressed = run_unet(reference)
    with bigain.compressed(reference, method, **arguments_for(method)):
        expected = run_unet(reference)
    assert not torch.allclose(expected, uncompressed, atol=1e-3)  # the tolerance below tells them apart
    for network in copies:  # late in a long process, they were seen to differ by 2e-6
        assert torch.allclose(run_unet(network), expected, atol=1e-5)
        bigain.remove(network)
        assert torch.allclose(run_unet(network), uncompressed, atol=1e-5)
    assert torch.equal(run_unet(unet), plain)


@pytest.mark.parametrize("copied", ["before", "after"])
def test_a_shallow_copy_shares_the_method_of_its_model(copied):
    network = one_block_unet()
    plain, shallow = run_unet(network), copy.copy(network)
    attachment = bigain.apply(network, "bigain_tm", ratio=0.5)
    shallow = copy.copy(network) if copied == "after" else shallow
    assert bigain.attached_to(shallow) is bigain.attached_to(network) is attachment
    with pytest.raises(ValueError, match="bigain_tm is already applied to this model"):
        bigain.apply(shallow, "todo", factor=2)
    assert torch.equal(run_unet(shallow), run_unet(network))
    bigain.remove(shallow)
    assert bigain.attached_to(shallow) is bigain.attached_to(network) is None
    assert torch.equal(run_unet(shallow), plain)
    with bigain.compressed(shallow, "todo", factor=2) as other:
        assert bigain.attached_to(network) is other
        assert not torch.allclose(run_unet(network), plain, atol=1e-4)
    assert torch.equal(run_unet(network), plain)


def test_a_shallow_copy_checkpoints_its_blocks_after_the_method_was_removed():
    network = tiny_dit(3)
    network.enable_gradient_checkpointing()

    def gradient(model):
        x = torch.ones(1, 4, 16, 16, requires_grad=True)
        model(x, timestep=torch.tensor([1]), class_labels=torch.tensor([0])).sample.sum().backward()
        return x.grad

    plain = gradient(network)
    with bigain.compressed(network, "bigain_tm", ratio=0.5):
        compressed = gradient(network)
        shallow = copy.copy(network)
    assert torch.equal(gradient(shallow), plain)
    with bigain.compressed(shallow, "bigain_tm", ratio=0.5):
        assert torch.equal(gradient(shallow), compressed)
    assert not torch.allclose(compressed, plain)


@pytest.mark.parametrize("where", ["applied", "copied"])
def test_a_method_applied_or_copied_in_inference_mode_runs_outside_of_it(where):
    network = one_block_unet()
    with bigain.compressed(network, "tome", ratio=0.5):
        expected = [run_unet(network) for _ in range(2)]
    with torch.inference_mode(where == "applied"):
        bigain.apply(network, "tome", ratio=0.5)
    if where == "copied":
        with torch.inference_mode():
            network = copy.deepcopy(network)
    assert all(map(torch.equal, [run_unet(network) for _ in range(2)], expected))


def test_methods_are_options_of_apply_and_survive_pickle(unet):
    for method in bigain.METHODS.values():
        assert pickle.loads(pickle.dumps(method)) == method
    with bigain.compressed(unet, bigain.METHODS["tome"], ratio=0.5) as attachment:
        assert attachment.method.id == "tome"


@pytest.mark.parametrize("theirs_first", [True, False])
@pytest.mark.parametrize("method", ["bigain_tm", "todo"])
def test_tomesd_on_the_same_blocks_is_named(method, theirs_first):
    network = tiny_unet()
    plain = run_unet(network)
    if theirs_first:
        tomesd.apply_patch(network, ratio=0.5)
    with bigain.compressed(network, method, **arguments_for(method)):
        if not theirs_first:
            tomesd.apply_patch(network, ratio=0.5)
        with pytest.raises(ValueError, match=r"128 tokens reached Attention.*tomesd\.patch.*ToMeBlock"):
            run_unet(network)
        tomesd.remove_patch(network)
        assert not torch.equal(run_unet(network), plain)
    assert torch.equal(run_unet(network), plain)


def broadcast(network):
    config = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        spatial_attention_timestep_skip_range=(0, 1000),
        spatial_attention_block_identifiers=("attn1",),
        current_timestep_callback=lambda: 500,
    )
    apply_pyramid_attention_broadcast(network, config)


@pytest.mark.parametrize("method", ["bigain_tm", "todo"])
def test_attention_of_earlier_steps_goes_with_fewer_keys_and_not_with_merging(method):
    outputs = []
    for theirs_first in (True, False):
        network = tiny_unet()
        if theirs_first:
            broadcast(network)
        with bigain.compressed(network, method, **arguments_for(method)):
            if not theirs_first:
                broadcast(network)
            if method == "bigain_tm":
                with pytest.raises(ValueError, match="pyramid_attention_broadcast"):
                    run_unet(network)
            else:
                outputs.append([run_unet(network, t=t) for t in (500, 400)])
    if outputs:
        assert all(map(torch.equal, *outputs))


def test_wrappers_of_forward_that_come_later_stay(unet):
    """As DeepCache puts on a model and its blocks, and takes off."""
    plain, calls = run_unet(unet), []
    wrapped = [unet, unet.down_blocks[0].attentions[0], unet.up_blocks[1].attentions[0]]

    def wrap(module):
        inner = module.forward

        def forward(*args, **kwargs):
            calls.append(type(module).__name__)
            return inner(*args, **kwargs)

        module.forward = forward

    with bigain.compressed(unet, "bigain_tm_cached", ratio=0.5):
        expected = run_unet(unet)
        for module in wrapped:
            wrap(module)
        assert torch.equal(run_unet(unet), expected)
    assert torch.equal(run_unet(unet), plain)
    assert len(calls) == 6
    for module in wrapped:
        del module.forward


class IgnoresContext:
    """A processor that uses none of the block's keys and values."""

    def __call__(self, attn, hidden_states, *args, **kwargs):
        return attn.to_out[0](attn.to_q(hidden_states))


def test_a_processor_that_makes_no_keys_is_named():
    network = tiny_unet()
    network.down_blocks[0].attentions[0].transformer_blocks[0].attn1.set_processor(IgnoresContext())
    with bigain.compressed(network, "todo", factor=2), pytest.raises(ValueError, match="processor IgnoresContext"):
        run_unet(network)


def test_a_part_of_a_model_cannot_run_alone(unet):
    with bigain.compressed(unet, "bigain_tm", ratio=0.5), pytest.raises(ValueError, match="no forward pass"):
        unet.forward(torch.zeros(1, 4, 16, 16), 1, encoder_hidden_states=torch.zeros(1, 5, 16))


@pytest.mark.parametrize("method", ["bigain_tm_cached", pytest.param("todo", marks=pytest.mark.system)])
def test_a_compiled_model_notices_methods_and_resolutions(method):
    torch._dynamo.reset()
    network, counter = one_block_unet(), CompileCounter()
    compiled = torch.compile(network, backend=counter)
    plain = run_unet(compiled)
    with bigain.compressed(compiled, method, **arguments_for(method)) as attachment:
        for height in (16, 24):
            output = run_unet(compiled, height=height)
            assert str(attachment.sites[0].grid) == f"{height}x16"
            assert torch.allclose(output, run_unet(network, height=height), atol=1e-5)
            assert height > 16 or not torch.equal(output, plain)
    assert torch.equal(run_unet(compiled), plain)
    assert counter.frame_count <= 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "clasification"}, ValueError, "task: unknown value 'clasification'"),
        ({"metric_site": "blok_input"}, ValueError, "metric_site: unknown value 'blok_input'"),
        ({"blocks": "first12"}, ValueError, "blocks: unknown part 'first12'"),
        ({"seed": 1.5}, TypeError, "seed: 1.5 is not a whole number"),
        ({"ratio": "0.5"}, TypeError, "ratio: '0.5' is not a number"),
    ],
)
def test_a_wrong_value_is_named(unet, options, error, message):
    with pytest.raises(error, match=message):
        bigain.apply(unet, "bigain_tm", **{"ratio": 0.5, **options})
    assert bigain.attached_to(unet) is None


def test_single_levels_and_numpy_numbers_are_read(unet):
    with bigain.compressed(unet, "bigain_tm", ratio=np.float32(0.7), levels=1) as attachment:
        assert (attachment.strength, [str(site.grid) for site in attachment.sites]) == (0.7, ["8x8"])
        with pytest.raises(AttributeError, match="remove the method and apply it anew"):
            attachment.strength = 0.1


def test_a_model_that_does_not_know_its_size_is_named():
    network = one_block_unet()
    network.register_to_config(sample_size=None)
    with pytest.raises(ValueError, match="sample_size of its config is None"):
        bigain.apply(network, "tome", ratio=0.5)


def test_the_end_of_a_context_restores_what_its_begin_compressed(unet):
    plain = run_unet(unet)
    with bigain.compressed(unet, "tome", ratio=0.5):
        bigain.remove(unet)
    with bigain.compressed(unet, "tome", ratio=0.5):
        bigain.remove(unet)
        later = bigain.apply(unet, "todo", factor=2)
    assert bigain.attached_to(unet) is later
    bigain.remove(unet)
    assert torch.equal(run_unet(unet), plain)
