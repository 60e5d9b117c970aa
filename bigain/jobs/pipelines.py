"""Diffusers pipelines of any kind that the commands on one's own images run: loading, and what their inputs may be."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from bigain.backbones.class_names import of_pipeline
from bigain.backbones.devices import device_of
from bigain.backbones.in_memory import parts_in
from bigain.core.places import located
from bigain.core.prompts import Reader, cut_off


def load_pipeline(folder: Path | str, device: str, dtype: str) -> DiffusionPipeline:
    """Return the pipeline of a folder in diffusers' format, on a device and in a precision, from safetensors alone.

    Raises FileNotFoundError or ValueError naming the folder if it is missing or cannot be loaded.
    """
    path = located(folder)
    if not (path / "model_index.json").is_file():
        raise FileNotFoundError(f"{path} is not a diffusers pipeline folder: model_index.json is missing in it")
    if missing := [part for part in parts_in(path) if not (path / part).is_dir()]:  # a tokenizer would be an empty one
        raise FileNotFoundError(f"{path / missing[0]} is missing: model_index.json lists it")
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of torch_dtype, which 0.35 needs
            pipe = DiffusionPipeline.from_pretrained(
                path, torch_dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
            )
    except (OSError, RuntimeError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise ValueError(f"{path} could not be loaded as a diffusers pipeline: {error}") from error
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device_of(device))


def condition_of(pipe: DiffusionPipeline) -> str:
    """Return what a pipeline generates from: "prompt" or "class_labels". Raises TypeError if it is neither."""
    parameters = inspect.signature(type(pipe).__call__).parameters
    for name in ("class_labels", "prompt"):
        if name in parameters:
            return name
    raise TypeError(f"{type(pipe).__name__} takes neither a prompt nor class labels: {', '.join(parameters)}")


def check_candidates(pipe: DiffusionPipeline, prompts: list[str] | None, class_ids: Mapping[int, str] | None) -> None:
    """Raise ValueError unless exactly one of prompts and class ids is there, of the pipeline's kind, and in range."""
    kind, name = condition_of(pipe), type(pipe).__name__
    if (prompts is None) == (class_ids is None):
        raise ValueError("give either prompts or class ids")
    if kind == "class_labels" and class_ids is None:
        raise ValueError(f"{name} is conditioned on classes: give class ids, not prompts")
    if kind == "prompt" and prompts is None:
        raise ValueError(f"{name} is conditioned on text: give prompts, not class ids")
    if prompts is not None:
        refuse_long(pipe, prompts)
    if class_ids is not None:
        known = class_names(pipe)
        if unknown := [number for number in class_ids if number not in known]:
            raise ValueError(
                f"class id {unknown[0]} is not one of {name}'s {len(known)} classes, from {min(known)} to {max(known)}"
            )


def class_names(pipe: DiffusionPipeline) -> dict[int, str]:
    """Return the classes of a class-conditioned pipeline by id, with their names, empty where it states none."""
    return of_pipeline(pipe) or dict.fromkeys(range(pipe.transformer.config.num_embeds_ada_norm), "")


def refuse_long(pipe: DiffusionPipeline, prompts: Sequence[str]) -> None:
    """Raise ValueError naming the first prompt that no text encoder of the pipeline reads to its end.

    Diffusers cuts such prompts off with a line in the log.
    """
    for fault in cut_off(prompts, _readers(pipe), type(pipe).__name__):
        raise ValueError(f"{fault}: shorten it")


def _readers(pipe: DiffusionPipeline) -> list[Reader]:
    tokenizers = {name: part for name, part in pipe.components.items() if name.startswith("tokenizer")}
    return [Reader(name, part, _limit(pipe, part)) for name, part in tokenizers.items() if part is not None]


def _limit(pipe: DiffusionPipeline, tokenizer: Any) -> int:
    """Return how many tokens the pipeline reads: for T5, its own default instead of the tokenizer's."""
    limit = inspect.signature(type(pipe).__call__).parameters.get("max_sequence_length")
    if limit is not None and isinstance(limit.default, int) and not type(tokenizer).__name__.startswith("CLIP"):
        return limit.default
    return tokenizer.model_max_length
