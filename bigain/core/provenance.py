"""Provenance of result files: `X.json` beside X holds the spec that X was computed from and the sha256 of X.

It also lists the result files that the job read (`inputs`: the digest of each file's spec, and its sha256), how long
the job took and in which environments. It is sealed: it holds a checksum of its own content. Every reader of X compares
the spec and the checksums, so a result of other settings, a damaged file or an edited one raises a `ResultError` that
names the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

from bigain.core.files import read_json, sha256, write_json
from bigain.core.records import canonical

SEAL = "seal"
State = Literal["missing", "unsealed", "damaged", "foreign", "outdated", "orphaned"]
COUNTS = ("images", "captions")  # keys of the specs of latents and conditions: how many of them there are
IDENTITY = ("task", "backbone", "dataset", "method", "strength", "seed")  # keys of a spec that say which result it is
SHOWN = 3  # differences listed in a message
LONGEST_VALUE = 80  # characters of a spec's value in a message


class InputFile(TypedDict):
    """A result file that a job read, as it was then."""

    file: str
    spec: str  # digest of its spec
    sha256: str


class ResultError(ValueError):
    """A result file that its reader cannot use.

    `missing`: the file or its provenance does not exist; `unsealed`: bigain before 0.3 wrote it, without checksums;
    `damaged`: its bytes changed after it was written; `foreign`: it belongs to another cell, model or data set;
    `outdated`: it belongs to this one, but was computed with other settings, code or inputs. (`orphaned` files belong
    to no cell; nobody reads them, but `bigain verify` lists them.)
    """

    def __init__(self, path: Path | str, state: State, message: str) -> None:
        super().__init__(f"{path} {message}")
        self.path, self.state = Path(path), state


def digest(spec: Mapping[str, Any] | str) -> str:
    """Return the digest by which specs are compared, of a spec or of its canonical JSON."""
    text = spec if isinstance(spec, str) else canonical(spec)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def encoding_digest(spec: Mapping[str, Any]) -> str:
    """Return the digest of the spec of latents or conditions, without how many there are.

    None depends on how many others are encoded, so what was computed from the first of them stays when there are more.
    """
    return digest({key: value for key, value in spec.items() if key not in COUNTS})


def provenance_file(path: Path | str) -> Path:
    """Return the provenance file of a result file."""
    return Path(f"{path}.json")


# -- sealed JSON -------------------------------------------------------------------------------------------------------


def write_sealed(path: Path | str, content: Mapping[str, Any]) -> None:
    """Write a JSON file with a checksum of its content in it."""
    as_read: dict[str, Any] = json.loads(json.dumps(content))
    write_json(path, {**as_read, SEAL: _seal(as_read)})


def read_sealed(path: Path | str) -> dict[str, Any]:
    """Read a sealed JSON file. Raises ResultError if it is missing, has no seal or was changed after it was written."""
    try:
        content = read_json(path)
    except OSError as error:
        raise ResultError(path, "missing", f"is missing: {error}") from error
    except ValueError as error:
        raise ResultError(path, "damaged", f"is damaged: {str(error).removeprefix(f'{path}: ')}") from error
    if not isinstance(content, dict):
        raise ResultError(path, "damaged", "is damaged: it does not hold a JSON object")
    if SEAL not in content:
        raise ResultError(path, "unsealed", "has no seal: bigain before 0.3 wrote it, or something else did")
    seal = content.pop(SEAL)
    if seal != _seal(content):
        raise ResultError(path, "damaged", "was changed after it was written: its seal does not match its content")
    return content


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(content).encode()).hexdigest()


# -- result files ------------------------------------------------------------------------------------------------------


def write_provenance(path: Path | str, spec: Mapping[str, Any], inputs: Mapping[str, InputFile], **facts: Any) -> None:
    """Write the provenance of a finished result file: its spec, its inputs, and further facts."""
    write_sealed(provenance_file(path), {**facts, "spec": spec, "inputs": inputs, "sha256": sha256(path)})


def read_provenance(path: Path | str, expected: str | None = None) -> dict[str, Any]:
    """Read the provenance of a result file without looking at the file itself.

    Raises ResultError, also if the digest of its spec is not the `expected` one.
    """
    provenance = read_sealed(provenance_file(path))
    if not isinstance(provenance.get("spec"), dict):
        raise ResultError(provenance_file(path), "damaged", "has no spec")
    if expected is not None and digest(provenance["spec"]) != expected:
        raise ResultError(
            path,
            "outdated",
            f"was computed for {description(provenance['spec'])}, with other settings or code than now",
        )
    return provenance


def checked(path: Path | str, expected: str | None = None) -> dict[str, Any]:
    """Return the provenance of a result file after comparing the file with its checksum.

    Raises ResultError, also if the digest of its spec is not the `expected` one.
    """
    provenance = read_provenance(path, expected)
    try:
        actual = sha256(path)
    except OSError as error:
        raise ResultError(path, "missing", f"is missing: {error}") from error
    if actual != provenance.get("sha256"):
        message = f"is damaged or was replaced: its sha256 is not the one in {provenance_file(path).name}"
        raise ResultError(path, "damaged", f"{message}. Delete both, and they are made again")
    return provenance


def as_input(path: Path | str, provenance: Mapping[str, Any]) -> InputFile:
    """Return the entry of a result file in the `inputs` of what is computed from it."""
    return {"file": str(path), "spec": digest(provenance["spec"]), "sha256": provenance["sha256"]}


def as_encoding(path: Path | str, provenance: Mapping[str, Any]) -> InputFile:
    """Return the entry of latents or conditions, of whose spec the digest leaves out how many there are."""
    return {**as_input(path, provenance), "spec": encoding_digest(provenance["spec"])}


# -- differences, for messages -----------------------------------------------------------------------------------------


def check_spec(path: Path | str, actual: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise ResultError naming what differs if the spec of a result file is not the expected one."""
    if canonical(actual) == canonical(expected):
        return
    if identity(actual) != identity(expected):
        message = f"holds {description(actual)}, not {description(expected)}"
        raise ResultError(path, "foreign", message)
    wrong = differences(actual, expected)
    more = f"; and {len(wrong) - SHOWN} more" if wrong[SHOWN:] else ""
    raise ResultError(path, "outdated", "was computed with " + "; ".join(wrong[:SHOWN]) + more)


def identity(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a spec describes apart from its settings: a cell, or a model and a data set."""
    place = spec.get("cell", spec)
    parts = {key: place[key] for key in IDENTITY if key in place}
    for key in ("backbone", "dataset"):
        if isinstance(parts.get(key), dict):
            parts[key] = parts[key].get("id")
    return parts


def description(spec: Mapping[str, Any]) -> str:
    """Return the identity of a spec in a few words."""
    parts = identity(spec)
    strength, seed = parts.pop("strength", None), parts.pop("seed", None)
    words = [str(value) for value in parts.values()]
    words += [repr(strength)] if strength is not None else []
    words += [f"seed {seed}"] if seed is not None else []
    return ", ".join(words) or "a result without a cell"


def differences(actual: Any, expected: Any, where: str = "") -> list[str]:
    """Return a phrase for every value that differs between two specs, with its path of keys."""
    if isinstance(actual, dict) and isinstance(expected, dict):
        keys = sorted(actual.keys() | expected.keys())
        lists = [differences(actual.get(key), expected.get(key), f"{where}.{key}" if where else key) for key in keys]
        return [phrase for phrases in lists for phrase in phrases]
    if actual == expected:
        return []
    return [f"{where} {actual!s:.{LONGEST_VALUE}} instead of {expected!s:.{LONGEST_VALUE}}"]
