"""A block of SD3 and of FLUX on fewer tokens, beside a plain computation of the same block, sample by sample."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bigain
from bigain.compression.rotary import RotaryProcessor
from bigain.tokens import OPERATORS, TokenGrid
from tests.helpers.models import flux_inputs, run_flux, run_mmdit, tiny_flux, tiny_mmdit

GRID, TEXT = TokenGrid(8, 8), 5
CELL = {"cell": (2, 2)}


def recorded(module, call):
    """Return the arguments and the output of a module in a call of its model."""
    seen = []
    handle = module.register_forward_hook(lambda m, a, k, y: seen.append((k, y)), with_kwargs=True)
    call()
    handle.remove()
    return seen[0]


def averaging(plan, tokens=64):
    """Return the matrices [N', N] that averages and [N, N'] that copies back, of a plan for a single sample."""
    left = plan.left[0].tolist()
    gather = torch.zeros(len(left), tokens)
    for place, token in enumerate(left):
        gather[place, token] = 1
    sources = plan.kept.shape[1]
    for token, target in zip(plan.merged[0].tolist(), plan.target[0].tolist(), strict=True):
        gather[sources + target, token] = 1
    return gather / gather.sum(1, keepdim=True), (gather > 0).float().T


def attention(query, key, value):
    """softmax(Q K^T / sqrt(d)) V of one head."""
    return torch.softmax(query @ key.T / query.shape[-1] ** 0.5, dim=-1) @ value


def heads(x, count):
    return x.unflatten(-1, (count, -1)).unbind(-2)


@pytest.mark.parametrize("last", [False, True])
def test_a_joint_block_of_sd3_merges_the_image_only(last):
    """The second block is the last, which drops the text; the first has a second attention of the image alone."""
    model = tiny_mmdit(num_layers=2, dual=(0,))
    block, place = model.transformer_blocks[int(last)], int(last)
    with bigain.compressed(model, "tome_fixed", ratio=0.5, blocks=(place,)):
        inputs, (text_output, image_output) = recorded(block, lambda: run_mmdit(model))
    for sample in range(2):
        row = slice(sample, sample + 1)
        image, text, temb = (inputs[k][row] for k in ("hidden_states", "encoder_hidden_states", "temb"))
        with torch.no_grad():
            expected_image, expected_text = sd3_block(block, image, text, temb)
        assert torch.allclose(image_output[row], expected_image, atol=1e-5)
        if not last:
            assert torch.allclose(text_output[row], expected_text, atol=1e-5)


def sd3_block(block, image, text, temb):
    x, gate, shift_mlp, scale_mlp, gate_mlp, *second = block.norm1(image, emb=temb)
    if block.context_pre_only:
        context, of_text = block.norm1_context(text, temb), []
    else:
        context, *of_text = block.norm1_context(text, emb=temb)
    average, copy = averaging(OPERATORS["merge_top_left"](x, GRID, 0.5, **CELL))
    y, context_output = sd3_attention(block.attn, average @ x[0], context[0])
    image = image + gate.unsqueeze(1) * (copy @ y)
    if second:
        x2, gate2 = second
        image = image + gate2.unsqueeze(1) * (copy @ sd3_attention(block.attn2, average @ x2[0], None)[0])
    z = block.norm2(image) * (1 + scale_mlp[:, None]) + shift_mlp[:, None]
    image = image + gate_mlp.unsqueeze(1) * block.ff(z)
    if block.context_pre_only:
        return image, None
    gate, shift_mlp, scale_mlp, gate_mlp = of_text
    text = text + gate.unsqueeze(1) * context_output
    z = block.norm2_context(text) * (1 + scale_mlp[:, None]) + shift_mlp[:, None]
    return image, text + gate_mlp.unsqueeze(1) * block.ff_context(z)


def sd3_attention(attn, image, text):
    norms = (attn.norm_q, attn.norm_k, nn.Identity()), (attn.norm_added_q, attn.norm_added_k, nn.Identity())
    streams = [(image, (attn.to_q, attn.to_k, attn.to_v), norms[0])]
    if text is not None:
        streams.append((text, (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj), norms[1]))
    outputs = []
    for head in range(attn.heads):
        q, k, v = (
            torch.cat([norm[i](heads(layers[i](x), attn.heads)[head]) for x, layers, norm in streams]) for i in range(3)
        )
        outputs.append(attention(q, k, v))
    y = torch.cat(outputs, dim=-1)
    of_text = attn.to_add_out(y[len(image) :]) if text is not None and not attn.context_pre_only else None
    return attn.to_out[0](y[: len(image)]), of_text


def turned(x, positions, sizes=(4, 6, 6), theta=10_000):
    """Rotate the complex pairs of one head's x [S, D] by their token's positions [S, 3], each with its own channels."""
    angles = [
        p.unsqueeze(-1) * theta ** -(torch.arange(0, size, 2) / size)
        for p, size in zip(positions.unbind(-1), sizes, strict=True)
    ]
    spun = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(
        torch.ones(()), torch.cat(angles, dim=-1)
    )
    return torch.view_as_real(spun).flatten(-2)


def flux_attention(attn, image_queries, image_keys, text, query_positions, key_positions):
    """Return what the heads of a FLUX attention return, text first: text tokens are at position 0."""
    norms = (attn.norm_q, attn.norm_k, nn.Identity())
    outputs = []
    at_zero = torch.zeros(len(text), 3)
    for head in range(attn.heads):
        parts = []
        for i, x in enumerate((image_queries, image_keys, image_keys)):
            if attn.added_kv_proj_dim is None:
                whole = norms[i](heads((attn.to_q, attn.to_k, attn.to_v)[i](torch.cat([text, x])), attn.heads)[head])
            else:
                added = (attn.norm_added_q, attn.norm_added_k, nn.Identity())
                of_text = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)[i](text)
                of_image = (attn.to_q, attn.to_k, attn.to_v)[i](x)
                whole = torch.cat([added[i](heads(of_text, 2)[head]), norms[i](heads(of_image, 2)[head])])
            parts.append(whole)
        q = turned(parts[0], torch.cat([at_zero, query_positions]))
        k = turned(parts[1], torch.cat([at_zero, key_positions]))
        outputs.append(attention(q, k, parts[2]))
    return torch.cat(outputs, dim=-1)


def merged(x, positions):
    """Return averaged tokens at their destinations' positions, the same tokens as keys, and how to copy back."""
    plan = OPERATORS["merge_top_left"](x.unsqueeze(0), GRID, 0.5, **CELL)
    average, copy = averaging(plan)
    return average @ x, average @ x, positions[plan.left[0]], positions[plan.left[0]], copy


