"""Find the denoiser of a pipeline: the U-Net or transformer that predicts the noise."""

from __future__ import annotations

import re

from diffusers import DiffusionPipeline, ModelMixin
from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DataParallel, DistributedDataParallel

WRAPPERS = (OptimizedModule, DataParallel, DistributedDataParallel)
NAMES = re.compile(r"(unet|transformer)(_\d+)?")  # of denoisers among a pipeline's components


def denoiser_of(model: nn.Module | DiffusionPipeline) -> ModelMixin:
    """Return the U-Net or transformer of a pipeline, without what torch.compile or data parallelism wraps around it; a
    model is its own denoiser. A ControlNet is not a denoiser.

    Raises TypeError for what is neither a model nor a pipeline, and for a pipeline without a denoiser or with several.
    """
    if isinstance(model, DiffusionPipeline):
        model = _only_denoiser(model)
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{model!r:.60} is not a model: methods compress loaded pipelines of diffusers and their denoisers"
        )
    while isinstance(model, WRAPPERS):
        model = model._orig_mod if isinstance(model, OptimizedModule) else model.module
    return model


def _only_denoiser(pipe: DiffusionPipeline) -> nn.Module:
    present = {name: part for name, part in sorted(pipe.components.items()) if part is not None}
    names, kind = [name for name in present if NAMES.fullmatch(name)], type(pipe).__name__
    if not names:
        raise TypeError(
            f"{kind} has no unet and no transformer, which is what methods compress; it has {', '.join(present)}"
        )
    if len(names) > 1:
        raise TypeError(
            f"{kind} has several denoisers, {' and '.join(names)}: compress each of them by itself, as in "
            + "; ".join(f"bigain.apply(pipe.{name}, ...)" for name in names)
        )
    return present[names[0]]
