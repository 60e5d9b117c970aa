"""The token grid: sequence <-> map, and its cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenGrid:
    """A grid of height x width tokens in row-major order, of any aspect ratio."""

    height: int
    width: int

    @property
    def tokens(self) -> int:
        """N = height * width."""
        return self.height * self.width

    def to_map(self, x: Tensor) -> Tensor:
        """Reshape a sequence [B, N, C] to a map [B, C, H, W]. Raises ValueError if x does not hold N tokens."""
        if x.shape[1] != self.tokens:
            raise ValueError(f"{x.shape[1]} tokens do not fill a {self} grid of {self.tokens}")
        return x.transpose(1, 2).unflatten(2, (self.height, self.width))

    @staticmethod
    def to_sequence(x: Tensor) -> Tensor:
        """Reshape a map [B, C, H, W] to a sequence [B, N, C]."""
        return x.flatten(2).transpose(1, 2)

    def cell_tokens(self, cell: tuple[int, int], device: torch.device | None = None) -> Tensor:
        """Return the token indices of every whole cell, row-major inside it: [D, cell height * cell width].

        A strip at the bottom or right that is too narrow for a cell belongs to none. Raises ValueError if no cell fits.
        """
        rows, columns = self.height // cell[0], self.width // cell[1]
        if rows * columns == 0:
            raise ValueError(f"a cell of {cell[0]}x{cell[1]} tokens does not fit into a {self} grid")
        index = torch.arange(self.tokens, device=device).view(self.height, self.width)
        index = index[: rows * cell[0], : columns * cell[1]].reshape(rows, cell[0], columns, cell[1])
        return index.permute(0, 2, 1, 3).reshape(rows * columns, cell[0] * cell[1])

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"
