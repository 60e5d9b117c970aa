"""Compare the rendered files of a report with their manifest. Jobs do not import this: it depends on planning code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bigain.core.files import sha256
from bigain.core.provenance import ResultError, digest
from bigain.reporting.manifest import NAME, read_manifest
from bigain.study.products import Finding


def verify_rendered(folder: Path, names: list[str], expected: str) -> Iterator[Finding]:
    """Yield what is wrong with the files in the folder of a report. Before it is rendered, only orphans are.

    `names` are the files that the report may have, `expected` is the digest of its spec.
    """
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if file.name not in names:
            yield Finding(file, "orphaned", f"{file} is not part of the report as it is configured")
    if not (folder / NAME).exists():
        return
    try:
        manifest = read_manifest(folder)
    except ResultError as error:
        yield Finding(folder / NAME, error.state, str(error))
        return
    if digest(manifest["spec"]) != expected:
        message = f"{folder} was rendered from results of other settings or code than now"
        yield Finding(folder / NAME, "outdated", message)
    for name, checksum in manifest["files"].items():
        file = folder / name
        if not file.exists():
            yield Finding(file, "missing", f"{file} is missing")
        elif sha256(file) != checksum:
            yield Finding(file, "damaged", f"{file} was changed after it was rendered")
