"""The benchmarks' own arithmetic, and that the plain loop they compare with decides what the engine decides."""

import pytest
import torch
import typer

from bench import reference_loop, sd2
from bench.__main__ import GPU_PARTS, main, page
from bench.architectures import RandomDiT, RandomStableDiffusion
from bench.classification import engine
from bench.profile import operators
from bench.rounds import compare, row
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Uncompressed
from bigain.measure.flops import architecture, count
from tests.helpers.tiny import TinyBackbone, latents


def test_a_ratio_is_the_median_over_rounds_of_the_same_round_s_seconds():
    times = [{"a": 2.0, "b": 1.0}, {"a": 30.0, "b": 10.0}, {"a": 4.0, "b": 1.0}]
    result = row("x", "y", "b", "a", times)
    assert (result["seconds"], result["ratio"], result["rounds"]) == (1.0, 3.0, 3)
    assert result["low"] <= 3 <= result["high"]


def test_arms_take_turns_and_nobody_always_goes_first():
    calls = []
    compare("x", "y", {name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"


def test_the_page_holds_every_row():
    rows = [row("x", "case", arm, "a", [{"a": 2.0, "b": 1.0}]) for arm in "ab"]
    machine = {"device": "made up", "threads": 3, "torch": "0"}
    equal = [{"benchmark": "equal decisions", "case": "m", "equal": 4, "of": 5}]
    slow = [{"case": "m", "arm": "a", "operator": "aten::mm", "seconds": 1.5, "share": 0.75, "calls": 6}]
    parts = {"speed": rows, "decisions": equal, "profile": slow}
    text = page({"parts": {name: {"machine": machine, "rows": of} for name, of in parts.items()}})
    assert "| x | case | b | 1.000 | 2.00 | 2.00 to 2.00 | 1 |" in text
    assert "| m | 4 of 5 |" in text
    assert "| m | a | aten::mm | 1.50 | 75% | 6 |" in text
    assert text.count("made up, threads per process: 3") == 3


def test_a_profile_ranks_operators_by_their_own_time_and_loses_none():
    x = torch.ones(600, 600)  # so that a busy machine does not make another operator the slowest
    result = operators(lambda: [(x @ x).relu() for _ in range(4)], on_gpu=False, shown=1)
    assert [row["operator"] for row in result] == ["aten::mm", "all others"]
    assert result[0]["calls"] == 4
    assert sum(row["share"] for row in result) == pytest.approx(1)
    assert result[0]["seconds"] > result[1]["seconds"] / 10 > 0


@pytest.mark.parametrize("family", ["unet", "dit"])
def test_the_plain_loop_runs_the_engine_s_trials(request, family):
    backbone = TinyBackbone(request.getfixturevalue(family), family)
    settings = ClassificationSettings(Stages((2, 4), (3, 1)), seed=0, batch_size=24)
    given = (backbone, latents([4, 9]), [4, 9], backbone.conditions_of(6), settings)
    plain = {(t.image, t.class_index, t.t, t.stage): t.error for t in reference_loop.classify(*given)}
    ours = {(t.image, t.class_index, t.t, t.stage): t.error for t in classify_images(*given, Uncompressed())}
    assert plain.keys() == ours.keys()
    assert torch.tensor([abs(plain[key] - ours[key]) for key in ours]).max() < 1e-5


WORK = sd2.Work(images=1, classes=3, trials=2, batch=6, product_side=64)


@pytest.fixture
def small(root):
    """What only a GPU runs at full size, on a small architecture."""
    return RandomStableDiffusion(str(root / "resources/mini-unet"), "cpu", torch.float32)


def test_classification_counts_the_operations_that_ran(small):
    plain, engine = sd2.classification(small, WORK, rounds=1)
    worked = [row["teraflops"] * row["seconds"] * 1e12 for row in (plain, engine)]
    one = count(architecture(small.name), "none").total
    assert worked[0] == pytest.approx(6 * one)
    assert 0.8 * worked[0] < worked[1] < 0.97 * worked[0]  # the engine shares what the classes have in common
    assert (plain["arm"], engine["arm"], plain["share_of_peak"]) == ("reference loop", "engine", None)
    assert plain["share_of_product"] > 0


def test_a_compiled_engine_is_timed_beside_the_eager_one(root):
    model = RandomDiT(str(root / "resources/mini-dit"), "cpu", torch.float32)
    (row,) = sd2.compiled_classification(model, WORK, rounds=1, compiler="eager")
    assert (row["arm"], row["baseline"]) == ("engine, compiled", "engine")


def test_a_forward_pass_of_the_engine_is_timed_beside_its_graph(small, monkeypatch):
    monkeypatch.setattr(sd2, "captured", lambda run: run)
    conditions = small.conditions_of(3)
    settings = ClassificationSettings(Stages((2,), (1,)), seed=0, batch_size=6)
    with engine(small, torch.randn(1, *small.latent_shape), [0], conditions, settings) as (classifier, run):
        run()
        rows = sd2.forward_pass(classifier, "a batch", 1e12, rounds=1)
    assert [(row["arm"], row["baseline"]) for row in rows] == [("eager", "eager"), ("CUDA graph", "eager")]
    worked = rows[0]["teraflops"] * rows[0]["seconds"] * 1e12
    one = count(architecture(small.name), "none").total
    assert 0.8 * 6 * one < worked < 0.97 * 6 * one  # two of the six rows differ in the prefix


def test_every_method_and_tomesd_run_on_a_model_of_their_own(small):
    before = {name: id(module) for name, module in small.denoiser.named_modules()}
    arms = ("none", "bigain_tm", "tomesd")
    rows = list(sd2.attention(small, 8, rounds=1, names=arms))
    assert [(row["benchmark"], row["arm"]) for row in rows] == [("SDPA attention", arm) for arm in arms]
    assert {name: id(module) for name, module in small.denoiser.named_modules()} == before
    assert not any(hasattr(module, "_diffusers_hook") for module in small.denoiser.modules())


@pytest.mark.parametrize(
    ("arm", "side", "result"),
    [
        ("bigain_tm", 128, {"bound": 1.52, "goal": 1.40}),
        ("bigain_td", 64, {"bound": 1.12, "goal": 1.08}),
        ("tomesd", 96, {"bound": 1.32}),
        ("none", 64, {}),
        ("bigain_tm", 8, {}),
    ],
)
def test_a_speed_up_stands_beside_its_bound(arm, side, result):
    assert sd2.with_bound({"arm": arm}, side) == {"arm": arm, **result}


def test_a_share_of_the_peak_is_of_the_device_that_ran(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    result = sd2.with_rate({"seconds": 2.0}, worked=989 * 10**12, ceiling=800e12)
    assert result == {"seconds": 2.0, "teraflops": 494.5, "share_of_peak": 0.5, "share_of_product": 494.5 / 800}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("part", "message"), [(next(iter(GPU_PARTS)), "needs a GPU"), ("speed", "not a part of the suite")]
)
def test_a_part_that_cannot_run_is_refused(tmp_path, part, message):
    with pytest.raises(typer.BadParameter, match=f"{part} .*{message}.*: allowed are classification"):
        main(tmp_path / "found", [part])
    assert not list(tmp_path.iterdir())


def test_the_gpu_s_models_are_stable_diffusion_2_and_dit_xl_2():
    unet = RandomStableDiffusion("sd2", "meta", torch.bfloat16)
    assert (str(unet), unet.latent_shape, unet.conditions_of(2).shape) == ("sd2, bfloat16", (4, 64, 64), (2, 77, 1024))
    dit = RandomDiT("dit_xl2", "meta", torch.bfloat16)
    assert (str(dit), dit.latent_shape, dit.conditions_of(2).tolist()) == ("dit_xl2, bfloat16", (4, 64, 64), [0, 1])
    weights = [sum(w.numel() for w in model.denoiser.parameters()) / 1e6 for model in (unet, dit)]
    assert [round(millions) for millions in weights] == [866, 750]  # diffusers keeps a class table in every block
