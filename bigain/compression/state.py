"""State that hooks share during a forward pass. The configuration is `TokenAttachment`.

A pass belongs to the thread that runs it, so that threads may share a model. A checkpoint that reruns blocks in the
backward pass runs them in their original pass.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bigain.tokens import Plan, TokenGrid

PlanKey = tuple[str, int, int]  # plan group, height and width of the grid


@dataclass
class Reduction:
    """Keys and values of one attention call: `pairs` of whole and reduced tokens, and whether the values were made of
    reduced tokens too. `places` [B, M]: the tokens that remain, for methods that pick them by their score."""

    pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    reached_values: bool = False
    places: Tensor | None = None


@dataclass
class ForwardPass:
    """One forward pass: its timestep, the number and seeds of its random draws, and what its blocks have so far.

    `grids`, `plans`, `reductions`, `whole` (the tokens of a layer whose samples run one by one) and `text_tokens` (the
    number of text tokens before the image's) are keyed by block name, `shared_plans` by what shares them. With rotary
    embeddings, `positions` [N, A] are those of the image's tokens, and `key_table` embeds those of pooled keys.
    `guidance` [B, H, W] is |eps_c - eps_0| of the previous step, if a method reads it and it is known.
    """

    timestep: Tensor | float | None
    row_seeds: Tensor | None  # [B]; without them the rows of a batch share what a method draws
    number: Tensor | None = None  # without `row_seeds`, the key of what it draws
    strength: float | int | None = None  # None where the method does not act
    grids: dict[str, TokenGrid] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    reductions: dict[str, Reduction] = field(default_factory=dict)
    whole: dict[str, Tensor] = field(default_factory=dict)
    text_tokens: dict[str, int] = field(default_factory=dict)
    shared_plans: dict[PlanKey, Plan] = field(default_factory=dict)
    positions: Tensor | None = None
    key_table: tuple[Tensor, Tensor] | None = None
    guidance: Tensor | None = None
    reruns_blocks: bool = False  # in the backward pass, for gradient checkpoints

    def image_of(self, x: Tensor, block: str) -> Tensor:
        """Return the image's tokens of x [B, T + N, C]; T text tokens come before them in this block."""
        text = self.text_tokens.get(block, 0)
        return x[:, text:] if text else x

    def on_image(self, function: Callable[[Tensor], Tensor], x: Tensor, block: str) -> Tensor:
        """Return x with a function applied to the image's tokens, and the text's untouched."""
        text = self.text_tokens.get(block, 0)
        return torch.cat([x[:, :text], function(x[:, text:])], dim=1) if text else function(x)


class ForwardState:
    """The forward pass of every thread, the passes so far, and the seeds of the coming batch's rows.

    Code that torch.compile traces cannot read a thread's values: it reads those set last, which are the thread's while
    no other runs.
    """

    def __init__(self) -> None:
        with torch.inference_mode(False):  # counted up in place, which inference tensors do not allow outside of it
            self.passes = torch.zeros((), dtype=torch.int64)
        self._of_thread = threading.local()
        self._lock = threading.Lock()
        self._running = 0  # passes begun outside of compiled code
        self._last_begun: ForwardPass | None = None
        self._last_seeds: Tensor | None = None

    @property
    def row_seeds(self) -> Tensor | None:
        """Seeds of the rows of the coming batch [B], if a task set them."""
        if torch.compiler.is_compiling():
            return self._last_seeds
        return getattr(self._of_thread, "row_seeds", self._last_seeds)

    @row_seeds.setter
    def row_seeds(self, seeds: Tensor | None) -> None:
        self._of_thread.row_seeds = self._last_seeds = seeds

    @property
    def current(self) -> ForwardPass | None:
        """The forward pass that runs in this thread. Raises RuntimeError where compiled blocks cannot tell."""
        if not torch.compiler.is_compiling():
            running: ForwardPass | None = getattr(self._of_thread, "current", None)
            return self._last_begun if running is None and self._running == 0 else running
        if self._running > 1:
            raise RuntimeError(
                "several threads run a compressed model whose blocks went through torch.compile: compile the model "
                "as a whole, or run one thread at a time"
            )
        return self._last_begun

    def begin(self, timestep: Tensor | float | None) -> ForwardPass:
        """Begin a forward pass."""
        begun = self._last_begun = ForwardPass(timestep, self.row_seeds)
        if not torch.compiler.is_compiling():
            with self._lock:
                self._running += getattr(self._of_thread, "current", None) is None
            self._of_thread.current = begun
        return begun

    def number(self, forward_pass: ForwardPass) -> Tensor:
        """Count a pass that draws random numbers, and return its number, from 1."""
        if forward_pass.number is None:
            if torch.compiler.is_compiling():
                # In place: for another tensor, the graph would be traced again.
                forward_pass.number = self.passes.add_(1)
            else:
                with self._lock:
                    forward_pass.number = self.passes.add_(1).clone()
        return forward_pass.number

    def end(self) -> None:
        """End the forward pass of this thread, so that a compiled model finds none at the next and keeps its graph."""
        self._last_begun = None
        if torch.compiler.is_compiling():
            return
        with self._lock:
            self._running -= getattr(self._of_thread, "current", None) is not None
            self._of_thread.current = None

    @contextmanager
    def resumed(self, interrupted: ForwardPass | None) -> Iterator[None]:
        """Run blocks as part of an earlier pass."""
        before = getattr(self._of_thread, "current", None)
        self._of_thread.current = interrupted
        try:
            yield
        finally:
            self._of_thread.current = before

    def __getstate__(self) -> tuple[Tensor, Tensor | None]:
        """Return what a copy inherits: no thread and no pass."""
        return self.passes.clone(), self.row_seeds

    def __setstate__(self, state: tuple[Tensor, Tensor | None]) -> None:
        ForwardState.__init__(self)
        passes, self._last_seeds = state
        self.passes.copy_(passes)
