"""Bundles: result files in one tar, behind a sealed manifest of their sizes and checksums.

The same files give the same bytes: members are sorted and carry no owner, time or permission of their own. A bundle is
unpacked only after all of it was verified, and never over a file with other content.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bigain.core.files import sha256, whole_file
from bigain.core.messages import shortened
from bigain.core.provenance import SEAL, digest, provenance_file
from bigain.core.records import environment
from bigain.core.validation import validate

SCHEMA = 1  # of the manifest and the layout; a reader accepts only its own
MANIFEST = "manifest.json"  # the first member
LARGEST_MANIFEST = 1 << 28  # bytes
BUFFER = 1 << 20
SHOWN = 5  # files listed in a message
SIZED: dict[str, Any] = {
    "type": "object",
    "required": ["sha256", "size"],
    "properties": {"sha256": {"type": "string"}, "size": {"type": "integer", "minimum": 0}},
}
KEYS: dict[str, Any] = {  # schemas of the manifest's keys
    "study": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
    "config": {"type": "string"},
    "environment": {"type": "object", "additionalProperties": {"type": "string"}},
    "files": {"type": "object", "additionalProperties": SIZED},
}


class BundleError(ValueError):
    """A bundle that cannot be unpacked. The message names the bundle, the file in it, and what is wrong."""


def write_bundle(output: Path, study: str, config: str, checksums: Mapping[Path, str]) -> dict[str, Any]:
    """Pack files with their sha256 into one tar, whole or not at all, and return its manifest.

    `config` is the digest of the study's config. Raises FileNotFoundError if a file is gone, and BundleError if its
    content is not what its checksum says.
    """
    names = {file.as_posix(): file for file in sorted(checksums)}
    sizes = {name: file.stat().st_size for name, file in names.items()}
    files = {name: {"sha256": checksums[file], "size": sizes[name]} for name, file in names.items()}
    manifest = {"schema": SCHEMA, "study": study, "config": config, "environment": environment(), "files": files}
    text = json.dumps({**manifest, SEAL: digest(manifest)}, indent=1, sort_keys=True).encode()
    with whole_file(output) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_member(MANIFEST, len(text)), io.BytesIO(text))
        for name, file in names.items():
            with open(file, "rb") as handle:
                reader = _Hashed(handle)
                tar.addfile(_member(name, sizes[name]), reader)
            if reader.sha256.hexdigest() != checksums[file]:
                raise BundleError(f"{file} was changed while it was packed")
    return manifest


def is_bundle(path: Path) -> bool:
    """Return whether a file begins as a bundle does, whole or not."""
    try:
        with _opened(path) as tar:
            _manifest(path, tar)
    except BundleError:
        return False
    return True


def read_bundle(bundle: Path) -> dict[str, Any]:
    """Verify a bundle from its first to its last byte, and return its manifest. Raises BundleError."""
    with _opened(bundle) as tar:
        manifest = _manifest(bundle, tar)
        left = dict(manifest["files"])
        for name, content in _members(bundle, tar):
            if name not in left:
                raise BundleError(f"{bundle}: {name} is not in its manifest, or is there twice")
            expected = left.pop(name)
            reader = _Hashed(content)
            while reader.read(BUFFER):
                pass
            if {"sha256": reader.sha256.hexdigest(), "size": reader.size} != expected:
                raise BundleError(f"{bundle}: {name} is damaged: it does not have the checksum of the manifest")
        if left:
            raise BundleError(f"{bundle} is cut off: it lacks {shortened(sorted(left), SHOWN)}")
    return manifest


def unpack(bundle: Path) -> tuple[dict[str, Any], list[Path]]:
    """Unpack a bundle into the working directory, and return its manifest and the files that were not there yet.

    A file that is there keeps its own provenance. Nothing appears unless all of the bundle is whole; a killed import
    leaves whole files, and goes on when it is run again. Raises BundleError, naming files that differ from those there.
    """
    manifest = read_bundle(bundle)
    missing = set(_missing(bundle, manifest["files"]))
    with _opened(bundle) as tar:
        _manifest(bundle, tar)
        for name, content in _members(bundle, tar):
            if name in missing:
                with whole_file(name) as temporary:
                    reader = _Hashed(content)
                    with open(temporary, "wb") as handle:
                        while part := reader.read(BUFFER):
                            handle.write(part)
                    if reader.sha256.hexdigest() != manifest["files"][name]["sha256"]:
                        raise BundleError(f"{bundle}: {name} was changed while it was unpacked")
    return manifest, [Path(name) for name in sorted(missing)]


def _missing(bundle: Path, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the files of a bundle that are not there yet. Raises BundleError if others are there in their places."""
    provenances = {str(provenance_file(name)): name for name in files}
    missing, differing = [], []
    for name, expected in files.items():
        if name in provenances and Path(name).exists() and Path(provenances[name]).exists():
            continue  # it tells seconds and machine of a result that was computed in both places
        if not Path(name).exists():
            missing.append(name)
        elif not Path(name).is_file() or sha256(name) != expected["sha256"]:
            differing.append(name)
    if differing:
        raise BundleError(f"{bundle} has other content than {shortened(differing, SHOWN)}; nothing was unpacked")
    return missing


