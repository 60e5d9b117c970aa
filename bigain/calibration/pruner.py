"""DiP-GO's trained pruner: a small network of queries that learns, through whole runs, which gates may close."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from tqdm import trange

from bigain.calibration.data import CalibrationData
from bigain.calibration.runs import Run
from bigain.compression.structural.reuse import Gates
from bigain.core.rng import numpy_generator, torch_generator

WIDTH = 64  # of a query; the released pruner uses 512 for models a thousand times the size of the embedded ones
IMAGES = 2  # per update
MINIMUM_KEPT = 0.2  # share of operations kept, below which the loss no longer asks for fewer


class Pruner(nn.Module):
    """One query per (step, block), an attention layer among the queries of a step, and one three-layer perceptron per
    query that ends in logits of (reuse, run). Initially everything runs."""

    def __init__(self, steps: int, blocks: int, generator: torch.Generator) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(steps, blocks, WIDTH))
        self.encoder = nn.TransformerEncoderLayer(
            WIDTH, nhead=4, dim_feedforward=2 * WIDTH, dropout=0, batch_first=True
        )
        count = steps * blocks
        self.layers = nn.ParameterList([torch.empty(count, WIDTH, WIDTH) for _ in range(2)])
        self.last = nn.Parameter(torch.zeros(count, WIDTH, 2))
        self.bias = nn.Parameter(torch.tensor([-1.0, 1.0]).repeat(count, 1))
        for parameter in (self.queries, *self.encoder.parameters(), *self.layers):
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=WIDTH**-0.5, generator=generator)

    def forward(self) -> Tensor:
        """Return the logits [steps, blocks, 2] of (reuse, run)."""
        steps, blocks, _ = self.queries.shape
        x = self.encoder(self.queries).flatten(0, 1).unsqueeze(1)
        for layer in self.layers:
            x = torch.relu(x @ layer)
        return (x @ self.last).squeeze(1).add(self.bias).unflatten(0, (steps, blocks))


def reuse_probabilities(
    run_of: Callable[[CalibrationData], Run],
    data: CalibrationData,
    gates: Gates,
    costs: list[int],
    updates: int,
    seed: int,
) -> Tensor:
    """Train a pruner for `updates` steps of SGD (learning rate 0.1, cosine); return its probabilities of reuse
    [P, blocks].

    An update runs `IMAGES` images of the data. The loss is the relative squared error of the gated run's outcome plus
    the share of the blocks' operations that is kept, the latter dropped below `MINIMUM_KEPT`. Gradients flow through
    the whole run, and through the gates by a straight-through argmax.
    """
    run = run_of(data.part(range(IMAGES)))
    pruner = Pruner(len(run.timesteps), len(costs), torch_generator(seed, "pruner"))
    share = torch.tensor([[rows * cost for cost in costs] for rows in run.rows], dtype=torch.float64)
    share = (share / share.sum()).float()
    optimizer = torch.optim.SGD(pruner.parameters(), lr=0.1, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for update in trange(updates, desc="pruner"):
        batch = numpy_generator(seed, "pruner images", update).permutation(len(data.ids))[:IMAGES]
        run = run_of(data.part(batch.tolist()))
        with torch.no_grad():
            plain = _outcome(run, gates, torch.ones_like(share))
        soft = pruner().softmax(dim=-1)[..., 1]
        keep = (soft >= 0.5).float() + soft - soft.detach()
        kept = (keep * share).sum()
        loss = (_outcome(run, gates, keep) - plain).square().mean() / plain.square().mean()
        if kept >= MINIMUM_KEPT:
            loss = loss + kept
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    gates.mix, gates.cache = None, {}
    with torch.no_grad():
        return pruner().softmax(dim=-1)[..., 0]


def _outcome(run: Run, gates: Gates, keep: Tensor) -> Tensor:
    """Return the outcome of a run under gates [P, blocks], 1 to run, 0 to reuse; at its start all blocks run."""
    gates.idle = frozenset()
    x, predictions = run.start(), []
    for position, start in enumerate(run.starts):
        gates.cache = {} if start else gates.cache
        gates.mix = keep[position]
        predictions.append(run.predict(position, x))
        x = run.advance(position, x, predictions[-1])
    return run.outcome(x, predictions).float()
