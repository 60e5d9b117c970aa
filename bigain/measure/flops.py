"""Floating-point operations of one forward pass, counted on the compressed model itself on the meta device (Table 11).

As the paper counts: batch 1, 2 operations per multiply-accumulate, in matrix products, convolutions and attention.
Sorting, gathering, softmax, norms and pooling count nothing, so time is measured separately (`efficiency`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Unpack

import torch
from diffusers import (
    DiTTransformer2DModel,
    FluxTransformer2DModel,
    ModelMixin,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bigain.compression.attach import apply
from bigain.compression.attachment import Attachment
from bigain.compression.structural.operations import forward, latent_side
from bigain.compression.targets import family_of
from bigain.compression.token_attachment import TokenAttachment
from bigain.core.messages import unknown
from bigain.core.prompts import T5_TOKENS, encoders_in, stated_limits
from bigain.methods.ids import method_of, strength_of
from bigain.methods.method import Family, Method
from bigain.methods.options import Options
from bigain.methods.presets import METHODS
from bigain.methods.schedules import Schedule

ARCHITECTURES = Path(__file__).parent / "architectures"
CLASSES = {
    "UNet2DConditionModel": UNet2DConditionModel,
    "DiTTransformer2DModel": DiTTransformer2DModel,
    "SD3Transformer2DModel": SD3Transformer2DModel,
    "FluxTransformer2DModel": FluxTransformer2DModel,
}
# Of CLIP as in the paper, of CLIP and T5, and of T5 alone: the pipelines' defaults.
PROMPT_TOKENS: dict[Family, int] = {"unet": 77, "mmdit": 77 + T5_TOKENS["mmdit"], "flux": T5_TOKENS["flux"]}
# The part that the layers of a block belong to, by family.
PARTS = {
    "unet": {"attn1": "self_attention", "attn2": "cross_attention", "ff": "feed_forward"},
    "dit": {"attn1": "self_attention", "attn2": "cross_attention", "ff": "feed_forward"},
    "mmdit": {"attn": "self_attention", "attn2": "self_attention", "ff": "feed_forward", "ff_context": "feed_forward"},
    "flux": {
        **{"attn": "self_attention", "ff": "feed_forward", "ff_context": "feed_forward"},
        **{"proj_mlp": "feed_forward", "proj_out": "feed_forward"},
    },
}


@dataclass(frozen=True)
class Flops:
    """Operations of one forward pass, by part: means over t = 0 to 999 where they depend on the timestep.

    Joint attention of text and image is self-attention. The output projection of a single-stream block, which reads its
    attention and its MLP, is part of the feed-forward.
    """

    self_attention: float  # of all blocks, compressed or not
    cross_attention: float
    feed_forward: float
    planning: float  # scores and similarities that a method computes
    rest: float
    sparsity: float  # fraction of keys and values that compressed blocks leave out

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return self.self_attention + self.cross_attention + self.feed_forward + self.planning + self.rest

    def as_dict(self) -> dict[str, float]:
        """Return every part and the total in GFLOPs, and the sparsity."""
        parts = {f.name: getattr(self, f.name) / 1e9 for f in fields(self) if f.name != "sparsity"}
        return {**parts, "total": self.total / 1e9, "sparsity": self.sparsity}


def architecture(name: str) -> ModelMixin:
    """Build a model without weights: a name below `architectures/`, or the folder or config file of a diffusers model.

    Raises ValueError if neither exists.
    """
    folder = Path(name)
    configs = (folder / "unet/config.json", folder / "transformer/config.json", folder / "config.json", folder)
    path = next((file for file in (ARCHITECTURES / f"{name}.json", *configs) if file.is_file()), None)
    if path is None:
        known = sorted(file.stem for file in ARCHITECTURES.glob("*.json"))
        raise ValueError(unknown("backbone", name, known) + " Or the folder of a diffusers pipeline.")
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("_class_name") not in CLASSES:
        raise ValueError(f"{path}: _class_name is {config.get('_class_name')!r}; allowed are {', '.join(CLASSES)}")
    with torch.device("meta"):
        return CLASSES[config["_class_name"]].from_config(config).eval()


def prompt_tokens(name: str, model: ModelMixin) -> int | None:
    """Return the tokens of a prompt of SD3 or FLUX in the pipeline folder `name`, by its tokenizers' limits; None for
    anything else, of which `count` knows them."""
    folder, family = Path(name), family_of(model)
    if family not in ("mmdit", "flux") or not (folder / "model_index.json").is_file():
        return None
    encoders = encoders_in(folder, family)
    of_kind = {e.kind: limit for e, limit in zip(encoders, stated_limits(folder, encoders), strict=True)}
    t5 = of_kind.get("T5", T5_TOKENS[family])
    return t5 if family == "flux" else of_kind["CLIP"] + t5


def count(
    model: ModelMixin,
    method_id: str,
    side: int | None = None,
    tokens: int | None = None,
    **options: Unpack[Options],
) -> Flops:
    """Count one forward pass of a model on the meta device under a method; options and errors are those of `apply`.
    `side` is that of the latent, by default the model's own; `tokens` are those of a prompt, by default as many as the
    paper's model or the pipeline reads.

    A strength that depends on the timestep counts as the mean over those at which it is visited. Raises ValueError also
    for a model with weights, and for methods that cannot be counted so: structural ones, and those whose plan depends
    on the image.
    """
    devices = sorted({parameter.device.type for parameter in model.parameters()} - {"meta"})
    if devices:
        raise ValueError(
            f"operations are counted on a model without weights, but this {type(model).__name__} has weights on "
            f"{', '.join(devices)}: build it with bigain.measure.flops.architecture(FOLDER), or pass "
            'copy.deepcopy(model).to("meta")'
        )
    method = method_of(method_id)
    if method.acts_on == "model":
        raise ValueError(f"{method_id} is a structural method, whose calibration says how many operations it saves")
    if family_of(model) == "flux":
        rows = (latent_side(model) if side is None else side) // 2
        options = {**options, "grid": (rows, rows)}
    attachment = apply(model, method, **options)
    attachment.remove()
    if not isinstance(attachment, TokenAttachment):
        return _counted(model, method, options, side, tokens)
    mean = dict.fromkeys((part.name for part in fields(Flops)), 0.0)
    for t, share in attachment.visits():
        flops = _counted(model, *_constant(attachment.schedule, attachment.mode(t), options), side, tokens)
        mean = {part: so_far + share * getattr(flops, part) for part, so_far in mean.items()}
    return Flops(**mean)


def _constant(schedule: Schedule, strength: float | int | None, options: Options) -> tuple[Method, Options]:
    """Return the method and options that have a strength at every timestep; None is no compression."""
    rest: Options = {**options, "timesteps": None, "ratio": None, "threshold": None, "factor": None}
    if strength is None:
        return METHODS["none"], rest
    named = strength_of(schedule.method.id, strength)
    return schedule.constant_method(), {**rest, **named}


def _counted(model: ModelMixin, method: Method, options: Options, side: int | None, tokens: int | None) -> Flops:
    attachment = apply(model, method, **options)
    try:
        with FlopCounterMode(display=False) as counter:
            planning = PlanningCounter(counter, family_of(model))
            if isinstance(attachment, TokenAttachment):
                attachment.planning = planning
            forward(model, condition_of(model, tokens), side)
    finally:
        attachment.remove()
    parts = dict.fromkeys(("self_attention", "cross_attention", "feed_forward"), 0)
    for module, operations in counter.get_flop_counts().items():
        part = _part_of(module, family_of(model))
        if part is not None:
            parts[part] += sum(operations.values())
    parts["self_attention"] -= planning.in_attention
    rest = counter.get_total_flops() - sum(parts.values()) - planning.total
    return Flops(**parts, planning=planning.total, rest=rest, sparsity=_sparsity(attachment))


def _part_of(module: str, family: Family) -> str | None:
    """Return the part that a module's operations count for, if it is a whole layer of a block."""
    path, _, layer = module.rpartition(".")
    return PARTS[family].get(layer) if "blocks." in path else None


