"""Folders that appear whole or not at all: written under a temporary name beside their place, then renamed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bigain.core.files import UMASK


def check_new(folder: Path) -> None:
    """Raise FileExistsError if something is there already; an empty folder does not count."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{folder} exists, and nothing is overwritten: choose another folder, or remove it")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; on success it becomes `folder`, on any failure it is removed.

    Raises FileExistsError if `folder` exists and is not empty.
    """
    check_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".tmp", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~UMASK)  # mkdtemp's are their owner's alone
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
