"""DiP-GO (Zhu et al. 2024): gates over (step, block); a closed gate reuses the block's output of the step before.

Adapted: without the trained pruner, gates are searched for directly. In classification, where trials are independent,
an image gets one noise for all timesteps, which are visited from high to low in each stage, so that there is an earlier
step. `gates: trained` follows the pruner's procedure (`bigain.calibration.pruner`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from diffusers.hooks import HookRegistry
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.calibration.data import CalibrationData
from bigain.calibration.pruner import reuse_probabilities
from bigain.calibration.runs import Run
from bigain.compression.structural import operations
from bigain.compression.structural.artefact import Calibration
from bigain.compression.structural.reuse import Blocks, Gates, blocks_of, reused_at
from bigain.methods.method import Method

HOOK = "bigain-calibration"


def calibrate(
    backbone: Backbone,
    data: CalibrationData,
    run_of: Callable[[CalibrationData], Run],
    method: Method,
    reduction: float,
    seed: int,
    updates: int,
) -> Calibration:
    """Choose the blocks that reuse, so that `reduction` percent of a run's operations are saved.

    `run_of` makes a run over some of the data. `updates` are those of the trained pruner, if the method asks for it.
    Raises ValueError if the schedule does not allow the reduction.
    """
    run = run_of(data)
    blocks = blocks_of(backbone.denoiser)
    counted = operations.by_module(operations.on_meta(backbone.denoiser), data.conditions)
    costs = [counted[name] for name in blocks.names]
    trainable = [parameter for parameter in backbone.denoiser.parameters() if parameter.requires_grad]
    gates = Gates(blocks)
    gates.put_on(HOOK)
    try:
        if method.options["gates"] == "searched":
            order = by_loss(_losses(run, gates), run, blocks, costs)
        else:
            backbone.denoiser.requires_grad_(False)
            order = by_probability(reuse_probabilities(run_of, data, gates, costs, updates, seed), run)
        reused = fill(order, run, blocks, costs, reduction / 100 * sum(run.rows) * counted[""])
        error = _error(run, gates, reused)
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module in blocks.modules:
            HookRegistry.check_if_exists_or_initialize(module).remove_hook(HOOK, recurse=False)
    about = {
        "method": method.id,
        "reduction_percent": reduction,
        "reached_percent": 100 * _saved(reused, run, blocks, costs) / (sum(run.rows) * counted[""]),
        "relative_error": error,
        "blocks": blocks.names,
        "timesteps": run.timesteps,
        "starts": run.starts,
        "rows": run.rows,
        "operations": counted[""],
    }
    return Calibration({"reused": reused}, about)


@torch.no_grad()
def _losses(run: Run, gates: Gates) -> Tensor:
    """[P, blocks]: the weighted squared error in the noise if that block alone reuses its output of the step before,
    along the uncompressed run. The first step of a run, which has none before it, is infinite."""
    losses = torch.full((len(run.timesteps), len(gates.blocks.names)), torch.inf, dtype=torch.float64)
    x = run.start()
    for position, start in enumerate(run.starts):
        before = dict(gates.cache)
        gates.idle, gates.cache = frozenset(), {}
        eps = run.predict(position, x)
        after = gates.cache
        for block in [] if start else range(losses.shape[1]):
            gates.idle, gates.cache = gates.blocks.idle(frozenset({block})), dict(before)
            error = (run.predict(position, x) - eps).double().square().mean()
            losses[position, block] = run.weights[position] * error
        gates.cache = after
        x = run.advance(position, x, eps)
    return losses


Candidate = tuple[int, int]  # position and block


def by_loss(losses: Tensor, run: Run, blocks: Blocks, costs: list[int]) -> list[Candidate]:
    """Least loss for the operations saved first."""
    saved = [sum(costs[b] for b in blocks.idle(frozenset({block}))) for block in range(len(costs))]
    possible = [(p, b) for p, start in enumerate(run.starts) if not start for b in range(len(costs))]
    return sorted(possible, key=lambda one: (float(losses[one]) / saved[one[1]], one))


def by_probability(probabilities: Tensor, run: Run) -> list[Candidate]:
    """The pruner's own order: above a falling threshold, blocks from output to input, in each the likeliest steps."""
    order: dict[Candidate, None] = {}
    steps = [p for p, start in enumerate(run.starts) if not start]
    for twentieths in range(19, -1, -1):
        for block in reversed(range(probabilities.shape[1])):
            likely = [p for p in steps if probabilities[p, block] >= twentieths / 20]
            for position in sorted(likely, key=lambda p: (-float(probabilities[p, block]), p)):
                order[position, block] = None
    return list(order)


def fill(order: Iterable[Candidate], run: Run, blocks: Blocks, costs: list[int], target: float) -> Tensor:
    """Reuse in this order whatever keeps the saving below `target` operations, and last what reaches it with the least
    excess: [P, blocks] bool. Raises ValueError if all of it saves less."""
    order = list(order)
    reused = torch.zeros(len(run.timesteps), len(costs), dtype=torch.bool)
    saved = 0.0
    for one in order:
        gain = _gain(one, reused, run, blocks, costs)
        if gain > 0 and saved + gain <= target:
            reused[one] = True
            saved += gain
    if saved < target:
        gains = {one: _gain(one, reused, run, blocks, costs) for one in order}
        enough = [one for one in order if saved + gains[one] >= target]
        if not enough:
            raise ValueError(
                f"{target:.3e} operations of a run are to go, but reuse at {len(run.timesteps)} steps reaches only "
                f"{saved:.3e}: ask for a smaller reduction or more steps"
            )
        reused[min(enough, key=lambda one: gains[one])] = True
    return reused


def _gain(one: Candidate, reused: Tensor, run: Run, blocks: Blocks, costs: list[int]) -> int:
    position, block = one
    now = reused_at(reused[position])
    more = blocks.idle(now | {block}) - blocks.idle(now)
    return run.rows[position] * sum(costs[b] for b in more)


def _saved(reused: Tensor, run: Run, blocks: Blocks, costs: list[int]) -> int:
    idle = [blocks.idle(reused_at(row)) for row in reused]
    return sum(rows * sum(costs[b] for b in one) for rows, one in zip(run.rows, idle, strict=True))


@torch.no_grad()
def _error(run: Run, gates: Gates, reused: Tensor) -> float:
    """The relative squared error of the whole run's outcome under these gates."""
    outcomes = []
    for closed in (torch.zeros_like(reused), reused):
        x, predictions = run.start(), []
        for position, start in enumerate(run.starts):
            gates.cache = {} if start else gates.cache
            gates.idle = gates.blocks.idle(reused_at(closed[position]))
            predictions.append(run.predict(position, x))
            x = run.advance(position, x, predictions[-1])
        outcomes.append(run.outcome(x, predictions).double())
    return float((outcomes[1] - outcomes[0]).square().mean() / outcomes[0].square().mean())
