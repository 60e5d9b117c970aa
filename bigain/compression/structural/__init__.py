"""Methods that change the model instead of its tokens: DiP-GO and MosaicDiff, the structural baselines of Table 1.

They are calibrated first, on images of a training split; `attach` reads the calibration's file.
"""

from __future__ import annotations

from pathlib import Path

from diffusers import ModelMixin

from bigain.compression.hooks import TimestepHook
from bigain.compression.structural.artefact import Calibration
from bigain.compression.structural.operations import check_family
from bigain.compression.structural.phases import PhaseHook, PhaseSubnets
from bigain.compression.structural.reuse import PassedGatesHook, ReusedSteps, gated_blocks_of
from bigain.methods.method import Method


def attach(denoiser: ModelMixin, method: Method, file: Path | str, hook: str) -> ReusedSteps | PhaseSubnets:
    """Attach a calibrated method to a model, with hooks of the name `hook`.

    Raises ValueError if the file is not a calibration of this method for this model.
    """
    check_family(denoiser)
    calibration = Calibration.load(file, method.id)
    if method.operator == "mosaicdiff":
        subnets = PhaseSubnets(method, denoiser, calibration)
        subnets.handles = PhaseHook(subnets).put_on(denoiser)
        return subnets
    blocks = gated_blocks_of(denoiser)
    if blocks.names != calibration.about["blocks"]:
        raise ValueError(f"{file} is for a model with blocks {calibration.about['blocks']}, not {blocks.names}")
    steps = ReusedSteps(method, blocks, calibration)
    steps.handles = TimestepHook(steps.begin, denoiser).put_on(denoiser) + PassedGatesHook(steps.gates).put_on(denoiser)
    steps.gates.put_on(hook)
    return steps


__all__ = ["Calibration", "PhaseSubnets", "ReusedSteps", "attach"]
