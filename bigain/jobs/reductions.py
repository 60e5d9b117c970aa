"""Refuse reductions of operations that a structural method cannot be calibrated to, before the job that would."""

from __future__ import annotations

import torch
from diffusers import ModelMixin

from bigain.backbones.base import Backbone
from bigain.calibration import dip_go, mosaicdiff
from bigain.calibration.limits import refuse_above
from bigain.calibration.runs import Steps, classification_steps, sampling_steps
from bigain.classifier.timesteps import Stages
from bigain.compression.structural import operations
from bigain.compression.structural.layers import layers_of
from bigain.compression.structural.reuse import gated_blocks_of
from bigain.core.prompts import encoders_in, stated_limits
from bigain.core.specs import CalibrateSpec
from bigain.datasets import load as load_dataset
from bigain.jobs.calibrate import encoded
from bigain.jobs.common import backbone_of
from bigain.measure.flops import architecture, condition_of
from bigain.methods.ids import method_of

MOMENTS = (0.0, *torch.logspace(-2, 2, 200).tolist())  # E[x_0^2] of latents, which autoencoders scale to about 1
MARGIN = 0.98  # of the least limit at these, for values in between


def check_reduction(spec: CalibrateSpec) -> None:
    """Raise ValueError naming the largest reduction if that of a calibration is above it.

    Operations are counted on the meta device. Where the latents decide how much MosaicDiff can save, the images are
    encoded as its calibration encodes them.
    """
    method, reduction = method_of(spec["method"]), spec["reduction"]
    assert reduction is not None, "the config has strengths for its structural methods"
    backbone = backbone_of({**spec["backbone"], "device": "auto"})
    model = architecture(str(backbone.path))
    if method.operator == "mosaicdiff":
        largest = _largest_of_mosaicdiff(spec, backbone, model, reduction)
    else:
        counted = operations.by_module(model, condition_of(model, _tokens(backbone)))
        steps = _steps(spec)
        largest = dip_go.largest_reduction(steps.starts, steps.rows, gated_blocks_of(model), counted)
    refuse_above(largest, reduction, method.id)


def _largest_of_mosaicdiff(spec: CalibrateSpec, backbone: Backbone, model: ModelMixin, reduction: float) -> float:
    """Return the largest reduction, or a smaller one that any latents reach, if that is enough for `reduction`."""
    tokens = _tokens(backbone)
    layers = layers_of(model, tokens or 0)
    total = operations.by_module(model, condition_of(model, tokens))[""]
    bounds = (0, *method_of(spec["method"]).options["boundaries"], len(backbone.alphas_bar))

    def largest(latents: torch.Tensor) -> float:
        return mosaicdiff.largest_reduction(backbone.alphas_bar, latents, bounds, layers, total)

    certain = MARGIN * min(largest(torch.tensor(moment).sqrt()) for moment in MOMENTS)
    if reduction <= certain:
        return certain
    return largest(encoded(backbone, load_dataset(spec["dataset"]).first(spec["images"])))


def _tokens(backbone: Backbone) -> int | None:
    """Return the tokens of a prompt of a U-Net, None of a DiT."""
    limits = stated_limits(backbone.path, encoders_in(backbone.path, backbone.family))
    return limits[0] if limits else None


def _steps(spec: CalibrateSpec) -> Steps:
    """Return the steps of the run whose blocks DiP-GO's gates close."""
    protocol = spec["protocol"]
    if "stages" in protocol:
        stages = Stages(tuple(protocol["stages"]), tuple(protocol["keep"]))
        return classification_steps(stages, len(load_dataset(spec["dataset"]).prompts))
    return sampling_steps([float(step) for step in range(protocol["steps"])])
