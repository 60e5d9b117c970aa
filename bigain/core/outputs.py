"""Check the files that a command writes where its user says, before it computes anything.

A command replaces only what it wrote itself, and never what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple


class Output(NamedTuple):
    """A file to write: the option that names it, and how to tell that an existing file is `earlier`, an output of the
    same kind."""

    option: str
    path: Path
    earlier: str
    is_earlier: Callable[[Path], bool]


def check_outputs(outputs: Sequence[Output], inputs: Sequence[tuple[str, Path | None]] = ()) -> None:
    """Raise ValueError naming an output that cannot be written or that would replace something else.

    That is a folder, a file below a file, a file of another kind than the output's, the same file as another output or
    as one of the `inputs`, which are pairs of an option or argument and its path. Paths are compared as the file system
    resolves them, with its symbolic and hard links.
    """
    for output in outputs:
        _check_place(output)
    for output in outputs:
        for option, path in inputs:
            if path is not None and is_same_file(path, output.path):
                raise ValueError(
                    f"{output.option} {output.path} is the file that {option} reads, and would be replaced: name "
                    "another file"
                )
    for first, second in combinations(outputs, 2):
        if is_same_file(first.path, second.path):
            raise ValueError(f"{first.option} and {second.option} are both {second.path}: name two files")
    for output in outputs:
        if output.path.exists() and not output.is_earlier(output.path):
            raise ValueError(f"{output.option} {output.path} exists and is not {output.earlier}: name another file")


def is_same_file(first: Path, second: Path) -> bool:
    """Return whether two paths are one file, or would be one if it existed."""
    if first.exists() and second.exists():
        return first.samefile(second)
    return first.resolve() == second.resolve()


def begins_with(start: bytes) -> Callable[[Path], bool]:
    """Return the function that tells whether a file begins with some bytes: a header, or the mark of a format."""

    def begins(path: Path) -> bool:
        with open(path, "rb") as handle:
            return handle.read(len(start)) == start

    return begins


def _check_place(output: Output) -> None:
    if output.path.is_dir():
        raise ValueError(f"{output.option} {output.path} is a folder; a file is needed")
    above = next(folder for folder in output.path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ValueError(f"{output.option} {output.path}: {above} is not a folder")
