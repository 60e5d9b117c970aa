"""Running a model whose heads and neurons depend on the timestep: the subnets of MosaicDiff, one a stage."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.hooks import ModelHook
from torch import Tensor, nn

from bigain.compression.attachment import Attachment, RowKey
from bigain.compression.structural import operations
from bigain.compression.structural.artefact import Calibration
from bigain.compression.structural.layers import layers_of, pruned
from bigain.methods.method import Method


class StageSubnets(Attachment):
    """The pruned layers of every stage, and where in the model they belong. The model's own layers stay untouched and
    are in place between forward passes."""

    sites = ()

    def __init__(self, method: Method, denoiser: ModelMixin, calibration: Calibration) -> None:
        self.method = method
        self.denoiser, self.about = denoiser, calibration.about
        self.boundaries = torch.tensor(calibration.about["boundaries"])
        layers = {layer.name: layer for layer in layers_of(denoiser, context=0)}
        if list(layers) != calibration.about["layers"]:
            raise ValueError(f"the calibration is for a model with layers {calibration.about['layers']}")
        self.stages: list[dict[str, nn.Module]] = []
        for stage in range(len(self.boundaries) + 1):
            modules = {}
            for name, layer in layers.items():
                own = {part: calibration.tensors.get(f"{stage}.{name}.{part}") for part in ("units", "weight", "bias")}
                place = layer.output.weight
                bias = None if own["bias"] is None else own["bias"].to(place)
                modules[name] = pruned(layer.module, own["units"], own["weight"].to(place), bias)
            self.stages.append(modules)
        self.units = {name: layer.units for name, layer in layers.items()}
        self.kept = [{n: len(calibration.tensors[f"{s}.{n}.units"]) for n in layers} for s in range(len(self.stages))]

    @contextmanager
    def installed(self, stage: int) -> Iterator[None]:
        """Put a stage's layers into the model, and the model's own back afterwards."""
        own = {name: self.denoiser.get_submodule(name) for name in self.units}
        try:
            for name, module in self.stages[stage].items():
                self.denoiser.set_submodule(name, module)
            yield
        finally:
            for name, module in own.items():
                self.denoiser.set_submodule(name, module)

    def stage_of(self, t: Tensor) -> Tensor:
        """The stage of every timestep: 0 is the one next to the image."""
        return torch.bucketize(t.contiguous(), self.boundaries.to(t.device), right=True)

    def operations(self, stage: int, condition: Tensor) -> int:
        """Operations of a forward pass with a stage's subnet; for a model on the meta device."""
        with self.installed(stage):
            return operations.by_module(self.denoiser, condition)[""]

    def set_rows(self, keys: Sequence[RowKey]) -> None:
        """Nothing is drawn at random here."""

    def report(self) -> list[dict[str, Any]]:
        """Every layer and stage: its units (heads or neurons) and how many of them are kept."""
        bounds = [0, *self.boundaries.tolist(), 1000]
        return [
            {
                "block": name,
                "grid": f"t {bounds[stage]} to {bounds[stage + 1] - 1}",
                "tokens": units,
                "kept": self.kept[stage][name],
                "keys": self.kept[stage][name],
                "unit": "neuron" if name.endswith(".ff") else "head",
            }
            for name, units in self.units.items()
            for stage in range(len(self.stages))
        ]

    def visits(self) -> list[tuple[float, float]]:
        """A timestep of every stage, and the stage's share of all timesteps."""
        bounds = [0, *self.boundaries.tolist(), 1000]
        return [((low + high) / 2, (high - low) / 1000) for low, high in pairwise(bounds)]

    def __str__(self) -> str:
        return (
            f"mosaicdiff: {self.about['reached_percent']:.2f}% fewer operations with {len(self.stages)} subnets of "
            f"{len(self.units)} layers"
        )


class StageHook(ModelHook):
    """On the model: every part of the batch runs through the subnet of its stage."""

    def __init__(self, attachment: StageSubnets) -> None:
        super().__init__()
        self.attachment = attachment
        self.signature = inspect.signature(type(attachment.denoiser).forward)

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        bound = self.signature.bind(module, *args, **kwargs).arguments
        del bound["self"]
        x = next(iter(bound.values()))
        stages = self.attachment.stage_of(torch.as_tensor(bound["timestep"]).flatten()).expand(len(x))
        outputs: list[tuple[Tensor, Any]] = []
        for stage in stages.unique().tolist():
            rows = (stages == stage).nonzero().flatten()
            part = {name: _rows(value, rows, len(x)) for name, value in bound.items()}
            with self.attachment.installed(stage):
                outputs.append((rows, self.fn_ref.original_forward(**part)))
        if len(outputs) == 1:
            return outputs[0][1]
        order = torch.cat([rows for rows, _ in outputs]).argsort()
        if isinstance(outputs[0][1], tuple):
            return (torch.cat([output[0] for _, output in outputs])[order],)
        return type(outputs[0][1])(sample=torch.cat([output.sample for _, output in outputs])[order])


def _rows(value: Any, rows: Tensor, batch: int) -> Any:
    """The rows of whatever has a row for every sample."""
    if isinstance(value, dict):
        return {key: _rows(one, rows, batch) for key, one in value.items()}
    if isinstance(value, Tensor) and value.ndim and len(value) == batch:
        return value[rows.to(value.device)]
    return value
