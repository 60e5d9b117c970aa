"""Base class of attachments: a method attached to a model, as `apply` returns it and tasks use it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any, Protocol

from diffusers import ModelMixin
from torch import Tensor

from bigain.compression.checkpoints import checkpointing, release
from bigain.compression.instances import hide_from_compiler, remove_hook
from bigain.compression.sites import Site
from bigain.methods.method import Method
from bigain.methods.options import Options
from bigain.methods.presets import METHODS

HOOK = "bigain"  # name of the structural methods' hooks in diffusers' registries
ATTRIBUTE = "_bigain_attachment"  # of the denoiser
ATTACHING = RLock()  # held while a method is attached or removed, so that threads see all of its hooks or none
FIXED = frozenset({"method", "strength", "schedule", "sites", *Options.__optional_keys__})  # checked when attached


@dataclass(frozen=True)
class RowKey:
    """Identity of a row of a batch: the key of its random draws, which depend on nothing else in the batch."""

    image: int
    condition: int | str
    t: int


class Handle(Protocol):
    """Takes a hook or a processor off a model."""

    def remove(self) -> None:
        """Take it off."""


class Attachment(ABC):
    """A compression method attached to a model. `sites` are the blocks whose tokens it compresses."""

    method: Method
    sites: Sequence[Site]
    handles: Sequence[Handle] = ()  # of its hooks
    attached_model: ModelMixin | None = None  # once it is attached

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. Raises AttributeError for an option of `apply` once attached: it would have no effect."""
        if self.attached_model is not None and (name in FIXED or not hasattr(self, name)):
            raise AttributeError(f"{name} of an attached method cannot change: remove the method and apply it anew")
        super().__setattr__(name, value)

    def attach_to(self, denoiser: ModelMixin) -> None:
        """Register this as the method of a model whose hooks are in place."""
        setattr(denoiser, ATTRIBUTE, self)
        self.attached_model = denoiser

    @property
    def is_attached(self) -> bool:
        """Return whether this is the method of its model: it is put on, and not removed yet."""
        return self.attached_model is not None and vars(self.attached_model).get(ATTRIBUTE) is self

    def remove(self) -> None:
        """Detach the method: the model computes what it did before, bit for bit. A second call changes nothing."""
        with ATTACHING:
            denoiser = self.attached_model
            if denoiser is None or not self.is_attached:
                return
            delattr(denoiser, ATTRIBUTE)
            for handle in self.handles:
                handle.remove()
            for site in self.sites:
                for attention in site.block.self_attention:
                    hide_from_compiler(attention)
            for module in denoiser.modules():
                remove_hook(module, HOOK)
            release(checkpointing(denoiser))

    def mode(self, t: float) -> Hashable:
        """Return what the method does at a timestep: timesteps share a batch only if it is equal."""
        return None

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
