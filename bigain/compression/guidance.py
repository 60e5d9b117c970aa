"""The guidance of the previous step, read from the batches of classifier-free guidance that a model runs."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bigain.compression.hooks import Args, Hook, Kwargs, named_arguments
from bigain.compression.token_attachment import TokenAttachment

INPUTS = ("sample", "hidden_states")  # names of the latents among a denoiser's arguments
CONDITIONS = ("encoder_hidden_states", "class_labels")
WITHOUT_GRAPH = "bigain: the guidance of the step before belongs to a batch and a timestep that are read on the host"


class Step(NamedTuple):
    """Record of a guided step for the next: its timestep, its conditions, and `size` |eps_c - eps_0| [B, H, W].

    `descended`: its run has come down from a higher timestep.
    """

    t: float
    conditions: list[Tensor]
    size: Tensor
    descended: bool


class GuidanceHook(Hook):
    """On the model: hands each pass |eps_c - eps_0| of the previous step, and keeps that of this step for the next.

    A batch is guided if its second half repeats the latents of the first, which all differ, under other conditions. A
    step at a higher timestep than the previous one begins a run and gets no guidance. A step at the same timestep
    continues a run that has come down to it, as the second evaluations of Heun and PNDM do; otherwise it begins a run.
    All steps of a run have the same conditions. A step that would continue a run under other conditions is an error
    and not a new run: if two runs took turns, every step would begin a run, and none would ever get guidance. Runs
    under equal conditions cannot be told apart: they must not take turns, and none may begin at or below the timestep
    at which another stopped.
    """

    def __init__(self, attachment: TokenAttachment) -> None:
        self.attachment = attachment
        self._of_thread = threading.local()  # `last` step

    def __getstate__(self) -> TokenAttachment:
        """Return what a copy inherits: no step of any thread."""
        return self.attachment

    def __setstate__(self, attachment: TokenAttachment) -> None:
        GuidanceHook.__init__(self, attachment)

    @torch.compiler.disable(reason=WITHOUT_GRAPH)
    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Give the pass the guidance of the previous step.

        Raises ValueError for a batch that is not guided, and for rows or conditions that differ from the previous
        step's.
        """
        arguments = named_arguments(module, args, kwargs)
        latents, forward_pass = _latents(arguments), self.attachment.forward_pass
        if latents.device.type == "meta":  # a count of operations, which does not depend on guidance
            return
        given = self.attachment.given_guidance
        if given is not None:
            self._check_rows(given, latents)
            forward_pass.guidance = given
            return
        conditions = _conditions(arguments)
        self._check_guided(latents, conditions)
        t, last = self._timestep(arguments), self._last
        if last is not None and _goes_on(last, t):
            self._check_rows(last.size, latents)
            self._check_conditions(last, t, conditions)
            forward_pass.guidance = last.size

    @torch.compiler.disable(reason=WITHOUT_GRAPH)
    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
        """Keep the guidance of this step, with its timestep and conditions."""
        arguments = named_arguments(module, args, kwargs)
        latents = _latents(arguments)
        if latents.device.type == "meta" or self.attachment.given_guidance is not None:
            return
        prediction = output[0] if isinstance(output, tuple) else output.sample
        halves = prediction.detach()[:, : latents.shape[1]].float().chunk(2)  # without a learned variance
        size = (halves[1] - halves[0]).abs().mean(dim=1).repeat(2, 1, 1)
        conditions = [condition.clone() for condition in _conditions(arguments)]  # callers may write into theirs
        t, last = self._timestep(arguments), self._last
        descended = last is not None and _goes_on(last, t)
        self._of_thread.last = Step(t, conditions, size, descended)

    @property
    def _last(self) -> Step | None:
        return getattr(self._of_thread, "last", None)

    def _timestep(self, arguments: dict[str, Any]) -> float:
        """Return the timestep of a pass. Raises ValueError if its rows have several."""
        values = set(torch.as_tensor(arguments["timestep"]).flatten().tolist())
        if len(values) != 1:
            raise ValueError(f"{self._id} needs one timestep for the whole batch, not {sorted(values)}")
        return values.pop()

    @property
    def _id(self) -> str:
        return self.attachment.method.id

    def _check_rows(self, size: Tensor, latents: Tensor) -> None:
        if len(size) != len(latents) or size.shape[1:] != latents.shape[2:]:
            raise ValueError(
                f"{self._id}: the guidance of the step before is of {len(size)} rows of {tuple(size.shape[1:])}, the "
                f"batch has {len(latents)} rows of {tuple(latents.shape[2:])}: sample the same images at every step"
            )

    def _check_conditions(self, last: Step, t: float, conditions: list[Tensor]) -> None:
        if len(conditions) != len(last.conditions) or not all(map(torch.equal, conditions, last.conditions)):
            raise ValueError(
                f"{self._id}: the step at t = {t:g} has other conditions than the one before at t = {last.t:g}, so the "
                "two are of different runs, and the guidance of one is not the other's: finish each run before the "
                "next (a run that begins at a lower timestep than another ended needs the method applied anew), or "
                "pass the guidance to attachment.give_guidance(eps_c - eps_0)"
            )

    def _check_guided(self, latents: Tensor, conditions: list[Tensor]) -> None:
        """Raise ValueError unless the halves of a batch are certain to be the two sides of guidance."""
        count = len(latents) // 2
        halves = len(latents) == 2 * count and torch.equal(latents[:count], latents[count:])
        different = len(latents[:count].flatten(1).unique(dim=0)) == count
        guided = any(_differ(condition, count) for condition in conditions if len(condition) == 2 * count)
        if not (halves and different and guided):
            raise ValueError(
                f"{self._id} reads the guidance eps_c - eps_0 of the step before, but this batch of {len(latents)} "
                "rows is not a guided pair: each latent twice, all others different, first under one condition and "
                "then under another. Turn on classifier-free guidance in a single batch, or pass the guidance to "
                "attachment.give_guidance(eps_c - eps_0)"
            )


def _goes_on(last: Step, t: float) -> bool:
    """Return whether a step at timestep t belongs to the run of the `last` step."""
    return t < last.t or (t == last.t and last.descended)


def _latents(arguments: dict[str, Any]) -> Tensor:
    latents: Tensor = next(arguments[name] for name in INPUTS if name in arguments)
    return latents


def _conditions(arguments: dict[str, Any]) -> list[Tensor]:
    return [arguments[name] for name in CONDITIONS if arguments.get(name) is not None]


def _differ(condition: Tensor, count: int) -> bool:
    """Return whether the k-th rows of both halves have different conditions, for every k."""
    first, second = condition.view(2, count, -1)
    return bool((first != second).any(dim=1).all())