class PlanningCounter(FlopCounterMode):
    """Adds up the operations of a method's operator over all the times it is entered, and of these the ones that
    `counter` counts in self-attention, too."""

    def __init__(self, counter: FlopCounterMode, family: Family) -> None:
        super().__init__(display=False)
        self.total = self.in_attention = 0
        self.counter, self.family = counter, family

    def __exit__(self, *error: Any) -> Any:
        result = super().__exit__(*error)
        operations, parents = self.get_total_flops(), self.counter.mod_tracker.parents
        self.total += operations
        if any(_part_of(module, self.family) == "self_attention" for module in parents):
            self.in_attention += operations
        return result


def condition_of(model: ModelMixin, tokens: int | None) -> Tensor:
    """Return a prompt, by default of the paper's or of the pipeline's length, or a class for a DiT."""
    family = family_of(model)
    if family == "dit":
        return torch.zeros(1, dtype=torch.int64, device="meta")
    width = model.config.cross_attention_dim if family == "unet" else model.config.joint_attention_dim
    return torch.empty(1, tokens or PROMPT_TOKENS[family], width, device="meta")


def _sparsity(attachment: Attachment) -> float:
    sites = attachment.sites
    return 1 - sum(site.keys for site in sites) / sum(site.grid.tokens for site in sites) if sites else 0.0
