"""Time the classification engine and token methods on Stable Diffusion 2.0's and DiT-XL/2's architectures.

Half precision and random weights (which take as long as trained ones), on a GPU. The engine's seconds come with
operations per second and their shares of a measured matrix product and of the datasheet's value for dense half
precision; a method's speed-up comes with its bound.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench import reference_loop
from bench.architectures import RandomBackbone, RandomDiT, RandomStableDiffusion
from bench.attention import ARMS, forward, guided, ours, tomesd_07
from bench.ceilings import SIDE, product
from bench.classification import engine
from bench.operators import captured
from bench.rounds import ROUNDS, Row, compare, runnable
from bigain.backbones.devices import missing_compiler
from bigain.classifier.classify import ClassificationSettings, Classifier
from bigain.classifier.timesteps import Stages

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "RTX 4090": 165e12}  # operations per second, dense, half
GUIDED = 8  # rows of a forward pass: four images, both halves of guidance
SIDES = (64, 96, 128)  # of latents: 512, 768 and 1,024 pixels
TIMED = (
    *("none", "tome_fixed", "bigain_tm", "bigain_tm_cached", "bigain_tm_block"),
    *("todo", "bigain_td", "tomesd"),
)

# Bounds of the speed-up in counted operations, SD 2.0's over those that remain if compressing costs nothing: merging at
# 0.7 and 2x fewer keys and values, by the latents' side. And the speed-ups that this project aims at.
BOUNDS = {64: (1.16, 1.12), 96: (1.32, 1.24), 128: (1.52, 1.39)}
GOALS = {64: (1.10, 1.08), 96: (1.25, 1.18), 128: (1.40, 1.30)}
ENGINE_GOALS = (3.0, 0.4)  # times the plain loop's speed; share of the measured product


@dataclass(frozen=True)
class Work:
    """Work on which the classifier is timed: four batches in the engine, forty in the plain loop."""

    images: int = 4
    classes: int = 37
    trials: int = 4
    batch: int = 148
    product_side: int = SIDE  # of the matrices whose product is the ceiling

    def __str__(self) -> str:
        return f"{self.images} images, {self.classes} classes, {self.trials} trials"


def sd2_classification() -> Iterator[Row]:
    """`classification` of Stable Diffusion 2.0 on a GPU, also compiled."""
    backbone = RandomStableDiffusion("sd2", "cuda", torch.bfloat16)
    yield from classification(backbone)
    yield from compiled_classification(backbone)


def dit_classification() -> Iterator[Row]:
    """`classification` of DiT-XL/2 on a GPU, also compiled."""
    backbone = RandomDiT("dit_xl2", "cuda", torch.bfloat16)
    yield from classification(backbone)
    yield from compiled_classification(backbone)


def sd2_attention() -> Iterator[Row]:
    """`attention` of Stable Diffusion 2.0 on a GPU, at every size, eager and compiled."""
    backbone = RandomStableDiffusion("sd2", "cuda", torch.bfloat16)
    for side in SIDES:
        yield from attention(backbone, side)
        if missing_compiler(backbone.device) is None:
            yield from attention(backbone, side, compiler="inductor")


def classification(backbone: RandomBackbone, work: Work | None = None, rounds: int = ROUNDS) -> Iterator[Row]:
    """Yield rows of the plain loop and of the engine, and on a GPU of a single forward pass of the engine, eager and as
    a CUDA graph."""
    work = work or Work()
    ceiling = product(backbone.dtype, backbone.device, work.product_side)
    case = f"{backbone}, {work}"
    with engine(copy.deepcopy(backbone), *_inputs(backbone, work)) as (classifier, run):
        arms = {"reference loop": _reference(backbone, work), "engine": run}
        worked = {arm: operations(run) for arm, run in arms.items()}
        for row in compare("classification", case, arms, rounds):
            yield with_rate(row, worked[row["arm"]], ceiling)
        if backbone.device.type == "cuda":
            yield from forward_pass(classifier, f"{backbone}, batch {work.batch}", ceiling, rounds)


def forward_pass(classifier: Classifier, case: str, ceiling: float, rounds: int) -> list[Row]:
    """Return the timing of a forward pass on the engine's last batch, eager and as a CUDA graph."""
    opened, backbone = classifier.engine, classifier.engine.backbone
    with torch.inference_mode():
        x_t = torch.randn(opened.batch_size, *backbone.latent_shape, dtype=backbone.dtype, device=backbone.device)
        t = torch.full((opened.batch_size,), 500, device=backbone.device)
        eager = partial(backbone.predict_noise, x_t, t, opened.conditions[opened.prefix.classes])
        worked, graph = operations(eager), captured(eager)
        arms: dict[str, Callable[[], object]] = {"eager": eager}
        if graph is not None:
            arms["CUDA graph"] = graph
        rows = compare("forward pass of the engine", case, arms, rounds)
    return [with_rate(row, worked, ceiling) for row in rows]


