"""The guidance of the step before, read from the batches of classifier-free guidance that a model runs."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import torch
from torch import Tensor, nn

from bigain.compression.hooks import Args, Hook, Kwargs
from bigain.compression.token_attachment import TokenAttachment

INPUTS = ("sample", "hidden_states")  # names of the latents among a denoiser's arguments
CONDITIONS = ("encoder_hidden_states", "class_labels")
WITHOUT_GRAPH = "bigain: the guidance of the step before belongs to a batch and a timestep that are read on the host"


class GuidanceHook(Hook):
    """On the model: hands each pass |eps_c - eps_0| of the step before, and keeps its own for the next.

    A batch is guided if its second half repeats the first half's latents, which all differ, under other conditions. A
    step whose timestep is not below the last one begins a run, before which there is no guidance. Batches of several
    runs must not take turns, nor a run begin below the timestep at which another of as many rows stopped: the hook
    would take one run's guidance for the other's.
    """

    def __init__(self, attachment: TokenAttachment) -> None:
        self.attachment = attachment
        self._of_thread = threading.local()  # of the last step: its timestep `t` and its `size` [B, H, W]

    def __getstate__(self) -> TokenAttachment:
        """Return what a copy inherits: no step of any thread."""
        return self.attachment

    def __setstate__(self, attachment: TokenAttachment) -> None:
        GuidanceHook.__init__(self, attachment)

    @torch.compiler.disable(reason=WITHOUT_GRAPH)
    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Give the pass the guidance of the step before.

        Raises ValueError for a batch that is not guided, and for a step of other rows than the one before.
        """
        arguments = _arguments(module, args, kwargs)
        latents, forward_pass = _latents(arguments), self.attachment.forward_pass
        if latents.device.type == "meta":  # where operations are counted, which do not depend on it
            return
        given = self.attachment.given_guidance
        if given is not None:
            self._check_rows(given, latents)
            forward_pass.guidance = given
            return
        self._check_guided(latents, [arguments[name] for name in CONDITIONS if arguments.get(name) is not None])
        t, last = self._timestep(arguments), getattr(self._of_thread, "t", None)
        if last is not None and t < last:
            self._check_rows(self._of_thread.size, latents)
            forward_pass.guidance = self._of_thread.size

    @torch.compiler.disable(reason=WITHOUT_GRAPH)
    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
        """Keep the guidance of this step, with its timestep."""
        arguments = _arguments(module, args, kwargs)
        latents = _latents(arguments)
        if latents.device.type == "meta" or self.attachment.given_guidance is not None:
            return
        prediction = output[0] if isinstance(output, tuple) else output.sample
        halves = prediction.detach()[:, : latents.shape[1]].float().chunk(2)  # without a learned variance
        self._of_thread.t = self._timestep(arguments)
        self._of_thread.size = (halves[1] - halves[0]).abs().mean(dim=1).repeat(2, 1, 1)

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

    def _check_guided(self, latents: Tensor, conditions: list[Tensor]) -> None:
        """Raise ValueError unless both halves of a batch surely are the two sides of guidance."""
        count = len(latents) // 2
        halves = len(latents) == 2 * count and torch.equal(latents[:count], latents[count:])
        different = len(latents[:count].flatten(1).unique(dim=0)) == count
        guided = any(_differ(condition, count) for condition in conditions if len(condition) == 2 * count)
        if not (halves and different and guided):
            raise ValueError(
                f"{self._id} reads the guidance eps_c - eps_0 of the step before, but this batch of {len(latents)} "
                "rows is not a guided pair: each latent twice, all others different, first under one condition and "
                "then under another. Turn on classifier-free guidance in a single batch, or say the guidance with "
                "attachment.give_guidance(eps_c - eps_0)"
            )


def _arguments(module: nn.Module, args: Args, kwargs: Kwargs) -> dict[str, Any]:
    """Return the arguments of a model's forward pass by name."""
    return inspect.signature(type(module).forward).bind_partial(module, *args, **kwargs).arguments


def _latents(arguments: dict[str, Any]) -> Tensor:
    latents: Tensor = next(arguments[name] for name in INPUTS if name in arguments)
    return latents


def _differ(condition: Tensor, count: int) -> bool:
    """Return whether every row of the first half has another condition than its row of the second."""
    first, second = condition.view(2, count, -1)
    return bool((first != second).any(dim=1).all())