class _Hashed:
    """A reader that hashes and counts what it reads."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source, self.sha256, self.size = source, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        part = self._source.read(size)
        self.sha256.update(part)
        self.size += len(part)
        return part


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)  # owner, time and permissions are always the same
    member.size = size
    return member


@contextmanager
def _opened(bundle: Path) -> Iterator[tarfile.TarFile]:
    """Open a bundle. Raises BundleError naming it for whatever tarfile cannot read."""
    try:
        with tarfile.open(bundle, "r:") as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise BundleError(f"{bundle} is cut off or not a bundle ({error})") from error


def _manifest(bundle: Path, tar: tarfile.TarFile) -> dict[str, Any]:
    """Read the manifest, which is the first member. Raises BundleError."""
    member = tar.next()
    if member is None or member.name != MANIFEST or not member.isfile() or member.size > LARGEST_MANIFEST:
        raise BundleError(f"{bundle} is not a bundle: it does not begin with {MANIFEST}")
    content = tar.extractfile(member)
    assert content is not None  # a regular file has content
    try:
        manifest = json.loads(content.read())
        validate(MANIFEST, manifest, {"schema": {}, SEAL: {}})
    except (RecursionError, ValueError) as error:
        raise BundleError(f"{bundle} is damaged ({error})") from error
    if manifest["schema"] != SCHEMA:
        raise BundleError(f"{bundle} has schema {manifest['schema']}; this version of bigain reads schema {SCHEMA}")
    if manifest.pop(SEAL) != digest(manifest):
        raise BundleError(f"{bundle}: {MANIFEST} was changed after it was written: its seal does not match its content")
    try:
        validate(MANIFEST, manifest, KEYS)
    except ValueError as error:
        raise BundleError(f"{bundle}: {error}") from error
    for name in manifest["files"]:
        if not _is_inside(name, manifest["study"]):
            raise BundleError(f"{bundle}: {name} is not allowed; must lie in results/{manifest['study']}")
    return manifest


def _members(bundle: Path, tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the names and contents of the members after the manifest. Raises BundleError for one that is not a file."""
    while (member := tar.next()) is not None:
        content = tar.extractfile(member) if member.isreg() else None
        if content is None:
            raise BundleError(f"{bundle}: {member.name} is not a regular file")
        yield member.name, content


def _is_inside(name: str, study: str) -> bool:
    """Return whether a name is a plain path below the study's folder of results."""
    path = PurePosixPath(name)
    plain = path.as_posix() == name and "\\" not in name and "\0" not in name
    return plain and ".." not in path.parts and path.parts[:2] == ("results", study) and len(path.parts) > 2
