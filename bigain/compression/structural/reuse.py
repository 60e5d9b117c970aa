"""Reuse of a block's output from an earlier step (DiP-GO): blocks with gates, their dependences, and the gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from bigain.compression import capture, checkpoints
from bigain.compression.attachment import Attachment, RowKey
from bigain.compression.beside import others_on
from bigain.compression.hooks import Args, Hook, Kwargs
from bigain.compression.instances import remove_hook
from bigain.compression.structural.artefact import Calibration
from bigain.compression.structural.operations import check_family
from bigain.compression.targets import blocks_of, family_of
from bigain.methods.method import Method

BatchKey = tuple[tuple[int, int | str], ...]  # image and condition of every row


@dataclass(frozen=True)
class GatedBlocks:
    """The blocks that gates act on, in the order of the forward pass.

    In a U-Net these are its down, middle and up blocks, whose outputs are reused; in a DiT its transformer blocks, of
    which the residual is reused, because nothing else leads around them. `consumers[b]` are the blocks that read block
    b's output, -1 being the model's output; a block all of whose consumers reuse need not run.
    """

    names: list[str]
    modules: list[nn.Module]
    consumers: list[frozenset[int]]
    residual: bool

    def idle(self, reused: frozenset[int]) -> frozenset[int]:
        """Return the blocks that do not run when `reused` are: these, and those that only they would have read."""
        idle = set(reused)
        for block in reversed(range(len(self.names))):
            if self.consumers[block] <= idle:
                idle.add(block)
        return frozenset(idle)


def gated_blocks_of(model: ModelMixin) -> GatedBlocks:
    """Return the blocks of a U-Net or DiT that can reuse their output. Raises ValueError for another family."""
    check_family(model)
    if family_of(model) == "dit":
        blocks = blocks_of(model)
        names, modules = [block.name for block in blocks], [block.module for block in blocks]
        return GatedBlocks(names, modules, [frozenset({-1})] * len(blocks), residual=True)
    downs, ups = list(model.down_blocks), list(model.up_blocks)
    names = [f"down_blocks.{i}" for i in range(len(downs))]
    names += ["mid_block"] + [f"up_blocks.{i}" for i in range(len(ups))]
    middle = len(downs)
    consumers: list[set[int]] = [{i + 1} for i in range(len(names) - 1)] + [{-1}]
    skips = [-1]  # the producer of each skip connection; conv_in, which always runs, is -1
    for i, down in enumerate(downs):
        skips += [i] * (len(down.resnets) + bool(down.downsamplers))
    for i, up in enumerate(ups):
        for _ in up.resnets:
            producer = skips.pop()
            if producer >= 0:
                consumers[producer].add(middle + 1 + i)
    readers = [frozenset(blocks) for blocks in consumers]
    return GatedBlocks(names, [*downs, model.mid_block, *ups], readers, residual=False)


def reused_at(row: Tensor) -> frozenset[int]:
    """Return the blocks that reuse their output, from one row [blocks] of a table of gates."""
    return frozenset(row.nonzero().flatten().tolist())


@dataclass
class Gates:
    """State that the hooks of all blocks share: which blocks are idle now, and what each returned last."""

    blocks: GatedBlocks
    idle: frozenset[int] = frozenset()
    mix: Tensor | None = None  # [blocks] gates, 1 to run and 0 to reuse, while they are trained
    cache: dict[int, Any] = field(default_factory=dict)
    passed: set[int] = field(default_factory=set)  # blocks whose gates the present forward pass has met

    def put_on(self, name: str) -> None:
        """Register a hook of that name on every block."""
        for number, module in enumerate(self.blocks.modules):
            hook = GateHook(self, number)
            HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, name)

    def take_off(self, name: str) -> None:
        """Remove these hooks."""
        for module in self.blocks.modules:
            remove_hook(module, name)


class GateHook(ModelHook):
    """On a block: runs it and caches its output, or returns the cached one."""

    def __init__(self, gates: Gates, number: int) -> None:
        super().__init__()
        self.gates, self.number = gates, number

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        gates, block = self.gates, self.number
        gates.passed.add(block)
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


class PassedGatesHook(Hook):
    """On the model: checks after a forward pass that every block met its gate.

    Whatever replaces a block's `forward`, such as offloading, may silently take the gate off.
    """

    def __init__(self, gates: Gates) -> None:
        self.gates = gates

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Raise ValueError under gradient checkpoints."""
        checkpoints.refuse(module, "dip_go")

    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
        """Raise ValueError naming a block without its gate."""
        names, passed = self.gates.blocks.names, self.gates.passed
        lost = [number for number in range(len(names)) if number not in passed]
        if lost:
            raise ValueError(
                f"dip_go: {names[lost[0]]} ran without its gate, which something else has taken off since: remove the "
                f"method and apply it last; {others_on(module, self.gates.blocks.modules[lost[0]])}"
            )