def compiled_classification(
    backbone: RandomBackbone, work: Work | None = None, rounds: int = ROUNDS, compiler: str = "inductor"
) -> Iterator[Row]:
    """Yield a row of the compiled engine over the eager one, on a GPU also of the engine compiled to CUDA graphs;
    nothing without a compiler."""
    if missing_compiler(backbone.device) is not None:
        return
    work = work or Work()
    ceiling = product(backbone.dtype, backbone.device, work.product_side)
    arms = {"engine, compiled": "default", "engine, compiled to CUDA graphs": "reduce-overhead"}
    inputs = _inputs(backbone, work)
    for arm, mode in arms.items():
        if mode == "default" or backbone.device.type == "cuda":
            fast = copy.deepcopy(backbone)
            fast.denoiser.compile(dynamic=False, backend=compiler, mode=mode)
            with engine(backbone, *inputs) as (_, eager), engine(fast, *inputs) as (_, run):
                rows = compare("classification, compiled", f"{backbone}, {work}", {"engine": eager, arm: run}, rounds)
                worked = operations(eager)  # a compiler does not change the operations
            yield with_rate(rows[1], worked, ceiling)


def attention(
    backbone: RandomBackbone,
    side: int,
    rounds: int = ROUNDS,
    compiler: str | None = None,
    names: tuple[str, ...] = TIMED,
) -> Iterator[Row]:
    """Yield rows of a guided forward pass at a size of the latents under token methods and tomesd, over no compression:
    with SDPA, eager, on a GPU also as CUDA graphs, or compiled. An arm that fails has a note."""
    case = f"{backbone}, batch {GUIDED}, {side}x{side}"
    kind = "SDPA attention" if compiler is None else "SDPA attention, compiled"
    builders = {name: partial(arm, backbone, side, name, compiler) for name in names if installed(name)}
    with torch.inference_mode():
        arms, notes = runnable(kind, case, builders)
        rows = [*compare(kind, case, arms, rounds), *notes]
    yield from (with_bound(row, side) for row in rows)
    if compiler is not None or backbone.device.type != "cuda":
        return
    with torch.inference_mode():
        graphs = {name: captured(run) for name, run in arms.items()}
        replays = {name: replay for name, replay in graphs.items() if replay is not None}
        rows = compare("SDPA attention, CUDA graph", case, replays, rounds) if "none" in replays else []
    yield from (with_bound(row, side) for row in rows)


def installed(name: str) -> bool:
    """Return whether an arm can run: tomesd is optional."""
    return name != "tomesd" or importlib.util.find_spec("tomesd") is not None


def arm(backbone: RandomBackbone, side: int, name: str, compiler: str | None = None) -> Callable[[], object]:
    """Return a guided forward pass under a token method or tomesd."""
    inputs = guided(backbone, backbone.conditions_of(1), GUIDED, (side, side))
    return forward(backbone, inputs, tomesd_07 if name == "tomesd" else ours(name, ARMS[name]), compiler)


def with_bound(row: Row, side: int) -> Row:
    """Return an arm's row with the bound of its speed-up, and with its goal, if any."""
    strength = {"ratio": 0.7} if row["arm"] == "tomesd" else ARMS[row["arm"]]
    if not strength or side not in BOUNDS:
        return row
    place = 0 if "ratio" in strength else 1
    goal = {"goal": GOALS[side][place]} if row["arm"] in ("bigain_tm", "bigain_td") else {}
    return {**row, "bound": BOUNDS[side][place], **goal}


def operations(run: Callable[[], object]) -> int:
    """Count the floating-point operations of one call: matrix products, convolutions, attention."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def with_rate(row: Row, worked: int, ceiling: float | None = None) -> Row:
    """Return a row with its operations per second, and their shares of the device's peak and of a measured ceiling;
    None if unknown."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    peak = next((peak for part, peak in PEAKS.items() if part in name), None)
    rate = worked / row["seconds"]
    shares = {name: rate / of if of else None for name, of in (("share_of_peak", peak), ("share_of_product", ceiling))}
    return {**row, "teraflops": rate / 1e12, **shares}


def _inputs(backbone: RandomBackbone, work: Work) -> tuple[Tensor, list[int], Tensor, ClassificationSettings]:
    latents = torch.randn(work.images, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    settings = ClassificationSettings(Stages((work.trials,), (1,)), 0, work.batch)
    return latents, list(range(work.images)), backbone.conditions_of(work.classes), settings


def _reference(backbone: RandomBackbone, work: Work) -> Callable[[], object]:
    inputs = _inputs(backbone, work)
    return lambda: reference_loop.classify(backbone, *inputs)
