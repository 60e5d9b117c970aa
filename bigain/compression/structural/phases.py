"""A model whose heads and neurons depend on the timestep: MosaicDiff's subnets, one per phase of denoising."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from bigain.compression import capture, checkpoints
from bigain.compression.attachment import Attachment, RowKey
from bigain.compression.hooks import Args, Hook, Kwargs, named_arguments
from bigain.compression.structural import operations
from bigain.compression.structural.artefact import Calibration
from bigain.compression.structural.layers import layers_of, pruned
from bigain.methods.method import Method


class PhaseSubnets(Attachment):
    """MosaicDiff attached to a model: the pruned layers of every phase of denoising.

    The model's own layers stay untouched and are in place between forward passes.
    """

    sites = ()

    def __init__(self, method: Method, denoiser: ModelMixin, calibration: Calibration) -> None:
        self.method = method
        self.denoiser, self.about = denoiser, calibration.about
        self.boundaries = torch.tensor(calibration.about["boundaries"])
        layers = {layer.name: layer for layer in layers_of(denoiser, context=0)}
        if list(layers) != calibration.about["layers"]:
            raise ValueError(f"the calibration is for a model with layers {calibration.about['layers']}")
        tensors = calibration.tensors
        self.phases: list[dict[str, nn.Module]] = []
        for phase in range(len(self.boundaries) + 1):
            modules = {}
            for name, layer in layers.items():
                like, key = layer.output.weight, f"{phase}.{name}"
                bias = tensors[f"{key}.bias"].to(like) if f"{key}.bias" in tensors else None
                modules[name] = pruned(layer.module, tensors[f"{key}.units"], tensors[f"{key}.weight"].to(like), bias)
            self.phases.append(modules)
        self.units = {name: layer.units for name, layer in layers.items()}
        self.kept = [{name: len(tensors[f"{p}.{name}.units"]) for name in layers} for p in range(len(self.phases))]

    @contextmanager
    def installed(self, phase: int) -> Iterator[None]:
        """Put a phase's layers into the model, and the model's own back afterwards."""
        originals = {name: self.denoiser.get_submodule(name) for name in self.units}
        try:
            for name, module in self.phases[phase].items():
                self.denoiser.set_submodule(name, module)
            yield
        finally:
            for name, module in originals.items():
                self.denoiser.set_submodule(name, module)

    def phase_of(self, t: Tensor) -> Tensor:
        """Return the phase of every timestep: 0 is the one next to the image."""
        return torch.bucketize(t.contiguous(), self.boundaries.to(t.device), right=True)

    def operations(self, phase: int, condition: Tensor) -> int:
        """Count the operations of a forward pass with a phase's subnet; the model is on the meta device."""
        with self.installed(phase):
            return operations.by_module(self.denoiser, condition)[""]

    def set_rows(self, keys: Sequence[RowKey], seeds: Tensor | None = None) -> None:
        """Ignore the rows: nothing is drawn."""

    def report(self) -> list[dict[str, Any]]:
        """Return, for every layer and phase, its units (heads or neurons) and how many of them are kept."""
        bounds = [0, *self.boundaries.tolist(), 1000]
        return [
            {
                "block": name,
                "grid": f"t {bounds[phase]} to {bounds[phase + 1] - 1}",
                "tokens": units,
                "kept": self.kept[phase][name],
                "keys": self.kept[phase][name],
                "unit": "neuron" if name.endswith(".ff") else "head",
            }
            for name, units in self.units.items()
            for phase in range(len(self.phases))
        ]

    def visits(self) -> list[tuple[float, float]]:
        """Return a timestep of every phase, with the phase's share of all timesteps."""
        bounds = [0, *self.boundaries.tolist(), 1000]
        return [((low + high) / 2, (high - low) / 1000) for low, high in pairwise(bounds)]

    def __str__(self) -> str:
        return (
            f"mosaicdiff: {self.about['reached_percent']:.2f}% fewer operations with {len(self.phases)} subnets of "
            f"{len(self.units)} layers"
        )


@dataclass
class SplitBatch:
    """A batch of several phases: its rows [n] by phase, and its arguments, of all rows."""

    rows: dict[int, Tensor]
    arguments: dict[str, Any]

    def arguments_of(self, phase: int) -> dict[str, Any]:
        """Return the arguments for the rows of a phase."""
        batch = sum(map(len, self.rows.values()))
        return {name: _rows(value, self.rows[phase], batch) for name, value in self.arguments.items()}


class PhaseHook(Hook):
    """On the model: runs every row of a batch through the subnet of its phase.

    The first phase runs in the call itself and the others after it. The hook does not replace the model's `forward`,
    since offloading would put that back.
    """

    ends_failed = True

    def __init__(self, attachment: PhaseSubnets) -> None:
        self.attachment = attachment
        self.installed: ExitStack | None = None  # the layers of the phase that runs
        self.split: SplitBatch | None = None

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Install the first phase's layers and select its rows.

        Raises ValueError under gradient checkpoints, and where the pass is recorded as a graph.
        """
        checkpoints.refuse(module, self.attachment.method.id)
        capture.refuse(self.attachment.method.id)
        arguments = named_arguments(module, args, kwargs)
        batch = len(next(iter(arguments.values())))
        phases = self.attachment.phase_of(torch.as_tensor(arguments["timestep"]).flatten()).expand(batch)
        rows = {phase: (phases == phase).nonzero().flatten() for phase in phases.unique().tolist()}
        self.split = SplitBatch(rows, arguments)
        self._install(min(rows))
        return (), self.split.arguments_of(min(rows)) if len(rows) > 1 else arguments

    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> Any:
        """Run the other phases, put the model's own layers back, and return all rows in their order.

        Without an output the first phase has failed.
        """
        self._uninstall()
        split, self.split = self.split, None
        if output is None or split is None or len(split.rows) == 1:
            return None
        first, *others = sorted(split.rows)
        outputs = [output]
        for phase in others:
            with self.attachment.installed(phase):
                outputs.append(module.forward(**split.arguments_of(phase)))
        order = torch.cat([split.rows[phase] for phase in (first, *others)]).argsort()
        if isinstance(output, tuple):
            return (torch.cat([part[0] for part in outputs])[order],)
        return type(output)(sample=torch.cat([part.sample for part in outputs])[order])

    def _install(self, phase: int) -> None:
        self._uninstall()
        self.installed = ExitStack()
        self.installed.enter_context(self.attachment.installed(phase))

    def _uninstall(self) -> None:
        if self.installed is not None:
            self.installed.close()
            self.installed = None


def _rows(value: Any, rows: Tensor, batch: int) -> Any:
    """Select rows of every tensor that has one row per sample; leave other values alone."""
    if isinstance(value, dict):
        return {key: _rows(entry, rows, batch) for key, entry in value.items()}
    if isinstance(value, Tensor) and value.ndim and len(value) == batch:
        return value[rows.to(value.device)]
    return value