def pooled(x, positions):
    """Return all tokens as queries, the average of each 2x2 cell as a key in the middle of the cell."""
    cells = GRID.cell_tokens((2, 2))
    return x, x[cells].mean(1), positions, positions[cells].mean(1), torch.eye(64)


def picked(x, positions):
    """Return all tokens as queries, and as keys the last of every 2x2 cell, which nearest-exact sampling takes."""
    last = GRID.cell_tokens((2, 2))[:, -1]
    return x, x[last], positions, positions[last], torch.eye(64)


def detailed(x, positions):
    """Return all tokens as queries, and as keys the quarter of largest L1 norm, in token order."""
    order = x.abs().sum(-1).argsort(descending=True)[:16].sort().values
    return x, x[order], positions, positions[order], torch.eye(64)


METHODS = {
    "tome_fixed": (merged, {"ratio": 0.5}),
    "avg_pool": (pooled, {"factor": 2}),
    "todo": (picked, {"factor": 2}),
    "kv_high_frequency~score-l1_norm": (detailed, {"factor": 2}),
}


@pytest.mark.parametrize("method", METHODS)
def test_flux_rotates_what_is_left_by_its_positions(method):
    """Of both kinds of blocks; positions of rows and columns are not from 0 and not of the same step."""
    model = tiny_flux(1, 1)
    compress, strength = METHODS[method]
    inputs = flux_inputs() | {"img_ids": flux_inputs()["img_ids"] * torch.tensor([1.0, 1.0, 0.5]) + 2}
    double, single = model.transformer_blocks[0], model.single_transformer_blocks[0]
    with torch.no_grad(), bigain.compressed(model, method, blocks=(0, 1), **strength):
        calls = [recorded(m, lambda: model(**inputs)) for m in (double.attn, double.norm1, single, single.norm)]
    with torch.no_grad():
        for sample in range(2):
            check_double(double.attn, *calls[:2], inputs["img_ids"], compress, sample)
            check_single(single, *calls[2:], inputs["img_ids"], compress, sample)


