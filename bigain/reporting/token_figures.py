"""Figures 2 and 3: how detailed every token is, and which tokens are merged away, drawn over the images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from safetensors import SafetensorError, safe_open

from bigain.core.columns import csv_text
from bigain.core.files import write_text
from bigain.reporting import style
from bigain.reporting.tables import arm_columns

MERGED = (0.62, 0.79, 0.88)  # colour of a merged token, which no grey image has


@dataclass(frozen=True)
class TokenMaps:
    """Token maps of one backbone: images [n, H, W, C] in [0, 1], saliency [n, h, w], merged tokens [m, n, h, w] of the
    spec's m methods."""

    spec: dict[str, Any]
    images: np.ndarray
    saliency: np.ndarray
    merged: np.ndarray

    @property
    def place(self) -> dict[str, str]:
        """Backbone and data set, as columns of a CSV file."""
        return {"backbone": self.spec["backbone"]["id"], "dataset": self.spec["dataset"]["id"]}

    @property
    def title(self) -> str:
        """Backbone and data set, for print."""
        return f"{self.spec['backbone']['id']}\n{self.spec['dataset']['id']}"


def read_maps(file: Path) -> TokenMaps:
    """Read a probe's token maps. Raises ValueError naming the file if it is damaged or its saliency is not finite."""
    try:
        with safe_open(file, "np") as stored:
            spec = json.loads(stored.metadata()["spec"])
            images, saliency, merged = (stored.get_tensor(name) for name in ("images", "saliency", "merged"))
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(f"{file} does not hold token maps: {error}") from error
    if not np.isfinite(saliency).all():
        raise ValueError(f"{file}: a token's saliency is not finite")
    channels_last = np.moveaxis(images, 1, -1) / 255
    rgb = np.broadcast_to(channels_last, (*channels_last.shape[:-1], 3))
    return TokenMaps(spec, rgb, saliency, merged.astype(bool))


class FigureFiles(NamedTuple):
    """The files of a figure: the drawing in two formats, and its numbers."""

    pdf: Path
    png: Path
    csv: Path


def write_token_figures(files: list[Path], saliency: FigureFiles, merged: FigureFiles) -> None:
    """Write Figure 2 and Figure 3, each as PDF and PNG, and their tokens as CSV."""
    probes = [read_maps(file) for file in files]
    write_text(saliency.csv, csv_text("figure2", _saliency_rows(probes)))
    write_text(merged.csv, csv_text("figure3", _merged_rows(probes)))
    with style.look():
        style.save(draw_saliency(probes), saliency.pdf, saliency.png)
        style.save(draw_merged(probes), merged.pdf, merged.png)


def _saliency_rows(probes: list[TokenMaps]) -> Iterator[dict[str, Any]]:
    for probe in probes:
        for (image, row, column), saliency in np.ndenumerate(probe.saliency):
            token = {"image": image, "row": row, "column": column}
            yield probe.place | token | {"saliency": float(saliency)}


def _merged_rows(probes: list[TokenMaps]) -> Iterator[dict[str, Any]]:
    for probe in probes:
        arms = [arm_columns(method, probe.spec["ratio"]) for method in probe.spec["methods"]]
        for (method, image, row, column), merged in np.ndenumerate(probe.merged):
            token = {"image": image, "row": row, "column": column}
            yield probe.place | arms[method] | token | {"merged": bool(merged)}


def draw_saliency(probes: list[TokenMaps]) -> plt.Figure:
    """Draw Figure 2: for every backbone, a row of images and below it the saliency of their tokens."""
    figure, axes = _grid(2 * len(probes), max(len(probe.images) for probe in probes))
    for number, probe in enumerate(probes):
        above, below = axes[2 * number], axes[2 * number + 1]
        _name_row(above[0], probe.title)
        _name_row(below[0], "Laplacian\nsaliency")
        for column, (image, saliency) in enumerate(zip(probe.images, probe.saliency, strict=True)):
            above[column].imshow(image)
            below[column].imshow(image.mean(axis=-1), cmap="gray", vmin=0, vmax=1)
            height, width = image.shape[:2]
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            below[column].imshow(saliency, cmap="cividis", alpha=0.75, extent=extent, interpolation="nearest")
    return figure


def draw_merged(probes: list[TokenMaps]) -> plt.Figure:
    """Draw Figure 3: for every backbone, a row of images and one per method, with merged tokens in light blue."""
    rows = sum(1 + len(probe.merged) for probe in probes)
    figure, axes = _grid(rows, max(len(probe.images) for probe in probes))
    row = iter(axes)
    for probe in probes:
        above = next(row)
        _name_row(above[0], probe.title)
        for axis, image in zip(above, probe.images, strict=False):
            axis.imshow(image)
        for method, masks in zip(probe.spec["methods"], probe.merged, strict=True):
            below = next(row)
            _name_row(below[0], f"{style.label(style.preset(method))}\n{100 * probe.spec['ratio']:g}% merged")
            for axis, image, mask in zip(below, probe.images, masks, strict=False):
                axis.imshow(_cover(image, mask))
    return figure


def _cover(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the image [H, W, 3] with the pixels of masked tokens [h, w] covered; a token covers whole pixels."""
    height, width = image.shape[0] // mask.shape[0], image.shape[1] // mask.shape[1]
    covered = mask.repeat(height, axis=0).repeat(width, axis=1)
    return np.where(covered[..., None], MERGED, image)


def _grid(rows: int, columns: int) -> tuple[plt.Figure, np.ndarray]:
    """Return a figure of bare panels, and their axes [rows, columns]."""
    figure, axes = plt.subplots(rows, columns, figsize=(1.3 * columns + 0.9, 1.35 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            side.set_visible(False)
    figure.subplots_adjust(wspace=0.04, hspace=0.06)
    return figure, axes


def _name_row(axis: plt.Axes, text: str) -> None:
    """Write the name of a row of panels to its left."""
    axis.set_ylabel(text, rotation=0, ha="right", va="center")
