"""The training loop of all embedded models: seeded, resumable, logged, with an exponential moving average (EMA).

Batches are drawn from generators keyed by (seed, purpose, step), so a run that was stopped and resumed from its
checkpoint sees the same batches as an uninterrupted run.
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
    """Hyperparameters of a training run: linear warm-up, constant learning rate, linear decay to zero."""

    steps: int
    batch_size: int
    learning_rate: float  # of AdamW
    muon_learning_rate: float = 0.0  # of the weights in `train`'s `matrices`
    warmup: int = 300
    decay_fraction: float = 0.3  # last fraction of the steps, over which the learning rate falls to zero
    ema_decay: float = 0.9995
    weight_decay: float = 0.0
    checkpoint_every: int = 250

    def rate(self, step: int) -> float:
        """Return the learning rate of a step as a fraction of the recipe's."""
        left = (self.steps - step) / (self.decay_fraction * self.steps)
        return min((step + 1) / self.warmup, 1.0, left)


STATE_KEYS = {torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"), Muon: ("momentum_buffer",)}  # per weight
LOG_HEADER = ["step", "samples", "loss", "learning_rate", "seconds"]


@dataclass(frozen=True)
class TrainingState:
    """Everything a checkpoint holds; tensors by name."""

    parameters: dict[str, nn.Parameter]
    buffers: dict[str, Tensor]  # the running averages of batch norm
    average: dict[str, Tensor]  # EMA of the parameters
    optimizers: list[torch.optim.Optimizer]

    def save(self, path: Path, step: int, seconds: float) -> None:
        """Write a checkpoint, whole or not at all."""
        tensors = {f"buffer.{name}": buffer for name, buffer in self.buffers.items()}
        for name, parameter in self.parameters.items():
            tensors[f"weight.{name}"] = parameter.detach()
            tensors[f"average.{name}"] = self.average[name]
            for optimizer in self.optimizers:
                for key, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"{key}.{name}"] = torch.as_tensor(value)
        with whole_file(path) as temporary:
            metadata = {"progress": json.dumps({"step": step, "seconds": seconds})}
            save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata=metadata)

    def load(self, path: Path) -> tuple[int, float]:
        """Load a checkpoint, if there is one; return the steps and seconds behind it."""
        if not path.exists():
            return 0, 0.0
        with safe_open(path, "pt") as stored:
            progress = json.loads(stored.metadata()["progress"])
            for name, buffer in self.buffers.items():
                buffer.copy_(stored.get_tensor(f"buffer.{name}"))
            for name, parameter in self.parameters.items():
                parameter.data.copy_(stored.get_tensor(f"weight.{name}"))
                self.average[name].copy_(stored.get_tensor(f"average.{name}"))
            for optimizer in self.optimizers:
                keys = STATE_KEYS[type(optimizer)]
                trained = {id(parameter) for parameter in optimizer.param_groups[0]["params"]}
                for name, parameter in self.parameters.items():
                    if id(parameter) in trained:
                        optimizer.state[parameter] = {key: stored.get_tensor(f"{key}.{name}") for key in keys}
        return progress["step"], progress["seconds"]


def train(
    model: nn.Module,
    recipe: Recipe,
    loss_of_step: Callable[[int], Tensor],
    folder: Path,
    matrices: Collection[str] = (),
) -> dict[str, Tensor]:
    """Train `model` in place; return the averaged weights (EMA) by parameter name.

    `loss_of_step(step)` draws the batch of a step and returns its mean loss. `folder` receives `log.csv` and
    `checkpoint.safetensors` (weights, buffers, optimiser states, average), from which a run resumes. The weights named
    in `matrices` are trained with Muon (Jordan et al. 2024), all others with AdamW.
    """
    parameters = dict(model.named_parameters())
    average = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizers = _optimizers(parameters, recipe, matrices)
    state = TrainingState(parameters, dict(model.named_buffers()), average, optimizers)
    checkpoint, log = folder / "checkpoint.safetensors", folder / "log.csv"
    start, seconds_before = state.load(checkpoint)
    rows = _read_log(log, start)
    began, losses = time.monotonic(), []
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
        losses.append(loss.item())
        done = step + 1
        if done % recipe.checkpoint_every == 0 or done == recipe.steps:
            seconds = seconds_before + time.monotonic() - began
            mean = sum(losses) / len(losses)
            rate = recipe.learning_rate * recipe.rate(step)
            rows.append([str(done), str(done * recipe.batch_size), f"{mean:.6f}", f"{rate:.3e}", f"{seconds:.0f}"])
            losses.clear()
            state.save(checkpoint, done, seconds)
            _write_log(log, rows)
    return average


def _optimizers(
    parameters: dict[str, nn.Parameter], recipe: Recipe, matrices: Collection[str]
) -> list[torch.optim.Optimizer]:
    unknown = set(matrices) - set(parameters)
    if unknown:
        raise KeyError(f"no weights of these names for Muon: {sorted(unknown)}")
    others = [parameter for name, parameter in parameters.items() if name not in matrices]
    adamw = torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay)
    if not matrices:
        return [adamw]
    muon = Muon([parameters[name] for name in matrices], lr=recipe.muon_learning_rate)
    return [adamw, muon]


def _read_log(log: Path, step: int) -> list[list[str]]:
    """Read the rows of a log up to a step."""
    if not log.exists():
        return []
    with open(log, newline="") as handle:
        return [row for row in list(csv.reader(handle))[1:] if int(row[0]) <= step]


def _write_log(log: Path, rows: list[list[str]]) -> None:
    with whole_file(log) as temporary, open(temporary, "w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(LOG_HEADER)
        writer.writerows(rows)
