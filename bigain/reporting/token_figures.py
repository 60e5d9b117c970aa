"""Figures 2 and 3: how detailed every token is, and which tokens are merged away, over the images themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from safetensors import SafetensorError, safe_open

from bigain.reporting import style

MERGED = (0.62, 0.79, 0.88)  # the colour of a merged token, which no grey image has


@dataclass(frozen=True)
class TokenMaps:
    """What was seen in one backbone: images [n, H, W, C] in [0, 1], saliency [n, h, w], merged [m, n, h, w] of the
    spec's methods."""

    spec: dict[str, Any]
    images: np.ndarray
    saliency: np.ndarray
    merged: np.ndarray

    @property
    def title(self) -> str:
        """Backbone and data set."""
        return f"{self.spec['backbone']['id']}\n{self.spec['dataset']['id']}"


def read_maps(file: Path) -> TokenMaps:
    """Raises ValueError naming the file if it is broken or its saliency is no finite number."""
    try:
        with safe_open(file, "np") as stored:
            spec = json.loads(stored.metadata()["spec"])
            images, saliency, merged = (stored.get_tensor(name) for name in ("images", "saliency", "merged"))
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(f"{file} does not hold token maps: {error}") from error
    if not np.isfinite(saliency).all():
        raise ValueError(f"{file}: a token's saliency is no finite number")
    shown = np.moveaxis(images, 1, -1) / 255
    return TokenMaps(spec, np.broadcast_to(shown, (*shown.shape[:-1], 3)), saliency, merged.astype(bool))


def write_token_figures(files: list[Path], saliency: tuple[Path, Path], merged: tuple[Path, Path]) -> None:
    """Figure 2 and Figure 3, each as PDF and PNG."""
    probes = [read_maps(file) for file in files]
    with plt.rc_context(style.SETTINGS):
        style.save(draw_saliency(probes), *saliency)
        style.save(draw_merged(probes), *merged)


def draw_saliency(probes: list[TokenMaps]) -> plt.Figure:
    """Figure 2: a row of images and, below it, the saliency of their tokens over them, for every backbone."""
    figure, axes = _grid(2 * len(probes), max(len(probe.images) for probe in probes))
    for number, probe in enumerate(probes):
        above, below = axes[2 * number], axes[2 * number + 1]
        _name(above[0], probe.title)
        _name(below[0], "Laplacian\nsaliency")
        for place, (image, saliency) in enumerate(zip(probe.images, probe.saliency, strict=True)):
            above[place].imshow(image)
            below[place].imshow(image.mean(axis=-1), cmap="gray", vmin=0, vmax=1)
            size = image.shape[:2]
            extent = (-0.5, size[1] - 0.5, size[0] - 0.5, -0.5)
            below[place].imshow(saliency, cmap="cividis", alpha=0.75, extent=extent, interpolation="nearest")
    return figure


def draw_merged(probes: list[TokenMaps]) -> plt.Figure:
    """Figure 3: a row of images and one for every method, in which the tokens that it merges away are light blue."""
    rows = sum(1 + len(probe.merged) for probe in probes)
    figure, axes = _grid(rows, max(len(probe.images) for probe in probes))
    row = iter(axes)
    for probe in probes:
        above = next(row)
        _name(above[0], probe.title)
        for axis, image in zip(above, probe.images, strict=False):
            axis.imshow(image)
        for method, masks in zip(probe.spec["methods"], probe.merged, strict=True):
            here = next(row)
            _name(here[0], f"{style.label(style.preset(method))}\n{100 * probe.spec['ratio']:g}% merged")
            for axis, image, mask in zip(here, probe.images, masks, strict=False):
                axis.imshow(_covered(image, mask))
    return figure


def _covered(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image [H, W, 3], covered where tokens [h, w] are merged; a token covers whole pixels."""
    repeats = image.shape[0] // mask.shape[0], image.shape[1] // mask.shape[1]
    covered = mask.repeat(repeats[0], axis=0).repeat(repeats[1], axis=1)
    return np.where(covered[..., None], MERGED, image)


def _grid(rows: int, columns: int) -> tuple[plt.Figure, np.ndarray]:
    figure, axes = plt.subplots(rows, columns, figsize=(1.3 * columns + 0.9, 1.35 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            side.set_visible(False)
    figure.subplots_adjust(wspace=0.04, hspace=0.06)
    return figure, axes


def _name(axis: plt.Axes, text: str) -> None:
    """Name a row at its left."""
    axis.set_ylabel(text, rotation=0, ha="right", va="center")
