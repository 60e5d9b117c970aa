"""Planning refuses exactly the levels, blocks and strengths that the attachment refuses, and names the key."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import yaml
from diffusers import DiTTransformer2DModel, FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel

import bigain
from bigain.compression.targets import blocks_of, family_of
from bigain.core.files import read_json, write_json
from bigain.methods.ids import method_of, strength_of
from bigain.study.config import ConfigError, load
from bigain.study.denoisers import denoiser_of
from bigain.study.sites import site_faults
from bigain.study.weights import ARCHITECTURES, DENOISER_FOLDERS, WeightsError

CROSS = {"down": "CrossAttnDownBlock2D", "up": "CrossAttnUpBlock2D"}
PLAIN = {"down": "DownBlock2D", "up": "UpBlock2D"}
ATTENTION = {"down": "AttnDownBlock2D", "up": "AttnUpBlock2D"}  # without transformer blocks


def unet(*levels: dict[str, str], **settings):
    """Return a U-Net with these kinds of blocks, from the highest resolution down."""
    down, up = ([level[side] for level in levels] for side in ("down", "up"))
    sizes = {"block_out_channels": (8,) * len(levels), "norm_num_groups": 4, "layers_per_block": 1}
    shape = {"cross_attention_dim": 8, "attention_head_dim": 4, "sample_size": 16}
    return UNet2DConditionModel(down_block_types=down, up_block_types=up[::-1], **sizes, **shape | settings)


def dit(layers: int, patch: int = 1):
    return DiTTransformer2DModel(
        num_attention_heads=1, attention_head_dim=8, num_layers=layers, sample_size=16, patch_size=patch
    )


def mmdit(layers: int, dual: tuple[int, ...] = ()):
    return SD3Transformer2DModel(
        sample_size=16,
        patch_size=1,
        in_channels=4,
        num_layers=layers,
        attention_head_dim=8,
        num_attention_heads=1,
        joint_attention_dim=8,
        caption_projection_dim=8,
        pooled_projection_dim=8,
        pos_embed_max_size=16,
        dual_attention_layers=dual,
    )


def flux(double: int, single: int):
    return FluxTransformer2DModel(
        in_channels=16,
        num_layers=double,
        num_single_layers=single,
        attention_head_dim=8,
        num_attention_heads=1,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        axes_dims_rope=(2, 2, 4),
    )


MODELS = {
    "high": partial(unet, CROSS, PLAIN),
    "low": partial(unet, PLAIN, CROSS, CROSS),
    "no middle": partial(unet, CROSS, PLAIN, mid_block_type=None),
    "plain middle": partial(unet, CROSS, PLAIN, CROSS, PLAIN, mid_block_type="UNetMidBlock2D"),
    "no transformer": partial(unet, ATTENTION, PLAIN, mid_block_type="UNetMidBlock2D"),
    "upscaler": partial(unet, CROSS, CROSS, only_cross_attention=(True, False)),
    "wide": partial(unet, CROSS, CROSS, sample_size=(8, 24)),
    "one block": partial(dit, 1),
    "two blocks": partial(dit, 2),
    "six blocks": partial(dit, 6, patch=2),
    "twenty-eight blocks": partial(dit, 28),
    "joint blocks": partial(mmdit, 4),
    "dual blocks": partial(mmdit, 3, dual=(0, 1)),
    "streams": partial(flux, 2, 3),
}
PLACES = [None, [], [0], [1], [0, 1], [1, 0], [2, 3], [1, 1], [-1], [1, 2, 99]]
METHODS = ["none", "tome", "todo", "kv_low_frequency", "bigain_tm@sa+ca", "bigain_tm@sa+mlp", "bigain_tm~clamp-on"]
METHODS += ["bigain_tm_block@sa+ca~rule-quantile", "bigain_tm~cell-16x4", "tome~levels-1", "todo~levels-0+7"]
METHODS += ["bigain_tm~ratio_times-1.6to0.8", "tome~timesteps-900to200"]
METHODS += ["tome~blocks-dual", "todo~blocks-single", "bigain_tm~blocks-double"]
METHODS += ["tome~blocks-1+99", "todo~blocks-1_6", "bigain_tm~blocks-7_12", "bigain_tm~destinations-official_v1"]
STRENGTHS = {"none": [None], "merge_ratio": [0.5, 0.76], "downsample_factor": [1, 8, 16]}


def refused(model, method: str, strength: float | None, levels, blocks) -> bool:
    """Return whether the attachment refuses a method on a model."""
    places = {"levels": None if levels is None else tuple(levels), "blocks": None if blocks is None else tuple(blocks)}
    try:
        bigain.apply(model, method, **strength_of(method, strength), **places)
    except ValueError:
        return True
    bigain.remove(model)
    return False


@pytest.mark.parametrize("name", MODELS)
def test_planning_refuses_what_the_attachment_refuses(name, tmp_path):
    model = MODELS[name]()
    family = family_of(model)
    model.save_config(tmp_path / DENOISER_FOLDERS[family])
    if family == "flux":  # of 1,024 pixels, on which the attachment counts before a forward pass
        (tmp_path / "vae").mkdir()
        write_json(tmp_path / "vae" / "config.json", {"sample_size": 1024, "block_out_channels": [8] * 4})
    settings = {"family": family, "path": str(tmp_path), "hub": None, "architecture": None}
    for levels, blocks in [*((places, None) for places in PLACES), *((None, places) for places in PLACES), ([0], [1])]:
        set_wrongly = (levels, blocks) != (None, None) and refused(model, "todo", 1, levels, blocks)
        for method in METHODS:
            kind = method_of(method).strength_kind
            for strength in STRENGTHS[kind]:
                config = {
                    "backbones": {"model": settings | {"levels": levels, "blocks": blocks}},
                    "strengths": {kind: [strength]},
                    "cells": [{"backbone": "model", "methods": [method], "strengths": {}}],
                }
                problems = list(site_faults(config))
                expected = set_wrongly or refused(model, method, strength, levels, blocks)
                assert bool(problems) == expected, (method, strength, levels, blocks, problems)


@pytest.mark.parametrize("architecture", ["sd2", "dit_xl2"])
def test_the_papers_models_have_the_places_of_their_files(architecture):
    kind = {"sd2": UNet2DConditionModel, "dit_xl2": DiTTransformer2DModel}[architecture]
    with torch.device("meta"):
        model = kind.from_config(read_json(ARCHITECTURES / f"{architecture}.json"))
    family = {"sd2": "unet", "dit_xl2": "dit"}[architecture]
    planned = denoiser_of({"family": family, "path": "none", "hub": "x/y", "architecture": architecture})
    assert {(block.place, (block.grid.height, block.grid.width)) for block in blocks_of(model)} == {
        (place, planned.grid_at(place)) for place in planned.places
    }


@pytest.fixture
def raw(root, monkeypatch):
    monkeypatch.chdir(root)
    return yaml.safe_load((root / "config/config.yaml").read_text())


def refusal(raw, backbone: str, methods: list[str], strengths: dict, **settings) -> str:
    raw["backbones"][backbone] |= settings
    raw["strengths"] = strengths
    raw["cells"] = [{"task": "classification", "backbone": backbone, "dataset": "fashion", "methods": methods}]
    with pytest.raises(ConfigError) as caught:
        load(raw)
    heading, line = str(caught.value).splitlines()
    assert heading == "invalid config:"
    return line.strip()


RATIO, FACTOR = {"merge_ratio": [0.5]}, {"downsample_factor": [16]}


@pytest.mark.parametrize(
    ("backbone", "settings", "message"),
    [
        (
            "mini_dit",
            {"blocks": [1, 2, 99]},
            "backbones.mini_dit.blocks: [1, 2, 99] is not allowed: there is no self-attention at block 99; allowed are "
            "0 to 5",
        ),
        (
            "mini_unet",
            {"levels": [7]},
            "backbones.mini_unet.levels: [7] is not allowed: there is no self-attention at level 7; allowed are 0 to 1",
        ),
        (
            "mini_unet",
            {"blocks": [1, 2]},
            "backbones.mini_unet.blocks: [1, 2] is not allowed: a U-Net has no block numbers: its blocks are chosen by "
            "`levels` (0 to 1; 0 is the highest resolution)",
        ),
        (
            "mini_dit",
            {"levels": [0], "blocks": None},
            "backbones.mini_dit.levels: [0] is not allowed: a DiT has one resolution and no levels: its blocks are "
            "chosen by `blocks` (0 to 5)",
        ),
        (
            "mini_dit",
            {"blocks": []},
            "backbones.mini_dit.blocks: [] is not allowed: no block is chosen; allowed are 0 to 5",
        ),
        (
            "mini_dit",
            {"blocks": [1, 2, 1]},
            "backbones.mini_dit.blocks: [1, 2, 1] is not allowed: block 1 is repeated; allowed are 0 to 5, each once",
        ),
        ("mini_unet", {"levels": [-1]}, "backbones.mini_unet.levels.0: -1 is not allowed; must be at least 0"),
    ],
)
@pytest.mark.parametrize("methods", [["none"], ["none", "tome"]])
def test_places_of_a_backbone_are_named(raw, backbone, settings, methods, message):
    assert refusal(raw, backbone, methods, RATIO, **settings) == message


@pytest.mark.parametrize(
    ("backbone", "method", "message"),
    [
        (
            "mini_dit",
            "bigain_td~blocks-1+99",
            "cells.0.methods: bigain_td~blocks-1+99 on mini_dit: there is no self-attention at block 99; allowed are 0 "
            "to 5",
        ),
        (
            "mini_unet",
            "bigain_td~levels-2",
            "cells.0.methods: bigain_td~levels-2 on mini_unet: there is no self-attention at level 2; allowed are 0 to "
            "1",
        ),
        (
            "mini_unet",
            "bigain_td~blocks-1",
            "cells.0.methods: bigain_td~blocks-1 on mini_unet: a U-Net has no block numbers: its blocks are chosen by "
            "`levels` (0 to 1; 0 is the highest resolution)",
        ),
        (
            "mini_dit",
            "bigain_td~levels-0",
            "cells.0.methods: bigain_td~levels-0 on mini_dit: a DiT has one resolution and no levels: its blocks are "
            "chosen by `blocks` (0 to 5)",
        ),
        (
            "mini_dit",
            "tome@sa+ca",
            "cells.0.methods: tome@sa+ca on mini_dit: a DiT has no cross-attention to merge around; allowed are sa and "
            "mlp",
        ),
        *(
            (
                "mini_unet",
                f"bigain_td~levels-{text}",
                f"cells.0.methods: bigain_td~levels-{text}: levels cannot be {text!r}: allowed are whole numbers from "
                "0 in ascending order, each once, joined by +",
            )
            for text in ("", "-1", "1+1", "0+")
        ),
    ],
)
def test_places_of_a_methods_id_are_named(raw, backbone, method, message):
    assert refusal(raw, backbone, [method], {"downsample_factor": [2], **RATIO}) == message


def test_every_level_of_the_backbone_has_to_reach_a_strength(raw):
    line = refusal(raw, "mini_unet", ["bigain_td"], FACTOR, levels=[0, 1])
    assert line == (
        "strengths.downsample_factor: 16 is not reachable by bigain_td at level 1 of mini_unet: downsample factor 16 "
        "does not fit a 8x8 grid: allowed are 1 to 8"
    )
    raw["backbones"]["mini_unet"]["levels"] = [0]
    assert load(raw)


def test_a_strength_that_removes_no_token_is_named(raw):
    raw["strengths"]["merge_ratio"] = [0.5, 0.003]
    with pytest.raises(ConfigError, match=r"merge_ratio: 0\.003 does nothing on mini_unet: .* 0\.004 is the smallest"):
        load(raw)


def test_a_strength_of_a_cell_entry_is_named_by_its_key(raw):
    raw["backbones"]["mini_unet"]["levels"] = [0, 1]
    raw["cells"] = [
        {"task": "classification", "backbone": "mini_unet", "dataset": "fashion", "methods": ["tome~cell-16x16"]}
        | {"strengths": {"merge_ratio": [0.3]}}
    ]
    with pytest.raises(ConfigError, match=r"cells\.0\.strengths\.merge_ratio: 0\.3 is not reachable .* at level 1 of"):
        load(raw)


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        *(("transformer", {"num_layers": value}) for value in (0, -1, 1.5, True, "6", None, 10**9)),
        *(("unet", {"down_block_types": value}) for value in (None, [], "DownBlock2D", [1])),
    ],
)
def test_a_config_file_that_describes_no_model_is_named(root, tmp_path, file, settings):
    name = {"unet": "mini-unet", "transformer": "mini-dit"}[file]
    write_json(tmp_path / file / "config.json", read_json(root / f"resources/{name}/{file}/config.json") | settings)
    family = {"unet": "unet", "transformer": "dit"}[file]
    with pytest.raises(WeightsError, match=rf"{file}/config\.json: {next(iter(settings))}"):
        denoiser_of({"family": family, "path": str(tmp_path), "hub": None, "architecture": None})
