"""DiP-GO (Zhu et al. 2024): gates over (step, block); a closed gate reuses the block's output of the previous step.

Adapted: by default the gates are searched for directly; `gates: trained` follows the published procedure
(`bigain.calibration.pruner`). Classification has independent trials and no previous step, so an image gets one noise
for all timesteps, which are visited from high to low in each stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.calibration.data import CalibrationData
from bigain.calibration.limits import refuse_above
from bigain.calibration.pruner import reuse_probabilities
from bigain.calibration.runs import Run
from bigain.compression.structural import operations
from bigain.compression.structural.artefact import Calibration
from bigain.compression.structural.reuse import GatedBlocks, Gates, gated_blocks_of, reused_at
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
    """Choose which blocks reuse at which step, so that `reduction` percent of a run's operations are saved.

    `run_of` makes a run over part of the data. `updates` are the training steps of the pruner, if the method has one.
    Raises ValueError, before anything is predicted, if the schedule does not allow the reduction.
    """
    run = run_of(data)
    blocks = gated_blocks_of(backbone.denoiser)
    counted = operations.by_module(operations.on_meta(backbone.denoiser), data.conditions)
    costs = [counted[name] for name in blocks.names]
    refuse_above(largest_reduction(run.starts, run.rows, blocks, counted), reduction, method.id)
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
        gates.take_off(HOOK)
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
    """Return the weighted squared error in the noise if a block alone reuses its output of the previous step, along the
    uncompressed run: [P, blocks], infinite at the first step of a run."""
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


def largest_reduction(
    starts: Sequence[bool], rows: Sequence[int], blocks: GatedBlocks, counted: Mapping[str, int]
) -> float:
    """Return the largest reduction, in percent: every block reuses its output at every step that has one before it.

    `counted` are the operations of a forward pass by module, `starts` and `rows` a run's.
    """
    idle = sum(counted[blocks.names[b]] for b in blocks.idle(frozenset(range(len(blocks.names)))))
    reusing = sum(count for count, start in zip(rows, starts, strict=True) if not start)
    return 100 * reusing * idle / (sum(rows) * counted[""])


Gate = tuple[int, int]  # position and block


def by_loss(losses: Tensor, run: Run, blocks: GatedBlocks, costs: list[int]) -> list[Gate]:
    """Order gates by loss per operation saved, lowest first."""
    saved = [sum(costs[b] for b in blocks.idle(frozenset({block}))) for block in range(len(costs))]
    possible = [(p, b) for p, start in enumerate(run.starts) if not start for b in range(len(costs))]
    return sorted(possible, key=lambda gate: (float(losses[gate]) / saved[gate[1]], gate))


def by_probability(probabilities: Tensor, run: Run) -> list[Gate]:
    """Order gates as the pruner does: over a falling threshold, blocks from output to input, likeliest steps first."""
    order: dict[Gate, None] = {}
    steps = [p for p, start in enumerate(run.starts) if not start]
    for twentieths in range(19, -1, -1):
        for block in reversed(range(probabilities.shape[1])):
            likely = [p for p in steps if probabilities[p, block] >= twentieths / 20]
            for position in sorted(likely, key=lambda p: (-float(probabilities[p, block]), p)):
                order[position, block] = None
    return list(order)


def fill(order: Iterable[Gate], run: Run, blocks: GatedBlocks, costs: list[int], target: float) -> Tensor:
    """Close gates in this order while the saving stays below `target` operations, and last the gate that reaches it
    with the least excess: [P, blocks] bool. Raises ValueError if all gates together save less."""
    order = list(order)
    reused = torch.zeros(len(run.timesteps), len(costs), dtype=torch.bool)
    saved = 0.0
    for gate in order:
        gain = _gain(gate, reused, run, blocks, costs)
        if gain > 0 and saved + gain <= target:
            reused[gate] = True
            saved += gain
    if saved < target:
        gains = {gate: _gain(gate, reused, run, blocks, costs) for gate in order}
        enough = [gate for gate in order if saved + gains[gate] >= target]
        if not enough:
            raise ValueError(
                f"{target:.3e} operations of a run are to be saved, but reuse at {len(run.timesteps)} steps saves at "
                f"most {saved:.3e}: ask for a smaller reduction or more steps"
            )
        reused[min(enough, key=lambda gate: gains[gate])] = True
    return reused


def _gain(gate: Gate, reused: Tensor, run: Run, blocks: GatedBlocks, costs: list[int]) -> int:
    """Count the operations that closing one more gate saves."""
    position, block = gate
    closed = reused_at(reused[position])
    newly_idle = blocks.idle(closed | {block}) - blocks.idle(closed)
    return run.rows[position] * sum(costs[b] for b in newly_idle)


def _saved(reused: Tensor, run: Run, blocks: GatedBlocks, costs: list[int]) -> int:
    idle = [blocks.idle(reused_at(row)) for row in reused]
    return sum(rows * sum(costs[b] for b in step) for rows, step in zip(run.rows, idle, strict=True))


@torch.no_grad()
def _error(run: Run, gates: Gates, reused: Tensor) -> float:
    """Return the relative squared error of the whole run's outcome under these gates."""
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
