"""Backbones over a pipeline that is loaded already: its modules themselves, neither copied nor loaded again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, ModelMixin
from torch import nn

from bigain import backbones
from bigain.backbones.base import Backbone
from bigain.backbones.class_names import of_pipeline
from bigain.compression.attach import denoiser_of
from bigain.core.files import naming, read_json
from bigain.methods.method import Family

# The family that a denoiser's class belongs to, and the other parts that its backbone uses, each with its class.
FAMILIES: dict[str, Family] = {
    "UNet2DConditionModel": "unet",
    "DiTTransformer2DModel": "dit",
    "SD3Transformer2DModel": "mmdit",
    "FluxTransformer2DModel": "flux",
}
PARTS: dict[Family, Mapping[str, str]] = {
    "unet": {"vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"},
    "dit": {"vae": "AutoencoderKL"},
    "mmdit": {
        "vae": "AutoencoderKL",
        "text_encoder": "CLIPTextModelWithProjection",
        "text_encoder_2": "CLIPTextModelWithProjection",
    },
    "flux": {"vae": "AutoencoderKL", "text_encoder": "CLIPTextModel", "text_encoder_2": "T5EncoderModel"},
}
SUPPORTED = (
    "pipelines like StableDiffusionPipeline (UNet2DConditionModel without added conditions, one CLIPTextModel), "
    "DiTPipeline (DiTTransformer2DModel), StableDiffusion3Pipeline (SD3Transformer2DModel) and FluxPipeline "
    "(FluxTransformer2DModel), all with an AutoencoderKL"
)
EXTRA_CONDITIONS = ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type")  # of a U-Net's config


def from_pipeline(pipe: DiffusionPipeline) -> Backbone:
    """Return the backbone of a pipeline in memory, on its device and in its precision.

    Raises TypeError for a pipeline of another kind, ValueError for one with a part that is missing or in training mode.
    """
    name, denoiser = type(pipe).__name__, denoiser_of(pipe)
    classes = {part: type(module).__name__ for part, module in pipe.components.items() if module is not None}
    classes["unet" if "unet" in classes else "transformer"] = type(denoiser).__name__
    family = _family(name, classes)
    _check_inputs(name, family, denoiser.config, pipe.vae.config)
    _evaluating("denoiser", denoiser)
    return _in_memory(backbones.class_of(family))(pipe)


def family_of_folder(path: Path) -> Family:
    """Return the family of a pipeline folder, as its model_index.json says.

    Raises FileNotFoundError if there is none, TypeError for a pipeline of another kind.
    """
    file = path / "model_index.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {path} is not a diffusers pipeline folder")
    index, classes = _mapping(file), parts_in(path)
    family = _family(f"{index.get('_class_name')} in {path}", classes)
    folder = backbones.class_of(family).folder
    configs = [_mapping(path / part / "config.json") for part in (folder, "vae")]
    _check_inputs(str(path), family, *configs)
    return family


def parts_in(path: Path) -> dict[str, str]:
    """Return the class of every part of a pipeline folder by model_index.json. Raises ValueError naming that file."""
    file = path / "model_index.json"
    with naming(file):
        entries = {part: entry for part, entry in _mapping(file).items() if not part.startswith("_")}
        return {part: entry[1] for part, entry in entries.items() if isinstance(entry, list) and entry[1]}


def _mapping(file: Path) -> Mapping[str, Any]:
    """Read a JSON file that holds a mapping. Raises FileNotFoundError or ValueError naming it."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing")
    content = read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} has to hold a mapping, not {type(content).__name__}")
    return content


def from_folder(path: Path, device: str = "cpu", dtype: str = "float32") -> Backbone:
    """Return the backbone of a pipeline folder, of the family that the folder states. Raises as `family_of_folder`."""
    return backbones.load(family_of_folder(path), path, device, dtype)


