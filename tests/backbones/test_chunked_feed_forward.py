"""Chunked feed-forward layers: rows are counted, results are equal under every token method, nothing is left behind."""

import pytest
import torch

import bigain
from bigain.backbones.chunked_feed_forward import CACHE_BYTES, chunked_feed_forward, rows_per_chunk
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Uncompressed
from bigain.compression.targets import blocks_of
from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from bigain.sampling.generate import Sampling, sample_latents
from tests.helpers.methods import WITH_VARIANTS, arguments_for
from tests.helpers.models import RUN, count_rows
from tests.helpers.tiny import TinyBackbone, latents

CACHE = "bigain.backbones.chunked_feed_forward.CACHE_BYTES"
ROW = 256 * 128 * 4  # bytes of one row behind the first projection: 256 tokens; U-Net: 2 * 64 wide, DiT: 128


@pytest.fixture(params=["unet", "dit"])
def backbone(request):
    return TinyBackbone(request.getfixturevalue(request.param), request.param)


def errors(backbone, method="none", rows=12):
    settings = ClassificationSettings(Stages((2, 4), (3, 1)), seed=0, batch_size=rows)
    with bigain.compressed(backbone.denoiser, method, task="classification", **arguments_for(method)) as at:
        trials = classify_images(backbone, latents([4]), [4], backbone.conditions_of(6), settings, at)
    return torch.tensor([trial.error for trial in trials])


@pytest.mark.parametrize(
    ("backbone", "method"),
    [("unet", id) for id in WITH_VARIANTS] + [("dit", id) for id in WITH_VARIANTS if "ca" not in method_of(id).layers],
    indirect=["backbone"],
)
def test_errors_are_those_of_whole_batches(backbone, monkeypatch, method):
    monkeypatch.setattr(CACHE, 3 * ROW)
    in_parts = errors(backbone, method)
    monkeypatch.setattr(CACHE, 0)
    torch.testing.assert_close(in_parts, errors(backbone, method), atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("rows", "fit", "parts"),
    [(12, 12, [12]), (12, 11, [6, 6]), (12, 4.9, [4, 4, 4]), (7, 6, [1] * 7), (12, 0.9, [12])],
    ids=["all", "largest divisor", "cut off", "prime", "not one row"],
)
def test_a_batch_is_cut_into_equal_parts_that_fit(backbone, monkeypatch, rows, fit, parts):
    monkeypatch.setattr(CACHE, int(fit * ROW))
    block = blocks_of(backbone.denoiser)[0].module
    seen = count_rows(monkeypatch, block.ff)
    with chunked_feed_forward(backbone.denoiser, rows, Uncompressed()):
        RUN[backbone.family](backbone.denoiser, batch=rows)
    assert seen == parts


def test_a_smaller_grid_takes_more_rows(unet):
    highest, middle = blocks_of(unet)[0], next(b for b in blocks_of(unet) if b.place == 1)
    assert (highest.grid.tokens, middle.grid.tokens) == (256, 64)
    assert rows_per_chunk(highest, 64) == CACHE_BYTES // ROW == 16
    assert rows_per_chunk(middle, 64) == 2 * 16  # a quarter of the tokens, each twice as wide


def test_layers_around_which_tokens_are_merged_stay_whole(unet, monkeypatch):
    monkeypatch.setattr(CACHE, 4 * ROW)
    first, middle = unet.down_blocks[0].attentions[0], unet.mid_block.attentions[0]
    seen = [count_rows(monkeypatch, owner.transformer_blocks[0].ff.net[2]) for owner in (first, middle)]
    errors(TinyBackbone(unet, "unet"), "bigain_tm@sa+mlp")
    assert seen[0] == [12, 12]
    assert set(seen[1]) == {6}


def test_methods_that_change_the_model_run_on_whole_batches(dit, monkeypatch):
    """DiP-GO keeps what a layer gave for all rows."""
    monkeypatch.setattr(CACHE, ROW)
    with chunked_feed_forward(dit, 4, Uncompressed(METHODS["dip_go"])):
        assert {block.module._chunk_size for block in blocks_of(dit)} == {None}


def test_sampling_takes_parts_of_both_guidance_halves(backbone, monkeypatch):
    monkeypatch.setattr(CACHE, 3 * ROW)
    seen = count_rows(monkeypatch, blocks_of(backbone.denoiser)[0].module.ff)
    arguments = (
        [1, 2, 3],
        backbone.conditions_of(3),
        backbone.null_condition(),
        Sampling(2, 2.0, seed=0),
        Uncompressed(),
    )
    in_parts = sample_latents(backbone, *arguments)
    assert seen == [3, 3] * 2
    monkeypatch.setattr(CACHE, 0)
    torch.testing.assert_close(in_parts, sample_latents(backbone, *arguments), atol=1e-4, rtol=0)


def test_what_was_set_before_is_set_again(dit):
    """Also on an error."""
    block, during = dit.transformer_blocks[0], []

    def fail() -> None:
        with chunked_feed_forward(dit, 32, Uncompressed()):
            during.append((block._chunk_size, block._chunk_dim))
            raise RuntimeError("midway")

    block.set_chunk_feed_forward(2, 1)
    with pytest.raises(RuntimeError, match="midway"):
        fail()
    after = block._chunk_size, block._chunk_dim
    block.set_chunk_feed_forward(None, 0)
    assert (during, after) == ([(16, 0)], (2, 1))
    assert {block._chunk_size for block in dit.transformer_blocks} == {None}


def test_a_model_of_another_kind_is_left_alone():
    from diffusers import FluxTransformer2DModel

    model = FluxTransformer2DModel(
        num_layers=1, num_single_layers=0, attention_head_dim=8, num_attention_heads=1, axes_dims_rope=(2, 2, 4)
    )
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    with chunked_feed_forward(model, 4, Uncompressed()):
        assert {name: set(vars(module)) for name, module in model.named_modules()} == before
