"""The blocks whose tokens are compressed, and the rows of a batch that need not be computed twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from bigain.compression.targets import Block
from bigain.core.rng import seed_for
from bigain.tokens import TokenGrid


@dataclass(frozen=True)
class DistinctRows:
    """The U distinct rows of a batch whose B rows repeat one another up to some layer.

    `first` [U] is the place of each distinct row in the batch, `inverse` [B] the place of each row among the distinct
    ones (`torch.unique`'s inverse).
    """

    first: Tensor
    inverse: Tensor

    def narrow(self, x: Tensor) -> Tensor:
        """Select the distinct rows, [B, ...] -> [U, ...]; return a scalar as it is."""
        return x[self.first] if x.ndim else x

    def narrow_if_whole(self, x: Tensor) -> Tensor:
        """Narrow a tensor that holds all B rows; return any other as it is."""
        return self.narrow(x) if x.ndim and len(x) == len(self.inverse) else x

    def widen(self, y: Tensor) -> Tensor:
        """Repeat the distinct rows, [U, ...] -> [B, ...]."""
        return y[self.inverse]


@dataclass
class Site:
    """A compressed block: N tokens on a grid, of which N' are left as queries (`kept`), M as keys and values (`keys`).

    Blocks of one `plan_group` may share a plan: a U-Net's down blocks, its middle and its up blocks; consecutive blocks
    of a DiT. `tokens_left` gives N' and M of a grid of some height and width. `grid` is that of the last forward pass;
    `depth` is the block's place among all of the model's, from 0 to below 1.
    """

    block: Block
    grid: TokenGrid
    plan_group: str
    depth: float
    tokens_left: Callable[[int, int], tuple[float, float]] = lambda height, width: (height * width, height * width)
    salt: int = field(init=False)  # of its random draws
    distinct_rows: DistinctRows | None = None  # of the coming batch, where its rows repeat one another up to this block
    observed: tuple[int, int] = (0, 0)  # samples so far, and the tokens left of all of them

    def __post_init__(self) -> None:
        self.salt = seed_for(self.block.name)

    @property
    def kept(self) -> float:
        """N' on the present grid: a mean over t if N' depends on t, over all samples so far if it depends on them."""
        samples, tokens = self.observed
        return tokens / samples if samples else self.tokens_left(self.grid.height, self.grid.width)[0]

    @property
    def keys(self) -> float:
        """M on the present grid, as `kept`."""
        return self.kept if self.observed[0] else self.tokens_left(self.grid.height, self.grid.width)[1]

    def observe(self, tokens_left: list[int]) -> None:
        """Update the mean with the number of tokens left in each of some samples."""
        samples, tokens = self.observed
        self.observed = samples + len(tokens_left), tokens + sum(tokens_left)

    def __str__(self) -> str:
        left = f"{self.kept:g} (keys and values {self.keys:g})"
        return f"{self.block.name}: {self.grid} = {self.grid.tokens} tokens -> {left}"
