"""Floating-point operations of one forward pass, counted through the real attached model on the meta device (Table 11).

As the paper counts: batch 1, 2 per multiply-accumulate, matrix products, convolutions and attention only. Sorting,
gathering, softmax, norms and pooling are free, so seconds are a separate question.
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

from bigain.compression.attach import apply, remove
from bigain.compression.attachment import Attachment
from bigain.compression.state import TokenAttachment
from bigain.compression.structural.operations import forward
from bigain.core.messages import unknown
from bigain.methods.ids import method_of
from bigain.methods.options import Options

ARCHITECTURES = Path(__file__).parent / "architectures"
CLASSES = {"UNet2DConditionModel": UNet2DConditionModel, "DiTTransformer2DModel": DiTTransformer2DModel}
PROMPT_TOKENS = 77  # CLIP's length, as in the paper


@dataclass(frozen=True)
class Flops:
    """One forward pass by part. `self_attention` is of all blocks, compressed or not; `planning` is what a method adds
    (scores and similarities). `sparsity` is the share of keys and values that compressed blocks do without."""

    self_attention: int
    cross_attention: int
    feed_forward: int
    planning: int
    rest: int
    sparsity: float

    @property
    def total(self) -> int:
        """All parts together."""
        return self.self_attention + self.cross_attention + self.feed_forward + self.planning + self.rest

    def as_dict(self) -> dict[str, float]:
        """Every part and the total, in GFLOPs."""
        parts = {f.name: getattr(self, f.name) / 1e9 for f in fields(self) if f.name != "sparsity"}
        return {**parts, "total": self.total / 1e9, "sparsity": self.sparsity}


def architecture(name: str) -> ModelMixin:
    """A model without weights: a name below `architectures/`, or the folder or config file of a diffusers model.

    Raises ValueError if there is neither.
    """
    path = ARCHITECTURES / f"{name}.json"
    if not path.is_file():
        folder = Path(name)
        candidates = (folder / "unet/config.json", folder / "transformer/config.json", folder / "config.json", folder)
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        known = sorted(file.stem for file in ARCHITECTURES.glob("*.json"))
        raise ValueError(unknown("backbone", name, known) + " Or the folder of a diffusers pipeline.")
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("_class_name") not in CLASSES:
        raise ValueError(f"{path}: _class_name is {config.get('_class_name')!r}; allowed are {', '.join(CLASSES)}")
    with torch.device("meta"):
        return CLASSES[config["_class_name"]].from_config(config).eval()


def count(model: ModelMixin, method_id: str, **options: Unpack[Options]) -> Flops:
    """Count one forward pass of a model on the meta device with a method on it.

    Options and errors are those of `apply`. Raises ValueError for methods of which there is nothing to count:
    structural ones, and those whose plan depends on the image.
    """
    if method_of(method_id).acts_on == "model":
        raise ValueError(f"{method_id} is calibrated to a reduction of operations: its calibration says what it saves")
    at = apply(model, method_id, **options)
    try:
        planning = _Planning(at)
        with FlopCounterMode(display=False) as counter:
            forward(model, _condition(model))
    finally:
        remove(model)
    parts = {"attn1": 0, "attn2": 0, "ff": 0}
    by_module = counter.get_flop_counts()
    for name, operations in by_module.items():
        last = name.rsplit(".", 1)[-1]
        if last in parts:
            parts[last] += sum(operations.values())
    total = counter.get_total_flops()
    attention = parts["attn1"] - planning.inside_attention
    rest = total - attention - parts["attn2"] - parts["ff"] - planning.flops
    return Flops(attention, parts["attn2"], parts["ff"], planning.flops, rest, _sparsity(at))


class _Planning:
    """Counts what the attachment's operator itself computes."""

    def __init__(self, at: Attachment) -> None:
        self.flops = self.inside_attention = 0
        if not isinstance(at, TokenAttachment):
            return
        plan = at.plan

        def counted(site: Any, x: Tensor) -> Any:
            with FlopCounterMode(display=False) as counter:
                result = plan(site, x)
            self.flops += counter.get_total_flops()
            if at.metric_site == "norm1_output" or at.method.acts_on == "keys_values":
                self.inside_attention += counter.get_total_flops()
            return result

        at.plan = counted


def _condition(model: ModelMixin) -> Tensor:
    """A prompt of the paper's length for a U-Net, a class for a DiT."""
    if isinstance(model, UNet2DConditionModel):
        return torch.empty(1, PROMPT_TOKENS, model.config.cross_attention_dim, device="meta")
    return torch.zeros(1, dtype=torch.int64, device="meta")


def _sparsity(at: Attachment) -> float:
    if not at.sites:
        return 0.0
    return 1 - sum(site.keys for site in at.sites) / sum(site.grid.tokens for site in at.sites)
