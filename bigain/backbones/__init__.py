"""Pretrained diffusion backbones behind one interface, one file per family."""

from __future__ import annotations

from pathlib import Path

from bigain.backbones.base import Backbone
from bigain.methods.method import Family


def load(family: Family, path: Path | str, device: str = "cpu", dtype: str = "float32") -> Backbone:
    """Return the backbone at `path`, a folder in diffusers' format.

    Its parts are loaded when they are first used; a missing or damaged part raises FileNotFoundError or ValueError with
    its name.
    """
    return class_of(family)(Path(path), device, dtype)


def class_of(family: Family) -> type[Backbone]:
    """Return the class of a family's backbones, whose file is imported only now."""
    if family == "unet":
        from bigain.backbones.unet import StableDiffusion

        return StableDiffusion
    if family == "mmdit":
        from bigain.backbones.sd3 import StableDiffusion3

        return StableDiffusion3
    if family == "flux":
        from bigain.backbones.flux import Flux

        return Flux
    from bigain.backbones.dit import DiT

    return DiT
