"""Time the classification engine and merging on Stable Diffusion 2.0's architecture, which needs a GPU.

Half precision, random weights (they take as long as trained ones), latents of 64x64, for merging of 96x96 and 128x128
too. Beside seconds stand operations a second, and their share of what the datasheet promises for dense half precision.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from diffusers import EulerDiscreteScheduler, UNet2DConditionModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench import reference_loop
from bench.attention import ARMS, forward, guided, ours, tomesd_07
from bench.rounds import ROUNDS, Row, compare
from bigain.backbones.unet import StableDiffusion, memory_format
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Uncompressed
from bigain.jobs.common import missing_compiler
from bigain.measure.flops import PROMPT_TOKENS, architecture

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "RTX 4090": 165e12}  # operations a second, dense, half
IMAGES, CLASSES, TRIALS, BATCH = 4, 37, 4, 148  # four batches in the engine, forty in the plain loop
GUIDED = 8  # four images, both halves of guidance
SIDES = (64, 96, 128)  # of latents: 512, 768 and 1,024 pixels


class RandomStableDiffusion(StableDiffusion):
    """A U-Net of Stable Diffusion's kind with random weights, and no other part of a pipeline."""

    denoiser = None
    scheduler = None

    def __init__(self, name: str, device: str, dtype: torch.dtype) -> None:
        self.name, self.device, self.dtype = name, torch.device(device), dtype
        torch.manual_seed(0)
        with self.device:
            unet = UNet2DConditionModel.from_config(architecture(name).config).eval()
        self.denoiser = unet.to(self.device, dtype).to(memory_format=memory_format(self.device, dtype))
        self.scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")

    def __str__(self) -> str:
        return f"{self.name}, {str(self.dtype).removeprefix('torch.')}"

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        config = self.denoiser.config
        return config.in_channels, config.sample_size, config.sample_size

    def prompts(self, count: int) -> Tensor:
        """Random embeddings of so many prompts."""
        shape = (count, PROMPT_TOKENS, self.denoiser.config.cross_attention_dim)
        return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def sd2_classification() -> list[Row]:
    """`classification` of the true architecture on a GPU."""
    return classification(RandomStableDiffusion("sd2", "cuda", torch.bfloat16))


def sd2_attention() -> list[Row]:
    """`attention` of the true architecture on a GPU, at every size."""
    backbone = RandomStableDiffusion("sd2", "cuda", torch.bfloat16)
    return [row for side in SIDES for row in attention(backbone, side)]


def classification(backbone: RandomStableDiffusion, rounds: int = ROUNDS) -> list[Row]:
    """Rows of the plain loop and of the engine, eager and compiled."""
    arms = {"reference loop": _reference(backbone), "engine": _engine(backbone)}
    worked = {arm: operations(run) for arm, run in arms.items()}
    if missing_compiler(backbone.device) is None:
        fast = copy.deepcopy(backbone)
        fast.denoiser.compile(dynamic=False)
        arms["engine, compiled"] = _engine(fast)
        worked["engine, compiled"] = worked["engine"]  # the compiler changes how, not what
    case = f"{backbone}, {IMAGES} images, {CLASSES} classes, {TRIALS} trials"
    return [with_rate(row, worked[row["arm"]]) for row in compare("classification", case, arms, rounds)]


def attention(backbone: RandomStableDiffusion, side: int, rounds: int = ROUNDS) -> list[Row]:
    """Rows of a guided forward pass of latents of so many rows and columns under token methods and tomesd, over no
    compression: SDPA, eager and compiled."""
    rows = []
    for kind, compiled in (("SDPA", False), ("SDPA, compiled", True)):
        if compiled and missing_compiler(backbone.device) is not None:
            continue
        arms = {name: arm(backbone, side, name, compiled) for name in (*ARMS, "tomesd")}
        with torch.inference_mode():
            rows += compare(f"{kind} attention", f"{backbone}, batch {GUIDED}, {side}x{side}", arms, rounds)
        del arms  # with its copies of the model
    return rows


def arm(backbone: RandomStableDiffusion, side: int, name: str, compiled: bool) -> Callable[[], object]:
    """A guided forward pass under a token method or tomesd."""
    given = guided(backbone, backbone.prompts(1), GUIDED, (side, side))
    return forward(backbone, given, tomesd_07 if name == "tomesd" else ours(name, ARMS[name]), compiled)


def operations(run: Callable[[], object]) -> int:
    """The floating-point operations of one call: matrix products, convolutions, attention."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def with_rate(row: Row, worked: int) -> Row:
    """A row with its operations a second, and their share of the device's peak; None where that is not known."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    peak = next((peak for part, peak in PEAKS.items() if part in name), None)
    rate = worked / row["seconds"]
    return {**row, "teraflops": rate / 1e12, "share_of_peak": None if peak is None else rate / peak}


def _inputs(backbone: RandomStableDiffusion) -> tuple[Tensor, list[int], Tensor, ClassificationSettings]:
    latents = torch.randn(IMAGES, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    return (
        latents,
        list(range(IMAGES)),
        backbone.prompts(CLASSES),
        ClassificationSettings(Stages((TRIALS,), (1,)), 0, BATCH),
    )


def _reference(backbone: RandomStableDiffusion) -> Callable[[], object]:
    given = _inputs(backbone)
    return lambda: reference_loop.classify(backbone, *given)


def _engine(backbone: RandomStableDiffusion) -> Callable[[], object]:
    given = _inputs(backbone)
    return lambda: classify_images(backbone, *given, Uncompressed())
