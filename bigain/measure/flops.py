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
from diffusers import DiTTransformer2DModel, ModelMixin, UNet2DConditionModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bigain.compression.attach import apply
from bigain.compression.attachment import Attachment
from bigain.compression.structural.operations import forward
from bigain.compression.token_attachment import TokenAttachment
from bigain.core.messages import unknown
from bigain.methods.ids import method_of, strength_of
from bigain.methods.method import Method
from bigain.methods.options import Options
from bigain.methods.presets import METHODS
from bigain.methods.schedules import Schedule

ARCHITECTURES = Path(__file__).parent / "architectures"
CLASSES = {"UNet2DConditionModel": UNet2DConditionModel, "DiTTransformer2DModel": DiTTransformer2DModel}
PROMPT_TOKENS = 77  # CLIP's length, as in the paper


@dataclass(frozen=True)
class Flops:
    """Operations of one forward pass, by part: means over t = 0 to 999 where they depend on the timestep."""

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


def count(model: ModelMixin, method_id: str, **options: Unpack[Options]) -> Flops:
    """Count one forward pass of a model on the meta device under a method; options and errors are those of `apply`.

    A strength that depends on the timestep counts as the mean over those at which it is visited. Raises ValueError also
    for methods that cannot be counted so: structural ones, and those whose plan depends on the image.
    """
    method = method_of(method_id)
    if method.acts_on == "model":
        raise ValueError(f"{method_id} is a structural method, whose calibration says how many operations it saves")
    attachment = apply(model, method, **options)
    attachment.remove()
    if not isinstance(attachment, TokenAttachment):
        return _counted(model, method, options)
    mean = dict.fromkeys((part.name for part in fields(Flops)), 0.0)
    for t, share in attachment.visits():
        flops = _counted(model, *_constant(attachment.schedule, attachment.mode(t), options))
        mean = {part: so_far + share * getattr(flops, part) for part, so_far in mean.items()}
    return Flops(**mean)


def _constant(schedule: Schedule, strength: float | int | None, options: Options) -> tuple[Method, Options]:
    """Return the method and options that have a strength at every timestep; None is no compression."""
    rest: Options = {**options, "timesteps": None, "ratio": None, "threshold": None, "factor": None}
    if strength is None:
        return METHODS["none"], rest
    named = strength_of(schedule.method.id, strength)
    return schedule.constant_method(), {**rest, **named}


def _counted(model: ModelMixin, method: Method, options: Options) -> Flops:
    attachment = apply(model, method, **options)
    planning = PlanningCounter()
    if isinstance(attachment, TokenAttachment):
        attachment.planning = planning
    try:
        with FlopCounterMode(display=False) as counter:
            forward(model, _condition(model))
    finally:
        attachment.remove()
    layers = {"attn1": 0, "attn2": 0, "ff": 0}
    for module, operations in counter.get_flop_counts().items():
        layer = module.rsplit(".", 1)[-1]
        if layer in layers:
            layers[layer] += sum(operations.values())
    attention = layers["attn1"] - (planning.total if _plans_inside_attention(attachment) else 0)
    rest = counter.get_total_flops() - attention - layers["attn2"] - layers["ff"] - planning.total
    return Flops(attention, layers["attn2"], layers["ff"], planning.total, rest, _sparsity(attachment))


class PlanningCounter(FlopCounterMode):
    """Adds up the operations of a method's operator over all the times it is entered."""

    def __init__(self) -> None:
        super().__init__(display=False)
        self.total = 0

    def __exit__(self, *error: Any) -> Any:
        result = super().__exit__(*error)
        self.total += self.get_total_flops()
        return result


def _plans_inside_attention(attachment: Attachment) -> bool:
    """Return whether plans are made in attn1, which then counts their operations, too."""
    return isinstance(attachment, TokenAttachment) and (
        attachment.metric_site == "norm1_output" or attachment.method.acts_on == "keys_values"
    )


def _condition(model: ModelMixin) -> Tensor:
    """Return a prompt of the paper's length for a U-Net, a class for a DiT."""
    if isinstance(model, UNet2DConditionModel):
        return torch.empty(1, PROMPT_TOKENS, model.config.cross_attention_dim, device="meta")
    return torch.zeros(1, dtype=torch.int64, device="meta")


def _sparsity(attachment: Attachment) -> float:
    sites = attachment.sites
    return 1 - sum(site.keys for site in sites) / sum(site.grid.tokens for site in sites) if sites else 0.0
