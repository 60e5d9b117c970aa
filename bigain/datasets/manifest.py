"""The manifest in a fetched model's folder: its hub, its revision, and the size and sha256 of every file. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bigain.core.files import read_json
from bigain.datasets.photos import leaves

MANIFEST = "bigain-manifest.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the `hub`, the `revision`, and the `size` and `sha256` of each of the `files`.

    Raises OSError if there is no manifest, and ValueError naming it if it is damaged or lists a file outside it.
    """
    path = folder / MANIFEST
    manifest = read_json(path)
    entries = manifest if isinstance(manifest, dict) else {}
    origin, files = [entries.get(key) for key in ("hub", "revision")], entries.get("files")
    if not all(isinstance(text, str) and text.isprintable() for text in origin) or not isinstance(files, dict):
        raise ValueError(f"{path} must name hub, revision and files: remove the folder and fetch again")
    for name, entry in files.items():
        complete = isinstance(entry, dict) and type(entry.get("size")) is int and isinstance(entry.get("sha256"), str)
        if leaves(name) or not name.isprintable() or not complete:
            raise ValueError(f"{path}: {name!r} needs a size, a sha256 and a name inside the folder")
    return entries
