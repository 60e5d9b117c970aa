"""The shared prefix: work is counted, results are equal under every token method, and nothing is left behind."""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.utils.flop_counter import FlopCounterMode

import bigain
from bigain.backbones.unet import memory_format
from bigain.classifier.classify import ClassificationSettings, Classifier, classify_images
from bigain.classifier.shared_prefix import shared_between_classes
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Uncompressed
from bigain.compression.token_attachment import TokenAttachment
from tests.helpers.methods import WITH_VARIANTS, arguments_for
from tests.helpers.models import RUN, count_rows, traced
from tests.helpers.quick import in_turn
from tests.helpers.tiny import TinyBackbone, latents


def classify(backbone, method, batch_size=24, classes=6, **where):
    images = [4, 9]
    settings = ClassificationSettings(Stages((2, 4), (3, 1)), seed=0, batch_size=batch_size)
    arguments = arguments_for(method) | where
    with bigain.compressed(backbone.denoiser, method, task="classification", **arguments) as at:
        return classify_images(backbone, latents(images), images, backbone.conditions_of(classes), settings, at)


@pytest.mark.parametrize(("method", "metric_site"), in_turn(WITH_VARIANTS, ("block_input", "norm1_output")))
def test_errors_are_those_of_rows_that_share_nothing(unet, monkeypatch, method, metric_site):
    backbone = TinyBackbone(unet, "unet")
    shared = classify(backbone, method, metric_site=metric_site)
    monkeypatch.setattr("bigain.classifier.engine.distinct_rows", lambda pair_of_row: None)
    apart = classify(backbone, method, metric_site=metric_site)
    assert [(a.image, a.class_index, a.t, a.stage) for a in shared] == [
        (b.image, b.class_index, b.t, b.stage) for b in apart
    ]
    difference = torch.tensor([a.error - b.error for a, b in zip(shared, apart, strict=True)]).abs()
    assert difference.max() <= 2e-5


@pytest.mark.parametrize("method", WITH_VARIANTS)
def test_errors_are_those_of_a_model_whose_channels_lie_last(unet, method):
    """As a GPU's half-precision U-Net does."""
    last = copy.deepcopy(unet).to(memory_format=torch.channels_last)
    assert last.conv_out.weight.stride()[1] == 1
    trials = [classify(TinyBackbone(network, "unet"), method) for network in (unet, last)]
    difference = torch.tensor([a.error - b.error for a, b in zip(*trials, strict=True)]).abs()
    assert difference.max() <= 2e-5


def test_channels_lie_last_where_convolutions_run_on_tensor_cores():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert memory_format(gpu, torch.float16) == memory_format(gpu, torch.bfloat16) == torch.channels_last
    assert memory_format(gpu, torch.float32) == memory_format(cpu, torch.bfloat16) == torch.preserve_format


def test_the_shared_part_runs_on_distinct_rows_only(unet, monkeypatch):
    backbone = TinyBackbone(unet, "unet")
    block = unet.down_blocks[0].attentions[0].transformer_blocks[0]
    shared = [unet.conv_in, unet.down_blocks[0].resnets[0], block.norm1, block.attn1, block.norm2, block.attn2.to_q]
    counts = [count_rows(monkeypatch, module) for module in shared]
    after = [count_rows(monkeypatch, module) for module in (block.ff, unet.conv_out)]
    classify(backbone, "none")
    # Two images, two timesteps, six classes: 24 rows, 4 of them distinct; then two new timesteps and three classes.
    assert counts == [[4, 4]] * len(shared)
    assert [sum(rows) for rows in after] == [24 + 24] * len(after)


def test_random_draws_of_their_own_end_the_shared_part_before_the_method(unet, monkeypatch):
    block = unet.down_blocks[0].attentions[0].transformer_blocks[0]
    before, method = count_rows(monkeypatch, unet.conv_in), count_rows(monkeypatch, block.attn1.to_out[0])
    classify(TinyBackbone(unet, "unet"), "tome")
    assert before == [4, 4]
    assert method[0] == 24


def test_prompts_are_projected_once(unet, monkeypatch):
    layers = [module.to_k for name, module in unet.named_modules() if name.endswith("attn2")]
    seen = [count_rows(monkeypatch, layer) for layer in layers]
    classify(TinyBackbone(unet, "unet"), "none")
    assert seen == [[6]] * len(layers)


def test_a_table_of_prompts_has_a_largest_size(unet, monkeypatch):
    layer = next(module.to_k for name, module in unet.named_modules() if name.endswith("attn2"))
    seen = count_rows(monkeypatch, layer)
    monkeypatch.setattr("bigain.classifier.shared_prefix.LARGEST_TABLE", 0)
    classify(TinyBackbone(unet, "unet"), "none")
    assert seen == [24, 24]


def test_fewer_operations_are_counted(unet, monkeypatch):
    backbone = TinyBackbone(unet, "unet")

    def flops():
        with FlopCounterMode(display=False) as counter:
            classify(backbone, "none")
        return counter.get_total_flops()

    shared = flops()
    monkeypatch.setattr("bigain.classifier.engine.distinct_rows", lambda pair_of_row: None)
    assert shared < 0.97 * flops()


def test_nothing_is_left_behind(unet):
    """Also on an error."""
    before, state = RUN["unet"](unet), {id(module): set(vars(module)) for module in unet.modules()}
    conditions = torch.randn(3, 5, 16)
    with pytest.raises(RuntimeError, match="midway"), shared_between_classes(unet, conditions, Uncompressed()):
        raise RuntimeError("midway")
    assert {id(module): set(vars(module)) for module in unet.modules()} == state
    assert torch.equal(RUN["unet"](unet), before)


def test_nothing_of_a_dit_is_shared(dit):
    with shared_between_classes(dit, torch.arange(3), Uncompressed()) as prefix:
        assert not prefix.exists
        assert not any(hasattr(module, "_diffusers_hook") for module in dit.modules())


def test_an_attachment_without_random_draws_hashes_no_rows(unet):
    with bigain.compressed(unet, "bigain_tm", ratio=0.5) as at:
        assert isinstance(at, TokenAttachment)
        at.set_rows([])
        assert at.state.row_seeds is None


@pytest.mark.parametrize("family", ["unet", "dit"])
@pytest.mark.parametrize("method", ["none", "bigain_tm", "bigain_tm_cached", "tome", "tome_shared", "bigain_td"])
def test_groups_after_the_first_trace_no_model(family, method):
    """Nor do other stages, rows, classes and timesteps in the same shapes."""
    torch._dynamo.reset()
    counter, (network, blocks) = CompileCounter(), traced(family, method)
    network.compile(backend=counter, dynamic=False, fullgraph=True)
    backbone = TinyBackbone(network, family)
    settings = ClassificationSettings(Stages((2, 4), (3, 1)), seed=0, batch_size=24)
    graphs = []
    with (
        bigain.compressed(network, method, task="classification", **arguments_for(method), **blocks) as at,
        Classifier.open(backbone, backbone.conditions_of(6), settings, at) as classifier,
    ):
        assert classifier.engine.prefix.exists == (family == "unet")
        for images in ([1, 2], [3, 4], [5, 6]):
            trials = classifier.classify(classifier.group(images, latents(images)))
            graphs.append(counter.frame_count)
    assert len(trials) == 2 * (2 * 6 + 2 * 3)
    assert graphs == [1, 1, 1]