def check_double(attn, call, norm, positions, compress, sample):
    arguments, (image_output, text_output) = call
    text, image = arguments["encoder_hidden_states"][sample], norm[1][0][sample]
    queries, keys, at_queries, at_keys, copy = compress(image, positions)
    y = flux_attention(attn, queries, keys, text, at_queries, at_keys)
    assert torch.allclose(image_output[sample], copy @ attn.to_out[0](y[TEXT:]), atol=1e-5)
    assert torch.allclose(text_output[sample], attn.to_add_out(y[:TEXT]), atol=1e-5)


def check_single(block, call, norm, positions, compress, sample):
    arguments, (text_output, image_output) = call
    whole = torch.cat([arguments["encoder_hidden_states"], arguments["hidden_states"]], dim=1)
    x, gate = (part[sample] for part in norm[1])
    queries, keys, at_queries, at_keys, copy = compress(x[TEXT:], positions)
    y = flux_attention(block.attn, queries, keys, x[:TEXT], at_queries, at_keys)
    y = torch.cat([y[:TEXT], copy @ y[TEXT:]])
    mlp = F.gelu(block.proj_mlp(x), approximate="tanh")
    expected = whole[sample] + gate * block.proj_out(torch.cat([y, mlp], dim=-1))
    assert torch.allclose(torch.cat([text_output[sample], image_output[sample]]), expected, atol=1e-5)


def test_around_the_mlp_of_a_single_stream_block_attention_and_mlp_share_the_merged_tokens():
    """Merging commutes with the output projection, so the block equals one that restores both before it."""
    model = tiny_flux(1, 1)
    block = model.single_transformer_blocks[0]
    with bigain.compressed(model, "tome_fixed@sa+mlp", ratio=0.5, blocks=(1,), metric_site="block_input"):
        arguments, (text_output, image_output) = recorded(block, lambda: run_flux(model))
    positions = flux_inputs()["img_ids"]
    with torch.no_grad():
        whole = torch.cat([arguments["encoder_hidden_states"], arguments["hidden_states"]], dim=1)
        normed, gates = block.norm(whole, emb=arguments["temb"])
        for sample in range(2):
            plan = OPERATORS["merge_top_left"](whole[sample : sample + 1, TEXT:], GRID, 0.5, **CELL)
            average, copy = averaging(plan)
            x, at = normed[sample], positions[plan.left[0]]
            short = average @ x[TEXT:]
            y = flux_attention(block.attn, short, short, x[:TEXT], at, at)
            mlp = F.gelu(block.proj_mlp(torch.cat([x[:TEXT], short])), approximate="tanh")
            out = torch.cat([y, mlp], dim=-1)
            out = torch.cat([out[:TEXT], copy @ out[TEXT:]])
            expected = whole[sample] + gates[sample] * block.proj_out(out)
            assert torch.allclose(torch.cat([text_output[sample], image_output[sample]]), expected, atol=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_the_processor_equals_the_original_bit_for_bit_where_every_token_stays(fused, monkeypatch):
    """The identity in place of the plan's tokens, so that the processor's own arithmetic runs and not the original."""
    model = tiny_flux(1, 1)
    if fused:
        model.fuse_qkv_projections()
    plain = run_flux(model)

    class Whole:
        left = torch.arange(64).expand(2, -1)

        def reduce(self, x):
            return x

        restore = reduce

    calls = []
    attend = RotaryProcessor._tables
    monkeypatch.setattr(RotaryProcessor, "_tables", lambda *a: calls.append(a) or attend(*a))
    with bigain.compressed(model, "tome", ratio=0.5, blocks=(0, 1)) as attachment:
        monkeypatch.setattr(type(attachment), "plan", lambda *_: Whole())
        monkeypatch.setattr("bigain.compression.merging.check_merged", lambda *_: None)  # of the number of tokens left
        assert torch.equal(run_flux(model), plain)
    assert len(calls) == 2
