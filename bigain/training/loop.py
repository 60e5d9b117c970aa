"""One training loop for all embedded models: seeded, resumable, logged, with an exponential moving average.

Every batch is drawn from a generator keyed by (seed, purpose, step), so a run that was stopped and resumed from its
checkpoint sees the very batches an undisturbed run sees.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from bigain.core.files import whole_file
from bigain.training.muon import Muon


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train: warm-up, constant learning rate, linear decay to zero at the end."""

    steps: int
    batch_size: int
    learning_rate: float  # of AdamW
    muon_learning_rate: float = 0.0  # of the weights that `train` is told to hand to Muon
    warmup: int = 300
    decay_fraction: float = 0.3  # the last part of the steps, over which the learning rate falls to zero
    ema_decay: float = 0.9995
    weight_decay: float = 0.0
    checkpoint_every: int = 250

    def rate(self, step: int) -> float:
        """Learning rate of one step, as a fraction of the recipe's."""
        left = (self.steps - step) / (self.decay_fraction * self.steps)
        return min((step + 1) / self.warmup, 1.0, left)


Tensors = dict[str, Tensor]
Optimizers = list[torch.optim.Optimizer]


def train(
    model: nn.Module,
    recipe: Recipe,
    loss_of_step: Callable[[int], Tensor],
    folder: Path,
    matrices: Collection[str] = (),
) -> Tensors:
    """Train `model` in place; return the averaged weights (EMA), by parameter name.

    `loss_of_step(step)` draws the batch of that step and returns its mean loss. `folder` receives `log.csv` and
    `checkpoint.safetensors` (weights, buffers, the optimisers' state, average); a run resumes from them. The weights
    named in `matrices` are updated by Muon (Jordan et al. 2024), all others by AdamW.
    """
    parameters = dict(model.named_parameters())
    average = {name: p.detach().clone() for name, p in parameters.items()}
    optimizers = _optimizers(parameters, recipe, matrices)
    checkpoint, log = folder / "checkpoint.safetensors", folder / "log.csv"
    buffers = dict(model.named_buffers())  # the running averages of batch norm
    start, spent = _resume(checkpoint, parameters, buffers, average, optimizers)
    rows = _log_before(log, start)
    began, window = time.monotonic(), []
    for step in tqdm(range(start, recipe.steps), initial=start, total=recipe.steps, desc=folder.name, mininterval=10):
        loss = loss_of_step(step)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = optimizer.defaults["lr"] * recipe.rate(step)
            optimizer.step()
            optimizer.zero_grad()
        decay = min(recipe.ema_decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(average.values()), [p.detach() for p in parameters.values()], 1 - decay)
        window.append(loss.item())
        done = step + 1
        if done % recipe.checkpoint_every == 0 or done == recipe.steps:
            seconds = spent + time.monotonic() - began
            mean = sum(window) / len(window)
            rate = recipe.learning_rate * recipe.rate(step)
            rows.append([done, done * recipe.batch_size, f"{mean:.6f}", f"{rate:.3e}", f"{seconds:.0f}"])
            window.clear()
            _save(checkpoint, done, seconds, parameters, buffers, average, optimizers)
            _write_log(log, rows)
    return average


def _optimizers(parameters: dict[str, nn.Parameter], recipe: Recipe, matrices: Collection[str]) -> Optimizers:
    unknown = set(matrices) - set(parameters)
    if unknown:
        raise KeyError(f"no weights of these names for Muon: {sorted(unknown)}")
    others = [p for name, p in parameters.items() if name not in matrices]
    adamw = torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay)
    if not matrices:
        return [adamw]
    muon = Muon([parameters[name] for name in matrices], lr=recipe.muon_learning_rate)
    return [adamw, muon]


def _save(
    path: Path,
    step: int,
    seconds: float,
    parameters: Tensors,
    buffers: Tensors,
    average: Tensors,
    optimizers: Optimizers,
) -> None:
    tensors = {f"buffer.{name}": buffer for name, buffer in buffers.items()}
    for name, parameter in parameters.items():
        tensors[f"weight.{name}"] = parameter.detach()
        tensors[f"average.{name}"] = average[name]
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{key}.{name}"] = torch.as_tensor(value)
    with whole_file(path) as temporary:
        meta = {"progress": json.dumps({"step": step, "seconds": seconds})}
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata=meta)


def _resume(
    path: Path, parameters: Tensors, buffers: Tensors, average: Tensors, optimizers: Optimizers
) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    with safe_open(path, "pt") as stored:
        progress = json.loads(stored.metadata()["progress"])
        for name, buffer in buffers.items():
            buffer.copy_(stored.get_tensor(f"buffer.{name}"))
        for name, parameter in parameters.items():
            parameter.data.copy_(stored.get_tensor(f"weight.{name}"))
            average[name].copy_(stored.get_tensor(f"average.{name}"))
        for optimizer in optimizers:
            keys = STATE[type(optimizer)]
            for name, parameter in parameters.items():
                if any(parameter is one for one in optimizer.param_groups[0]["params"]):
                    optimizer.state[parameter] = {key: stored.get_tensor(f"{key}.{name}") for key in keys}
    return progress["step"], progress["seconds"]


# what each optimiser remembers of a weight, under its own names
STATE = {torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"), Muon: ("momentum_buffer",)}
LOG_HEADER = ["step", "samples", "loss", "learning_rate", "seconds"]


def _log_before(log: Path, step: int) -> list[list[str]]:
    if not log.exists():
        return []
    with open(log, newline="") as handle:
        return [row for row in list(csv.reader(handle))[1:] if int(row[0]) <= step]


def _write_log(log: Path, rows: list[list]) -> None:
    with whole_file(log) as temporary, open(temporary, "w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(LOG_HEADER)
        writer.writerows(rows)