def _family(pipeline: str, classes: Mapping[str, str]) -> Family:
    """Return the family of a pipeline whose parts have these classes. Raises TypeError if the classifier knows none."""
    denoiser = classes.get("unet") or classes.get("transformer") or "no denoiser"
    family = FAMILIES.get(denoiser)
    if family is None:
        raise TypeError(f"{pipeline} has {denoiser}; supported are {SUPPORTED}")
    for part, expected in PARTS[family].items():
        if classes.get(part) != expected:
            raise TypeError(f"{pipeline}: its {part} is {classes.get(part)}, and has to be {expected}; {SUPPORTED}")
    if family == "unet" and "text_encoder_2" in classes:
        raise TypeError(f"{pipeline} has a second text encoder; supported are {SUPPORTED}")
    return family


def _check_inputs(pipeline: str, family: Family, denoiser: Mapping[str, Any], vae: Mapping[str, Any]) -> None:
    """Raise TypeError for a denoiser that needs more inputs than a noised latent and a prompt or class."""
    for key in EXTRA_CONDITIONS:
        if denoiser.get(key):
            raise TypeError(f"{pipeline}: {key} of its denoiser is {denoiser[key]!r}; supported are {SUPPORTED}")
    for part, config, key in (("denoiser", denoiser, "in_channels"), ("vae", vae, "latent_channels")):
        if not isinstance(config.get(key), int):
            raise TypeError(f"{pipeline}: the config of its {part} has no number {key}")
    channels, latent = denoiser["in_channels"], vae["latent_channels"] * (4 if family == "flux" else 1)  # packs 2x2
    if channels != latent:
        raise TypeError(
            f"{pipeline}: its denoiser reads {channels} channels, and a latent has {latent}: models for inpainting "
            f"and for editing are not supported; supported are {SUPPORTED}"
        )


class InMemory(Backbone):
    """Takes the parts of a pipeline in memory instead of a folder's."""

    def __init__(self, pipe: DiffusionPipeline) -> None:
        self.pipe, self.path = pipe, Path(type(pipe).__name__)  # a name for messages

    @property
    def denoiser(self) -> ModelMixin:
        """The pipeline's U-Net or transformer. Raises ValueError if it is in training mode."""
        return _evaluating("denoiser", denoiser_of(self.pipe))

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The device on which the pipeline runs, also its parts that are offloaded until they are needed."""
        return self.pipe._execution_device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the denoiser."""
        return self.denoiser.dtype

    def load_part(self, cls: Any, folder: str) -> Any:
        """Return the pipeline's part. Raises ValueError if it has none, or if it is in training mode."""
        return _evaluating(folder, self._part(folder))

    def has_part(self, folder: str) -> bool:
        """Return whether the pipeline has a part that may be missing."""
        return getattr(self.pipe, folder, None) is not None

    def load_scheduler(self, scheduler: Any, **changes: Any) -> Any:
        """Return a scheduler of a class with all settings of the pipeline's, defaults included, which differ between
        classes; the pipeline's own stays as it is."""
        config = {name: value for name, value in self.pipe.scheduler.config.items() if name != "_use_default_values"}
        return scheduler.from_config(config, **changes)

    def load_tokenizer(self, tokenizer: Any, folder: str) -> Any:
        """Return the pipeline's tokenizer. Raises ValueError if it has none."""
        return self._part(folder)

    def class_names(self) -> dict[int, str]:
        """Return the classes that the pipeline states, by id; none if it states none."""
        return of_pipeline(self.pipe)

    def config_of(self, folder: str) -> Mapping[str, Any]:
        """Return the config of the pipeline's part."""
        return self.denoiser.config if folder == self.folder else self._part(folder).config

    def _part(self, name: str) -> Any:
        part = getattr(self.pipe, name, None)
        if part is None:
            raise ValueError(f"{self.path}: its {name} is None, and the classifier needs it")
        return part


@cache
def _in_memory(family: type[Backbone]) -> type[InMemory]:
    """Return the class of a family's backbones in memory."""
    return type(f"InMemory{family.__name__}", (InMemory, family), {"__module__": __name__, "__doc__": family.__doc__})


def _evaluating(name: str, module: nn.Module) -> nn.Module:
    if module.training:
        raise ValueError(f"the pipeline's {name} is in training mode, which draws at random: call .eval() on it")
    return module
