"""The classes that a class-conditioned pipeline states, in memory or in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bigain.core.files import naming, read_json


def of_pipeline(pipe: Any) -> dict[int, str]:
    """Return the names of classes by id that a pipeline in memory states; none if it states none."""
    names: dict[int, str] = {}
    for name, number in (getattr(pipe, "labels", None) or {}).items():  # ImageNet's have several names per class
        names[number] = f"{names[number]}, {name}" if number in names else name
    return names


def of_folder(folder: Path) -> dict[int, str]:
    """Return the names of classes by id that a pipeline folder states; none if it states none.

    Raises ValueError naming the file if its ids are no numbers.
    """
    file = folder / "model_index.json"
    index = read_json(file) if file.is_file() else {}
    with naming(file):
        stated = index.get("id2label") if isinstance(index, dict) else None
        return {int(number): str(name) for number, name in (stated or {}).items()}
