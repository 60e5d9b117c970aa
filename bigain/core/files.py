"""Files that appear whole or not at all: written under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UMASK = os.umask(0)  # it can only be read by setting it
os.umask(UMASK)
NAME_DIGITS = 12  # of a sha256, in the name of a file that is named after its content


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on any failure it is removed.

    Temporary files of `path` that killed processes left on this machine are removed, too.
    """
    path = Path(path)
    with _temporary_file(path) as temporary:
        yield temporary
        _flush(temporary)
        temporary.replace(path)


@contextmanager
def content_named_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes `path` with the start of its sha256 before the suffix.

    `name_fits_content` verifies such a file.
    """
    path = Path(path)
    with _temporary_file(path) as temporary:
        yield temporary
        _flush(temporary)
        temporary.replace(path.with_name(f"{path.stem}-{sha256(temporary)[:NAME_DIGITS]}{path.suffix}"))


def content_named_files(path: Path | str) -> list[Path]:
    """Return the files that `content_named_file` wrote for a path, in the order of their names."""
    path = Path(path)
    digits = "[0-9a-f]" * NAME_DIGITS
    return sorted(path.parent.glob(f"{glob.escape(path.stem)}-{digits}{glob.escape(path.suffix)}"))


def name_fits_content(path: Path) -> bool:
    """Return whether the content of a file of `content_named_file` still matches the digest in its name."""
    return path.stem.endswith(f"-{sha256(path)[:NAME_DIGITS]}")


@contextmanager
def _temporary_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which is removed at the end, as are those that killed processes left."""
    temporary = temporary_beside(path)
    try:
        with named_in_faults(path):
            yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def named_in_faults(path: Path) -> Iterator[None]:
    """Name `path` in an OSError that names no file, such as that of a failed write."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def temporary_beside(path: Path) -> Path:
    """Return this process's temporary path beside `path`, and remove what killed processes left there on this machine.

    `path` is a file or a folder; the folder around it is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}.{socket.gethostname()}-"
    for left in path.parent.glob(f"{glob.escape(prefix)}*.tmp"):
        if _is_running(left.name.removeprefix(prefix).removesuffix(".tmp")):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
    return path.with_name(f"{prefix}{os.getpid()}.tmp")


def _flush(temporary: Path) -> None:
    """Write a temporary file through to the disk, and give it the permissions of the user's other files."""
    with open(temporary, "rb") as handle:
        os.fsync(handle.fileno())
    temporary.chmod(0o666 & ~UMASK)  # safetensors writes files that only their owner can read


def _is_running(process: str) -> bool:
    """Return whether a process with this number exists."""
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:  # of another user
        return True
    return True


def write_text(path: Path | str, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write a JSON file (sorted keys, indented) whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file. Raises ValueError naming the file if it is not valid JSON in UTF-8, or nested too deeply."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path}: not a valid JSON file ({error})") from error


@contextmanager
def naming(file: Path | str) -> Iterator[None]:
    """Turn what a parser raises on a damaged file into a ValueError that names the file."""
    try:
        yield
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        if isinstance(error, ValueError) and str(file) in str(error):
            raise
        raise ValueError(f"{file} is damaged ({type(error).__name__}: {error})") from error


def sha256(path: Path | str) -> str:
    """Return the hexadecimal sha256 of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
