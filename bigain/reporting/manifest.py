"""Write and read manifest.json: the spec of a report, and the sha256 of every file that was rendered for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bigain.core.files import sha256
from bigain.core.provenance import read_sealed, write_sealed
from bigain.core.report_specs import ReportSpec

NAME = "manifest.json"


def write_manifest(files: list[Path], spec: ReportSpec, output: Path) -> None:
    """Write the manifest of rendered files into their folder."""
    sums = {str(file.relative_to(output.parent)): sha256(file) for file in files}
    write_sealed(output, {"spec": spec, "files": sums})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder of rendered files. Raises ResultError if it is missing or damaged."""
    return read_sealed(folder / NAME)
