"""The blocks that a token method compresses, and the rows of a batch that need no computing twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bigain.compression.targets import Block
from bigain.core.rng import seed_for
from bigain.tokens import TokenGrid


@dataclass(frozen=True)
class DistinctRows:
    """Rows of a batch of which some are equal up to some layer: U distinct rows, and which of them each row equals.

    `first` [U] holds the place of each distinct row in the batch, `inverse` [B] the place of each row among the
    distinct ones (as `torch.unique` calls it).
    """

    first: Tensor
    inverse: Tensor

    def narrow(self, x: Tensor) -> Tensor:
        """[B, ...] -> the distinct rows [U, ...]; a number, which has no rows, is returned as it is."""
        return x[self.first] if x.ndim else x

    def widen(self, y: Tensor) -> Tensor:
        """[U, ...] -> [B, ...]."""
        return y[self.inverse]


@dataclass
class Site:
    """One compressed block: N tokens on a grid, of which N' are left as queries and M as keys and values (means over
    all samples seen so far where they depend on the sample).

    Blocks with the same `plan_group` may share one plan: a U-Net's way down, middle and way up; consecutive DiT blocks.
    """

    block: Block
    grid: TokenGrid
    plan_group: str
    kept: int | float = 0
    keys: int | float = 0
    plan: Any = None  # from the moment it is made to the end of the block
    salt: int = field(init=False)  # of its random draws
    distinct_rows: DistinctRows | None = None  # of the coming batch, where its rows are equal up to this block
    observed: tuple[int, int] = (0, 0)  # samples and the tokens left of them, where these depend on the sample

    def __post_init__(self) -> None:
        self.salt = seed_for(self.block.name)

    def observe(self, tokens_left: list[int]) -> None:
        """Make N' and M the mean over all samples seen so far."""
        samples, tokens = self.observed
        self.observed = samples + len(tokens_left), tokens + sum(tokens_left)
        self.kept = self.keys = self.observed[1] / self.observed[0]

    def __str__(self) -> str:
        left = f"{self.kept:g} (keys and values {self.keys:g})"
        return f"{self.block.name}: {self.grid} = {self.grid.tokens} tokens -> {left}"
