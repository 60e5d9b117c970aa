"""Compare the rendered files of a report with their manifest. Jobs do not import this: it depends on planning code.

`bigain verify` says what is wrong, and planning renders it again, so that an edited table does not reach the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigain.core.files import sha256
from bigain.core.provenance import digest
from bigain.core.validation import validate
from bigain.reporting.manifest import NAME, read_manifest
from bigain.study.products import Finding

KEYS = {  # schemas of the keys of a manifest
    "spec": {"type": "object"},
    "files": {"type": "object", "additionalProperties": {"type": "string"}},
}


def verify_rendered(folder: Path, names: list[str], expected: str) -> Iterator[Finding]:
    """Yield what is wrong with the files in the folder of a report; before it is rendered, these can only be orphans.

    `names` are the files that the report may have, `expected` is the digest of its spec.
    """
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if file.name not in names:
            yield Finding(file, "orphaned", f"{file} is not part of the report as it is configured")
    if not (folder / NAME).exists():
        return
    try:
        manifest = _manifest(folder)
    except ValueError as error:
        yield Finding(folder / NAME, "damaged", str(error))
        return
    if digest(manifest["spec"]) != expected:
        message = f"{folder} was rendered from results of other settings or code than now"
        yield Finding(folder / NAME, "outdated", message)
    for name, checksum in manifest["files"].items():
        file = folder / name
        if not file.is_file():
            yield Finding(file, "missing", f"{file} is missing")
        elif sha256(file) != checksum:
            yield Finding(file, "damaged", f"{file} was changed after it was rendered")


def to_render_again(folder: Path, expected: str) -> list[str]:
    """Return the rendered files of a folder that were changed afterwards, or rendered with other settings or code.

    `expected` is the digest of the report's spec. Returns all files if the manifest cannot be read, and none if there
    is no manifest, since the report was then never finished.
    """
    place = folder / NAME
    if not place.exists():
        return []
    try:
        manifest = _manifest(folder)
    except ValueError:
        return [str(file) for file in folder.iterdir()]
    files = {folder / name: checksum for name, checksum in manifest["files"].items() if (folder / name).is_file()}
    if digest(manifest["spec"]) == expected:
        return [str(file) for file, checksum in files.items() if sha256(file) != checksum]
    written = place.stat().st_mtime
    return [str(file) for file in files if file.stat().st_mtime <= written]  # others were rendered since then


def _manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder of rendered files. Raises ValueError naming it if it is damaged."""
    manifest = read_manifest(folder)
    validate(folder / NAME, manifest, KEYS)
    return manifest
