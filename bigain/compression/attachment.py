"""Base class of attachments: a method attached to a model, as `apply` returns it and tasks use it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from bigain.compression.sites import Site
from bigain.methods.method import Method
from bigain.methods.presets import METHODS


@dataclass(frozen=True)
class RowKey:
    """Identity of a row of a batch: the key of its random draws, which depend on nothing else in the batch."""

    image: int
    condition: int | str
    t: int


class Attachment(ABC):
    """A compression method attached to a model. `sites` are the blocks whose tokens it compresses."""

    method: Method
    sites: Sequence[Site]
    handles: Sequence[RemovableHandle] = ()  # of its hooks

    @abstractmethod
    def set_rows(self, keys: Sequence[RowKey], seeds: Tensor | None = None) -> None:
        """Tell the method which rows the next batches hold; `seeds` [B] are their `row_seeds`, if computed already."""

    def row_seeds(self, keys: Sequence[RowKey]) -> list[int]:
        """Return the seed of each row's random draws; nothing if the method draws none."""
        return []

    @abstractmethod
    def report(self) -> list[dict[str, Any]]:
        """Return what is compressed, part by part, as plain data."""

    @abstractmethod
    def visits(self) -> list[tuple[float, float]]:
        """Return the timesteps at which cost is measured, in order, each with its share of the noise predictions."""

    @abstractmethod
    def __str__(self) -> str: ...


class Uncompressed(Attachment):
    """The method `none`: an attachment that leaves its model untouched."""

    sites = ()

    def __init__(self, method: Method = METHODS["none"]) -> None:
        self.method = method

    def set_rows(self, keys: Sequence[RowKey], seeds: Tensor | None = None) -> None:
        """Ignore the rows: nothing is drawn."""

    def report(self) -> list[dict[str, Any]]:
        """Return an empty list."""
        return []

    def visits(self) -> list[tuple[float, float]]:
        """Return a single timestep: every step costs the same."""
        return [(500.0, 1.0)]

    def __str__(self) -> str:
        return f"{self.method.id}: {self.method.label}"
