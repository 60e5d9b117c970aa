"""Folders that appear whole or not at all: written under a temporary name beside their place, then renamed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bigain.core.files import named_in_faults, temporary_beside


def check_new(folder: Path) -> None:
    """Raise FileExistsError if something is there already; an empty folder does not count."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{folder} exists, and nothing is overwritten: choose another folder, or remove it")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; on success it becomes `folder`, on any failure it is removed.

    Temporary folders of `folder` that killed processes left on this machine are removed, too.

    Raises FileExistsError if `folder` exists and is not empty.
    """
    check_new(folder)
    temporary = temporary_beside(folder)
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed process whose number this one has got
    temporary.mkdir()
    try:
        with named_in_faults(folder):
            yield temporary
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
