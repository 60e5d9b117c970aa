"""What may be removed from a study's folders, and how much it would free."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from bigain.core.records import work_folder
from bigain.study.cell_specs import job_spec
from bigain.study.products import products
from bigain.study.study import Study
from bigain.study.verification import orphans, shard_folders


class Removable(NamedTuple):
    """A file or folder that may go, and why."""

    path: Path
    reason: str

    @property
    def bytes(self) -> int:
        """The size of the file, or of all files in the folder."""
        files = [self.path] if self.path.is_file() else [file for file in self.path.rglob("*") if file.is_file()]
        return sum(file.stat().st_size for file in files)

    def remove(self) -> None:
        """Remove it, and the folders that it leaves empty."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)
        for folder in self.path.parents:
            if not folder.is_dir() or any(folder.iterdir()):
                return
            folder.rmdir()


def unused(study: Study, rendered: Iterable[str]) -> list[Removable]:
    """Return what belongs to no cell of a study: result files, shards, and files of its report that it no longer has.

    `rendered` are the names of the files that the report has.
    """
    shards, known = shard_folders(study), set(rendered)
    of_others = [folder for folder in sorted(Path(study.results, "work").glob("*")) if folder not in shards]
    stale = [file for file in sorted(Path(study.reports).glob("*")) if file.name not in known]
    return [
        *(Removable(file, "of no cell") for file in orphans(study, products(study))),
        *(Removable(folder, "shards of other settings") for folder in of_others),
        *(Removable(file, "not part of the report") for file in stale),
    ]


def of_cell(study: Study, path: str) -> list[Removable]:
    """Return a cell's shards and result files, after whose removal it is computed anew."""
    cell = study.cell(path)
    shards, results = work_folder(job_spec(study, cell, 0)), Path(study.results, "cells", path)
    return [Removable(place, f"of {path}") for place in (shards, results) if place.exists()]
