"""Folders of images as a user has them: class sub-folders, or a CSV file beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path, number: int = 0, size: tuple[int, int] = (40, 32), mode: str = "L") -> Path:
    """Write an image whose content depends on the number; the folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    values = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def class_folders(path: Path, classes: dict[str, int], mode: str = "L") -> Path:
    """Write so many images of each class to sub-folders: 0.png, 1.png, ..."""
    numbers = iter(range(10_000))
    for name, count in classes.items():
        for k in range(count):
            picture(path / name / f"{k}.png", next(numbers), mode=mode)
    return path


def labelled(path: Path, rows: str, files: tuple[str, ...] = ("a.png", "b.png", "c.png")) -> dict[str, str]:
    """Write images and a label file; return the settings that read them."""
    for k, file in enumerate(files):
        picture(path / file, k)
    (path / "labels.csv").write_text(rows, encoding="utf-8")
    return {"reader": "folder", "path": str(path), "labels": "labels.csv"}
