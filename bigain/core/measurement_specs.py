"""Specs of what is measured on a backbone: operations and seconds, probes of tokens, spectra and margins."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from bigain.core.specs import BackboneSpec, CodeVersions, DatasetSpec, MethodDefinition


class EfficiencySpec(TypedDict):
    """`bigain efficiency`: FLOPs and seconds of a forward pass under every method and strength."""

    backbone: BackboneSpec
    arms: list[tuple[str, float | int | None, str | None]]  # method, strength, file of its calibration (lists in JSON)
    definitions: dict[str, MethodDefinition]
    batch: int  # rows of a timed forward pass
    rounds: int  # times that every arm takes its turn
    methods_from: NotRequired[list[str]]  # as in a cell's jobs
    threads: int
    code: CodeVersions


class ProbeSpec(TypedDict):
    """Keys shared by the probes of a model."""

    backbone: BackboneSpec
    dataset: DatasetSpec
    definitions: dict[str, MethodDefinition]
    methods_from: NotRequired[list[str]]  # as in a cell's jobs
    images: int  # how many are probed
    seed: int
    threads: int
    code: CodeVersions


class TokenMapsSpec(ProbeSpec):
    """`bigain probe-tokens`: saliency of tokens and masks of merged tokens (Figures 2 and 3)."""

    methods: list[str]
    ratio: float  # merge ratio
    timestep: int
    draws: int  # noises that the saliency averages over


class SpectrumSpec(ProbeSpec):
    """`bigain probe-spectrum`: class differences by frequency band (Theorem 1)."""

    arms: list[tuple[str, float | int | None]]  # method and strength, the uncompressed model first (lists in JSON)
    batch: int  # rows of a forward pass
    timesteps: int  # per image, on an even grid
    bands: int  # frequency bands of the latent grid


class MarginSettings(TypedDict):
    """Settings of all measurements of margins."""

    batch: int  # rows of a forward pass
    timesteps: int  # per image, on an even grid
    bands: int  # frequency bands of the latent grid
    noises: int  # per image and timestep


class ArmMarginsSpec(ProbeSpec, MarginSettings):
    """`bigain probe-margins`: margins to the hardest wrong class by frequency band, with repeated noise, of an arm."""

    method: str
    strength: float | int | None


class MarginsSpec(ProbeSpec, MarginSettings):
    """`bigain collect-margins`: the margins of all arms in one table."""

    arms: list[tuple[str, float | int | None]]  # as in SpectrumSpec
