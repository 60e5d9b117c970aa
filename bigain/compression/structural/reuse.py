"""Reusing the output of a block from an earlier step: which blocks a model has, what depends on them, and the gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from bigain.compression.attachment import Attachment, RowKey
from bigain.compression.structural.artefact import Calibration
from bigain.compression.targets import family_of
from bigain.methods.method import Method

Slot = tuple[tuple[int, int | str], ...]


@dataclass(frozen=True)
class Blocks:
    """The blocks that gates act on, in the order of the forward pass.

    A U-Net's are its whole stages (down, middle, up), whose outputs are reused; a DiT's are its transformer blocks, of
    which what they add to their input is reused, because nothing else leads around them. `consumers[b]` are the blocks
    that read block b's output, -1 being the model's own output; a block whose every reader is reused need not run.
    """

    names: list[str]
    modules: list[nn.Module]
    consumers: list[frozenset[int]]
    residual: bool

    def idle(self, reused: frozenset[int]) -> frozenset[int]:
        """The blocks that do not run when `reused` are: these, and those that only they would have read."""
        idle = set(reused)
        for block in reversed(range(len(self.names))):
            if self.consumers[block] <= idle:
                idle.add(block)
        return frozenset(idle)


def blocks_of(model: ModelMixin) -> Blocks:
    """The blocks of a U-Net or DiT."""
    if family_of(model) == "dit":
        modules = list(model.transformer_blocks)
        names = [f"transformer_blocks.{i}" for i in range(len(modules))]
        return Blocks(names, modules, [frozenset({-1})] * len(modules), residual=True)
    downs, ups = list(model.down_blocks), list(model.up_blocks)
    names = [f"down_blocks.{i}" for i in range(len(downs))]
    names += ["mid_block"] + [f"up_blocks.{i}" for i in range(len(ups))]
    middle = len(downs)
    consumers: list[set[int]] = [{i + 1} for i in range(len(names) - 1)] + [{-1}]
    skips = [-1]  # who made each skip connection; conv_in always runs
    for i, down in enumerate(downs):
        skips += [i] * (len(down.resnets) + bool(down.downsamplers))
    for i, up in enumerate(ups):
        for _ in up.resnets:
            producer = skips.pop()
            if producer >= 0:
                consumers[producer].add(middle + 1 + i)
    return Blocks(names, [*downs, model.mid_block, *ups], [frozenset(c) for c in consumers], residual=False)


def reused_at(row: Tensor) -> frozenset[int]:
    """The blocks that are set in one row [blocks] of a table of gates."""
    return frozenset(row.nonzero().flatten().tolist())


@dataclass
class Gates:
    """The state that all blocks' hooks share: who does not run now, and what the blocks returned last."""

    blocks: Blocks
    idle: frozenset[int] = frozenset()
    mix: Tensor | None = None  # [blocks] gates to run (1) or reuse (0), while they are trained
    cache: dict[int, Any] = field(default_factory=dict)

    def put_on(self, name: str) -> None:
        """Register a hook of that name on every block."""
        for number, module in enumerate(self.blocks.modules):
            hook = GateHook(self, number)
            HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, name)


class GateHook(ModelHook):
    """On a block: run it and remember, or give what it returned last."""

    def __init__(self, gates: Gates, number: int) -> None:
        super().__init__()
        self.gates, self.number = gates, number

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        gates, block = self.gates, self.number
        x = args[0] if args else kwargs["hidden_states"]
        if block in gates.idle:
            return x + gates.cache[block] if gates.blocks.residual else gates.cache[block]
        output = self.fn_ref.original_forward(*args, **kwargs)
        kept = output - x if gates.blocks.residual else output
        if gates.mix is not None and block in gates.cache:
            kept = _mixed(gates.mix[block], kept, gates.cache[block])
            output = x + kept if gates.blocks.residual else kept
        gates.cache[block] = kept
        return output


def _mixed(gate: Tensor, new: Any, old: Any) -> Any:
    if isinstance(new, tuple):
        return tuple(_mixed(gate, a, b) for a, b in zip(new, old, strict=True))
    return gate * new + (1 - gate) * old


class ReusedSteps(Attachment):
    """DiP-GO on a model: a schedule of timesteps, visited in order, and the blocks that rest at each.

    `timesteps` [P] fall within a run; a run begins where `starts` is set, with all blocks running.
    Rows of different batches do not share a cache: say what they are with `set_rows`.
    """

    sites = ()

    def __init__(self, method: Method, blocks: Blocks, calibration: Calibration) -> None:
        self.method, self.gates, self.about = method, Gates(blocks), calibration.about
        self.timesteps: list[float] = calibration.about["timesteps"]
        self.starts: list[bool] = calibration.about["starts"]
        self.idle = [blocks.idle(reused_at(row)) for row in calibration.tensors["reused"]]
        self.slot: Slot = ()
        self.stored: dict[Slot, tuple[int, dict[int, Any]]] = {}  # position and outputs of every batch's last step
        self.position = -1

    def set_rows(self, keys: Sequence[RowKey]) -> None:
        """Say what the rows of the coming batch are: outputs are reused between batches of equal rows."""
        self.slot = tuple((key.image, key.condition) for key in keys)

    def begin(self, timestep: Tensor | float) -> None:
        """A forward pass begins. Raises ValueError for timesteps other than those calibrated for, in their order."""
        values = set(torch.as_tensor(timestep).flatten().tolist())
        if len(values) != 1:
            raise ValueError(f"dip_go needs one timestep for the whole batch, not {sorted(values)}")
        t = values.pop()
        position = min(range(len(self.timesteps)), key=lambda p: abs(self.timesteps[p] - t))
        if abs(self.timesteps[position] - t) > 1e-2:
            raise ValueError(f"dip_go was calibrated for timesteps {self.timesteps}, not for {t}")
        if self.starts[position]:
            if position != self.position:
                self.stored.clear()  # another run begins: no batch of the last one comes back
            self.gates.cache = {}
        else:
            last, self.gates.cache = self.stored.get(self.slot, (None, {}))
            if last != position - 1:
                raise ValueError(
                    f"dip_go at t = {t:g} needs the outputs of t = {self.timesteps[position - 1]:g} for the same rows: "
                    "visit the timesteps in their order"
                )
        self.position = position
        self.gates.idle = self.idle[position]
        self.stored[self.slot] = (position, self.gates.cache)

    def report(self) -> list[dict[str, Any]]:
        """Every block: at how many of the steps it runs."""
        steps = len(self.timesteps)
        runs = [sum(block not in idle for idle in self.idle) for block in range(len(self.gates.blocks.names))]
        return [
            {"block": name, "grid": "all steps", "tokens": steps, "kept": count, "keys": count, "unit": "step"}
            for name, count in zip(self.gates.blocks.names, runs, strict=True)
        ]

    def visits(self) -> list[tuple[float, float]]:
        """Every timestep in order, and its share of the noise predictions."""
        rows = self.about["rows"]
        return [(t, count / sum(rows)) for t, count in zip(self.timesteps, rows, strict=True)]

    def __str__(self) -> str:
        lines = [f"{row['block']}: runs at {row['kept']} of {row['tokens']} steps" for row in self.report()]
        return f"dip_go on {len(lines)} blocks\n" + "\n".join(lines)


class StepHook(ModelHook):
    """On the model: sees the timestep."""

    def __init__(self, attachment: ReusedSteps, place: int) -> None:
        super().__init__()
        self.attachment, self.place = attachment, place

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        by_place = args[self.place] if len(args) > self.place else None
        self.attachment.begin(kwargs.get("timestep", by_place))
        return args, kwargs
