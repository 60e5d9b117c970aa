"""Pipeline x technique x method: each technique before or after `apply` gives the same, and removal leaves it alone.

Every pair of pipeline and technique occurs, with methods in turn; every second one is a system test.
"""

import copy

import pytest
import torch

import bigain
from bigain.compression.attach import denoiser_of
from tests.helpers.methods import arguments_for
from tests.helpers.pipelines import PIPELINES, generated, pipeline

METHODS = ("tome", "bigain_tm", "bigain_tm_cached", "todo", "bigain_td", "kv_low_frequency", "sito")


class LowRank(torch.nn.Module):
    """A projection with a low-rank update beside it, as LoRA has it."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        generator = torch.Generator().manual_seed(7)
        self.down = torch.randn(base.in_features, 2, generator=generator) / 4
        self.up = torch.randn(2, base.out_features, generator=generator) / 4

    def forward(self, x):
        return self.base(x) + x @ self.down @ self.up


def low_rank(pipe):
    blocks = [m for m in denoiser_of(pipe).modules() if hasattr(m, "attn1") or hasattr(m, "attn")]
    attentions = [getattr(block, "attn1", None) or block.attn for block in blocks]
    for attention in (a for a in attentions if hasattr(a, "to_k")):
        attention.to_k, attention.to_v = LowRank(attention.to_k), LowRank(attention.to_v)


def copied(pipe):
    name = "unet" if hasattr(pipe, "unet") else "transformer"
    setattr(pipe, name, copy.deepcopy(getattr(pipe, name)))


def free_u(pipe):
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)


TECHNIQUES = {
    "plain": lambda pipe: None,
    "model_offload": lambda pipe: pipe.enable_model_cpu_offload(device="cpu"),
    "slicing": lambda pipe: pipe.enable_attention_slicing(1),
    "channels_last": lambda pipe: denoiser_of(pipe).to(memory_format=torch.channels_last),
    "low_rank": low_rank,
    "copied": copied,
    "free_u": free_u,
}
CHANGES_OUTPUTS = ("low_rank", "free_u")
CELLS = [
    pytest.param(kind, technique, METHODS[(p + t) % len(METHODS)], marks=pytest.mark.system if (p + t) % 2 else ())
    for p, kind in enumerate(PIPELINES)
    for t, technique in enumerate(TECHNIQUES)
    if technique != "free_u" or kind in ("text", "xl")
]


@pytest.mark.parametrize(("kind", "technique", "method"), CELLS)
def test_a_technique_may_come_before_or_after_a_method_and_outlives_it(kind, technique, method):
    untouched = pipeline(kind)
    TECHNIQUES[technique](untouched)
    plain = generated(untouched, kind)
    outputs = []
    for technique_first in (True, False):
        pipe = pipeline(kind)
        if technique_first:
            TECHNIQUES[technique](pipe)
        bigain.apply(pipe, method, **arguments_for(method))
        if not technique_first:
            TECHNIQUES[technique](pipe)
        outputs.append([generated(pipe, kind) for _ in range(2)])
        bigain.remove(pipe)
        assert torch.equal(generated(pipe, kind), plain)
    for before, after in zip(*outputs, strict=True):
        assert torch.equal(before, after)
        assert not torch.equal(before, plain)
    if technique not in CHANGES_OUTPUTS:
        pipe = pipeline(kind)
        with bigain.compressed(pipe, method, **arguments_for(method)):
            for output in outputs[0]:
                assert torch.allclose(output, generated(pipe, kind), rtol=1e-3, atol=1e-3)


def test_every_method_meets_every_pipeline_and_technique():
    quick = [cell.values for cell in CELLS if not cell.marks]
    assert [set(values) for values in zip(*quick, strict=True)] == [set(PIPELINES), set(TECHNIQUES), set(METHODS)]


def test_a_pipeline_without_a_denoiser_is_named():
    from diffusers import StableCascadePriorPipeline

    pipe = StableCascadePriorPipeline(None, None, None, None)
    with pytest.raises(TypeError, match="StableCascadePriorPipeline has no unet and no transformer"):
        bigain.apply(pipe, "tome", ratio=0.5)
