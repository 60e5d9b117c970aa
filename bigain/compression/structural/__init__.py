"""Methods that change the model, not its tokens: DiP-GO and MosaicDiff, the structural baselines of Table 1.

They are calibrated first, on images of a training split; what the calibration found is a file that `attach` reads.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from diffusers import ModelMixin
from diffusers.hooks import HookRegistry

from bigain.compression.structural.artefact import Calibration
from bigain.compression.structural.reuse import ReusedSteps, StepHook, blocks_of
from bigain.compression.structural.stages import StageHook, StageSubnets
from bigain.methods.method import Method


def attach(denoiser: ModelMixin, method: Method, calibration: Path | str, hook: str) -> ReusedSteps | StageSubnets:
    """Put a calibrated method on a model, under the hook name `hook`.

    Raises ValueError if the file is no calibration of this method for this model.
    """
    found = Calibration.load(calibration, method.id)
    registry = HookRegistry.check_if_exists_or_initialize(denoiser)
    if method.operator == "mosaicdiff":
        subnets = StageSubnets(method, denoiser, found)
        registry.register_hook(StageHook(subnets), hook)
        return subnets
    blocks = blocks_of(denoiser)
    if blocks.names != found.about["blocks"]:
        raise ValueError(f"{calibration} is for a model with blocks {found.about['blocks']}, not {blocks.names}")
    steps = ReusedSteps(method, blocks, found)
    place = list(inspect.signature(type(denoiser).forward).parameters).index("timestep") - 1  # less self
    registry.register_hook(StepHook(steps, place), hook)
    steps.gates.put_on(hook)
    return steps


__all__ = ["Calibration", "ReusedSteps", "StageSubnets", "attach"]
