"""The manifest in a fetched model's folder: its hub, its revision, and the size and sha256 of every file. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bigain.core.files import read_json
from bigain.datasets.photos import leaves

MANIFEST = "bigain-manifest.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read `hub`, `revision`, and of each of the `files` its `size` and `sha256`.

    Raises OSError if there is no manifest, and ValueError naming it if it is damaged or lists a file outside it.
    """
    path = folder / MANIFEST
    manifest = read_json(path)
    entries = manifest if isinstance(manifest, dict) else {}
    source, files = [entries.get(key) for key in ("hub", "revision")], entries.get("files")
    if not all(isinstance(text, str) and text.isprintable() for text in source) or not isinstance(files, dict):
        raise ValueError(f"{path} names no hub, revision and files: remove the folder and fetch again")
    for name, known in files.items():
        whole = isinstance(known, dict) and type(known.get("size")) is int and isinstance(known.get("sha256"), str)
        if leaves(name) or not name.isprintable() or not whole:
            raise ValueError(f"{path}: {name!r} needs a size and a sha256, and a name inside the folder")
    return entries