def _mixed(gate: Tensor, new: Any, old: Any) -> Any:
    if isinstance(new, tuple):
        return tuple(_mixed(gate, a, b) for a, b in zip(new, old, strict=True))
    return gate * new + (1 - gate) * old


class ReusedSteps(Attachment):
    """DiP-GO attached to a model: a schedule of timesteps, visited in order, and the blocks that are idle at each.

    `timesteps` [P] fall within a run; a run begins where `starts` is set, with all blocks running. Every batch has a
    cache of its own, keyed by the rows that `set_rows` names.
    """

    sites = ()

    def __init__(self, method: Method, blocks: GatedBlocks, calibration: Calibration) -> None:
        self.method, self.gates, self.about = method, Gates(blocks), calibration.about
        self.timesteps: list[float] = calibration.about["timesteps"]
        self.starts: list[bool] = calibration.about["starts"]
        self.idle = [blocks.idle(reused_at(row)) for row in calibration.tensors["reused"]]
        self.batch_key: BatchKey = ()
        self.stored: dict[BatchKey, tuple[int, dict[int, Any]]] = {}  # of every batch's last step: position, outputs
        self.position = -1

    def set_rows(self, keys: Sequence[RowKey], seeds: Tensor | None = None) -> None:
        """Tell the method which rows the next batch holds: batches of equal rows reuse each other's outputs."""
        self.batch_key = tuple((key.image, key.condition) for key in keys)

    def begin(self, timestep: Tensor | float | None) -> None:
        """Begin a forward pass.

        Raises ValueError unless the calibrated timesteps are visited in their order, and where the pass is recorded as
        a graph.
        """
        capture.refuse("dip_go")
        values = set(torch.as_tensor(timestep).flatten().tolist())
        if len(values) != 1:
            raise ValueError(f"dip_go needs one timestep for the whole batch, not {sorted(values)}")
        t = values.pop()
        position = min(range(len(self.timesteps)), key=lambda p: abs(self.timesteps[p] - t))
        if abs(self.timesteps[position] - t) > 1e-2:
            raise ValueError(f"dip_go was calibrated for timesteps {self.timesteps}, not for {t}")
        if self.starts[position]:
            if position != self.position:
                self.stored.clear()  # a new run: no batch of the last one comes back
            self.gates.cache = {}
        else:
            last, self.gates.cache = self.stored.get(self.batch_key, (None, {}))
            if last != position - 1:
                raise ValueError(
                    f"dip_go at t = {t:g} needs the outputs of t = {self.timesteps[position - 1]:g} for the same rows: "
                    "visit the timesteps in their order"
                )
        self.position = position
        self.gates.idle = self.idle[position]
        self.gates.passed.clear()
        self.stored[self.batch_key] = (position, self.gates.cache)

    def report(self) -> list[dict[str, Any]]:
        """Return, for every block, at how many of the steps it runs."""
        steps = len(self.timesteps)
        runs = [sum(block not in idle for idle in self.idle) for block in range(len(self.gates.blocks.names))]
        return [
            {"block": name, "grid": "all steps", "tokens": steps, "kept": count, "keys": count, "unit": "step"}
            for name, count in zip(self.gates.blocks.names, runs, strict=True)
        ]

    def visits(self) -> list[tuple[float, float]]:
        """Return every timestep in order, with its share of the noise predictions."""
        rows = self.about["rows"]
        return [(t, count / sum(rows)) for t, count in zip(self.timesteps, rows, strict=True)]

    def __str__(self) -> str:
        lines = [f"{row['block']}: runs at {row['kept']} of {row['tokens']} steps" for row in self.report()]
        return f"dip_go on {len(lines)} blocks\n" + "\n".join(lines)
