"""One training loop for all embedded models: seeded, resumable, logged, with an exponential moving average.

Every batch is drawn from a generator keyed by (seed, purpose, step), so a run that was stopped and resumed from its
checkpoint sees the very batches an undisturbed run sees.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from bigain.files import whole_file


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train: warm-up, constant learning rate, linear decay to zero at the end."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int = 300
    decay_fraction: float = 0.3  # the last part of the steps, over which the learning rate falls to zero
    ema_decay: float = 0.9995
    weight_decay: float = 0.0
    checkpoint_every: int = 250

    def rate(self, step: int) -> float:
        """Learning rate of one step."""
        left = (self.steps - step) / (self.decay_fraction * self.steps)
        return self.learning_rate * min((step + 1) / self.warmup, 1.0, left)


def train(model: nn.Module, recipe: Recipe, loss_of_step: Callable[[int], Tensor], folder: Path) -> dict[str, Tensor]:
    """Train `model` in place; return the averaged weights (EMA), by parameter name.

    `loss_of_step(step)` draws the batch of that step and returns its mean loss. `folder` receives `log.csv` and
    `checkpoint.safetensors` (weights, buffers, moments, average); a run resumes from them.
    """
    parameters = dict(model.named_parameters())
    average = {name: p.detach().clone() for name, p in parameters.items()}
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
    )
    checkpoint, log = folder / "checkpoint.safetensors", folder / "log.csv"
    buffers = dict(model.named_buffers())  # the running averages of batch norm
    start, spent = _resume(checkpoint, parameters, buffers, average, optimizer)
    rows = _log_before(log, start)
    began, window = time.monotonic(), []
    for step in tqdm(range(start, recipe.steps), initial=start, total=recipe.steps, desc=folder.name, mininterval=10):
        optimizer.param_groups[0]["lr"] = recipe.rate(step)
        loss = loss_of_step(step)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        decay = min(recipe.ema_decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(average.values()), [p.detach() for p in parameters.values()], 1 - decay)
        window.append(loss.item())
        done = step + 1
        if done % recipe.checkpoint_every == 0 or done == recipe.steps:
            seconds = spent + time.monotonic() - began
            mean = sum(window) / len(window)
            rows.append([done, done * recipe.batch_size, f"{mean:.6f}", f"{recipe.rate(step):.3e}", f"{seconds:.0f}"])
            window.clear()
            _save(checkpoint, done, seconds, parameters, buffers, average, optimizer)
            _write_log(log, rows)
    return average


Tensors = dict[str, Tensor]


def _save(
    path: Path,
    step: int,
    seconds: float,
    parameters: Tensors,
    buffers: Tensors,
    average: Tensors,
    optimizer: torch.optim.AdamW,
) -> None:
    tensors = {f"buffer.{name}": buffer for name, buffer in buffers.items()}
    for name, parameter in parameters.items():
        state = optimizer.state.get(parameter, {})
        tensors[f"weight.{name}"] = parameter.detach()
        tensors[f"average.{name}"] = average[name]
        tensors[f"first_moment.{name}"] = state["exp_avg"]
        tensors[f"second_moment.{name}"] = state["exp_avg_sq"]
    with whole_file(path) as temporary:
        meta = {"progress": json.dumps({"step": step, "seconds": seconds})}
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata=meta)


def _resume(
    path: Path, parameters: Tensors, buffers: Tensors, average: Tensors, optimizer: torch.optim.AdamW
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
            optimizer.state[parameter] = {
                "step": torch.tensor(float(progress["step"])),
                "exp_avg": stored.get_tensor(f"first_moment.{name}"),
                "exp_avg_sq": stored.get_tensor(f"second_moment.{name}"),
            }
    return progress["step"], progress["seconds"]


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
