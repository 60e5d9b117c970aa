"""Probes: bands add up to the classifier's errors, and maps show the merged tokens."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from bigain import backbones
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.noise import keyed_noise
from bigain.classifier.timesteps import Stages
from bigain.compression.attach import attached_to, compressed
from bigain.compression.attachment import RowKey
from bigain.core.provenance import ResultError, as_input, checked, digest, write_provenance
from bigain.core.records import read_table
from bigain.jobs import margins, probes
from bigain.measure.margins import hardest_wrong
from bigain.measure.spectrum import Pair, band_energies, bands, differences, draw_pair
from bigain.measure.token_maps import merged_tokens, probed_block, saliency
from bigain.tokens import TokenGrid
from bigain.tokens.scores import laplacian_l1
from tests.helpers.random_pipelines import flux, sd3
from tests.helpers.tiny import TinyBackbone

SITES = {"levels": None, "blocks": None, "metric_site": None}


@pytest.fixture(params=["unet", "dit"])
def backbone(request, unet, dit):
    return TinyBackbone(unet if request.param == "unet" else dit, request.param)


def latents(backbone, count):
    return torch.randn(count, *backbone.latent_shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", ["mmdit", "flux"])
def test_maps_of_flow_models_show_the_tokens_of_the_image(family, tmp_path):
    """FLUX's probed block is a single-stream one, in which the text's tokens come before those of the image."""
    if family == "flux":
        folder = flux(tmp_path / "model", guidance_embeds=True, num_layers=2, num_single_layers=2)
    else:
        folder = sd3(tmp_path / "model", t5=True, shift={}, num_layers=4)
    backbone = backbones.load(family, folder)
    block, x_0 = probed_block(backbone, SITES), latents(backbone, 2)
    assert (block.place, block.grid, block.single_stream) == (2, TokenGrid(4, 4), family == "flux")
    seen = []
    hook = block.module.attn.register_forward_pre_hook(
        lambda module, args, inputs: seen.append(inputs["hidden_states"]), with_kwargs=True
    )
    (shown,) = saliency(backbone, block, x_0[:1], [3], t=500, draws=1, seed=0)
    hook.remove()
    assert seen[0].shape[1] == 16 + (77 if family == "flux" else 0)
    expected = laplacian_l1(seen[0][:, seen[0].shape[1] - 16 :], TokenGrid(4, 4)).reshape(4, 4)
    assert torch.allclose(shown, expected)
    merged = merged_tokens(backbone, SITES, "bigain_tm", 0.5, x_0, [3, 4], t=500, seed=0)
    assert merged.shape == (2, 4, 4)
    assert merged.sum(dim=(1, 2)).tolist() == [8, 8]


def test_bands_are_rings_and_none_is_empty():
    place = bands(16, 16, 8)
    assert place[0, 0] == 0
    assert place[15, 0] == place[0, 15] == place[15, 15] == 7
    assert np.bincount(place.ravel()).tolist() == [4 * (2 * k + 1) for k in range(8)]
    assert set(bands(8, 16, 4).ravel()) == {0, 1, 2, 3}


def test_parseval_and_a_pure_frequency():
    residual = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert band_energies(residual, 4).sum(axis=1) == pytest.approx(residual.square().sum(dim=(1, 2, 3)).numpy())
    constant = torch.full((1, 1, 8, 8), 2.0)
    assert band_energies(constant, 4)[0] == pytest.approx([256, 0, 0, 0])


def test_the_wrong_class_is_never_the_right_one():
    drawn = [draw_pair(0, image, true=2, classes=4).wrong for image in range(60)]
    assert set(drawn) == {0, 1, 3}
    assert draw_pair(0, 7, 2, 4) == draw_pair(0, 7, 2, 4)
    with pytest.raises(ValueError, match=r"image 3: .* needs two classes"):
        draw_pair(0, 3, 0, 1)


@pytest.mark.parametrize(("method", "ratio"), [("none", None), ("tome", 0.5)])
def test_differences_are_those_of_the_classifiers_own_errors(backbone, method, ratio):
    x_0, images, conditions = latents(backbone, 2), [11, 12], backbone.conditions_of(3)
    pairs, timesteps = [Pair(11, 0, 2), Pair(12, 1, 0)], Stages((3,), (1,)).timesteps()[0]
    with compressed(backbone.denoiser, method, ratio=ratio, task="classification", seed=5, **SITES) as at:
        by_band = differences(backbone, x_0, pairs, conditions, timesteps, 5, 4, 4, at)
        settings = ClassificationSettings(Stages((3,), (1,)), seed=5, batch_size=4)
        trials = classify_images(backbone, x_0, images, conditions, settings, at)
    errors = {(trial.image, trial.class_index, trial.t): trial.error for trial in trials}
    expected = [[errors[p.image, p.wrong, t] - errors[p.image, p.true, t] for t in timesteps] for p in pairs]
    assert by_band.shape == (2, 3, 4)
    assert by_band.sum(axis=2) / x_0[0].numel() == pytest.approx(np.array(expected), abs=1e-5)


def test_saliency_is_the_mean_laplacian_score_over_draws(backbone):
    x_0 = latents(backbone, 1)
    block = probed_block(backbone, SITES)
    one_draw, two_draws, many_draws = (
        saliency(backbone, block, x_0, [3], 200, draws, seed=0)[0] for draws in (1, 2, 60)
    )
    assert one_draw.shape == (block.grid.height, block.grid.width)
    seen = []
    where = block.module if backbone.family == "unet" else block.module.attn1
    look = where.register_forward_pre_hook(lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    eps = torch.stack([keyed_noise(0, 3, 200, tuple(x_0.shape[1:]), k) for k in range(2)])
    t = torch.full((2,), 200)
    null = backbone.null_condition().expand(2, *backbone.null_condition().shape[1:])
    with torch.inference_mode():
        backbone.predict_noise(backbone.noised(x_0.expand_as(eps), eps, t), t, null)
    look.remove()
    args, kwargs = seen[0]
    scores = laplacian_l1(args[0] if args else kwargs["hidden_states"], block.grid).unflatten(1, one_draw.shape)
    torch.testing.assert_close(two_draws, scores.mean(0))
    torch.testing.assert_close(one_draw, scores[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(many_draws, two_draws)


def test_merged_tokens_are_counted_and_the_model_is_left_as_it_was(backbone):
    x_0 = latents(backbone, 2)
    tokens = probed_block(backbone, SITES).grid.tokens
    merged = merged_tokens(backbone, SITES, "bigain_tm~cell-4x4", 0.9, x_0, [1, 2], 200, seed=0)
    assert merged.shape[0] == 2
    assert merged.flatten(1).sum(1).tolist() == [int(0.9 * tokens)] * 2
    assert attached_to(backbone.denoiser) is None
    assert not any(module._forward_pre_hooks for module in backbone.denoiser.modules())


def test_merged_tokens_are_those_that_the_block_really_merges(backbone):
    x_0 = latents(backbone, 1)
    merged = merged_tokens(backbone, SITES, "tome_fixed", 0.5, x_0, [1], 200, seed=0)[0]
    seen = []
    with compressed(backbone.denoiser, "tome_fixed", ratio=0.5, task="classification", **SITES) as at:
        at.set_rows([RowKey(1, "null", 200)])
        attention = at.sites[-1].block.module.attn1
        look = attention.to_out[0].register_forward_hook(lambda *_: seen.append(at.plan_of(at.sites[-1])))
        eps, t = keyed_noise(0, 1, 200, tuple(x_0.shape[1:])).unsqueeze(0), torch.tensor([200])
        with torch.inference_mode():
            backbone.predict_noise(backbone.noised(x_0, eps, t), t, backbone.null_condition())
        look.remove()
    # a merged token has its destination's output, so restoring two-valued tokens gives equal pairs
    left = seen[0].kept.shape[1] + seen[0].destinations.shape[1]
    restored = seen[0].restore(torch.arange(left).float()[None, :, None])
    counts = restored.flatten().unique(return_counts=True)[1]
    assert int((counts - 1).sum()) == int(merged.sum()) == merged.numel() // 2


def test_what_merges_nothing_cannot_be_drawn(unet):
    backbone = TinyBackbone(unet, "unet")
    with pytest.raises(ValueError, match="sito merges no tokens"):
        merged_tokens(backbone, SITES, "sito", 0.5, latents(backbone, 1), [1], 200, seed=0)


@pytest.fixture
def study_inputs(root, monkeypatch, tmp_path):
    """Made-up latents (the second image unreadable) and conditions for the first images of Fashion."""
    monkeypatch.chdir(root)
    x_0 = torch.randn(6, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    save_file({"latents": x_0, "unreadable": torch.tensor([1])}, tmp_path / "latents.safetensors")
    save_file({"candidates": torch.randn(10, 16, 64)}, tmp_path / "conditions.safetensors")
    backbone = {"id": "mini_unet", "family": "unet", "path": "resources/mini-unet", "dtype": "float32", "device": "cpu"}
    dataset = {"id": "fashion", "reader": "fashion", "path": "resources/fashion", "allow_missing": 1}
    encoded_with = {"backbone": backbone, "dataset": dataset, "threads": 1}
    for name in ("latents", "conditions"):
        write_provenance(tmp_path / f"{name}.safetensors", encoded_with, {})
    return tmp_path, encoded_with | {"backbone": backbone | SITES, "seed": 0}


def test_the_jobs_leave_unreadable_images_out(study_inputs):
    folder, common = study_inputs
    spec = common | {"arms": [["none", None], ["tome", 0.5]], "images": 4, "timesteps": 2, "bands": 4, "batch": 8}
    probes.spectrum(spec, folder / "latents.safetensors", folder / "conditions.safetensors", folder / "s.parquet")
    table = read_table(folder / "s.parquet").to_pandas()
    encoded = {name: folder / f"{name}.safetensors" for name in ("latents", "conditions")}
    recorded = {name: as_input(file, checked(file)) for name, file in encoded.items()}
    assert checked(folder / "s.parquet", digest(spec))["inputs"] == recorded
    assert table["image"].nunique() == 4
    assert table["method"].unique().tolist() == ["none", "tome"]
    assert len(table) == 2 * 4 * 2
    assert (table["true"] != table["wrong"]).all()
    assert np.isfinite(table[[f"band_{k}" for k in range(4)]]).all().all()

    spec = common | {"methods": ["tome~cell-4x4"], "ratio": 0.9, "images": 3, "timestep": 200, "draws": 2}
    probes.token_maps(spec, folder / "latents.safetensors", folder / "t.safetensors")
    stored = load_file(folder / "t.safetensors")
    shown = len(stored["images"])
    assert 1 <= shown <= 3
    assert stored["saliency"].shape == (shown, 16, 16)
    assert stored["merged"].shape == (1, shown, 16, 16)


def test_the_hardest_class_is_chosen_on_the_other_half_of_the_timesteps():
    errors = np.array([[[1.0, 3, 5], [1, 5, 2], [1, 3, 9], [1, 5, 2]]])  # class 1 is near at even places, 2 at odd ones
    assert hardest_wrong(errors, np.array([0])).tolist() == [[2, 1, 2, 1]]
    assert hardest_wrong(errors, np.array([2])).tolist() == [[0, 0, 0, 0]]
    with pytest.raises(ValueError, match="2 classes at 1 timesteps"):
        hardest_wrong(errors[:, :1, :2], np.array([0]))


MARGINS = {"images": 3, "timesteps": 2, "bands": 4, "batch": 8, "noises": 2}
MARGINS |= {"definitions": {}, "code": {"jobs.margins": "as it is"}}
ARMS = [["none", None], ["bigain_tm_shuffled", 0.5], ["bigain_tm", 0.0]]


def measured_margins(study_inputs):
    """Measure the margins of `ARMS`; return the spec of all of them, and the file of each."""
    folder, common = study_inputs
    common = common | MARGINS
    inputs = folder / "latents.safetensors", folder / "conditions.safetensors"
    files = [folder / f"{method}.parquet" for method, _ in ARMS]
    for (method, strength), file in zip(ARMS, files, strict=True):
        before = None if method == "none" else files[0]
        margins.margins(common | {"method": method, "strength": strength}, *inputs, file, before)
    return common | {"arms": ARMS}, files


def test_margins_are_to_all_wrong_classes_without_compression_and_to_the_hardest_with(study_inputs):
    folder, _ = study_inputs
    spec, files = measured_margins(study_inputs)
    margins.collect_margins(spec, files, folder / "m.parquet")
    checked(folder / "m.parquet", digest(spec))
    table = read_table(folder / "m.parquet").to_pandas()
    rows = table.groupby("method", sort=False).size()
    assert rows.to_dict() == {"none": 2 * 3 * 2 * 9, "bigain_tm_shuffled": 2 * 3 * 2, "bigain_tm": 2 * 3 * 2}
    assert (table["true"] != table["wrong"]).all()

    bands_of = [f"band_{k}" for k in range(4)]
    place = ["image", "t", "noise", "wrong"]
    full = table[(table["method"] == "none") & table["hardest"]].set_index(place)[bands_of].sort_index()
    unmerged = table[table["method"] == "bigain_tm"].set_index(place)[bands_of]  # a ratio of 0 merges nothing
    pd.testing.assert_frame_equal(full, unmerged.sort_index(), atol=1e-2)
    first, second = (full.xs(noise, level="noise").to_numpy() for noise in (0, 1))
    assert not np.allclose(first, second)

    everything = table[table["method"] == "none"].copy()
    everything["margin"] = everything[bands_of].sum(axis=1)
    for image, rows_of in everything.groupby("image"):
        means = rows_of.groupby(["t", "wrong"])["margin"].mean().unstack()
        for here, other in (means.index, means.index[::-1]):
            nearest = full.loc[(image, here)].index.get_level_values("wrong").unique().tolist()
            assert nearest == [means.loc[other].idxmin()]


def test_margins_are_collected_from_arms_of_the_same_settings_alone(study_inputs):
    folder, common = study_inputs
    spec, files = measured_margins(study_inputs)
    margins.collect_margins(spec, files[::-1], folder / "m.parquet")  # in the order of the spec, not of the files
    assert read_table(folder / "m.parquet")["method"].unique().to_pylist() == [method for method, _ in ARMS]
    assert set(checked(folder / "m.parquet")["inputs"]) == {"none/None", "bigain_tm_shuffled/0.5", "bigain_tm/0.0"}

    with pytest.raises(ValueError, match=r"no file of 2 has the margins of .'bigain_tm', 0\.0."):
        margins.collect_margins(spec, files[:2], folder / "n.parquet")
    for setting, value in (("noises", 3), ("code", {"jobs.margins": "changed"})):
        with pytest.raises(ResultError, match=rf"none.parquet was computed with {setting}.* instead of"):
            margins.collect_margins(spec | {setting: value}, files, folder / "n.parquet")
    other = common | MARGINS | {"images": 2, "method": "tome", "strength": 0.5}
    inputs = folder / "latents.safetensors", folder / "conditions.safetensors"
    with pytest.raises(ResultError, match=r"none.parquet was computed with images 3 instead of 2"):
        margins.margins(other, *inputs, folder / "n.parquet", files[0])
    with pytest.raises(ResultError, match=r"bigain_tm.parquet holds .*bigain_tm.* not .*none"):
        margins.margins(other | {"images": 3}, *inputs, folder / "n.parquet", files[2])
    assert not (folder / "n.parquet").exists()
