"""Find what may be removed from a study's folders, and how much disk space that frees."""

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
    """A file or folder that may be removed, and why."""

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
    """Return what a study as configured does not use: result files, shards, and files in the folder of its report.

    `rendered` are the names of the files that the report may have.
    """
    shards, known = shard_folders(study), set(rendered)
    of_others = [folder for folder in sorted(Path(study.results, "work").glob("*")) if folder not in shards]
    stale = [file for file in sorted(Path(study.reports).glob("*")) if file.name not in known]
    return [
        *(Removable(file, "belongs to no cell") for file in orphans(study, products(study))),
        *(Removable(folder, "shards of other settings") for folder in of_others),
        *(Removable(file, "not part of the report") for file in stale),
    ]


def of_cell(study: Study, path: str) -> list[Removable]:
    """Return the shards and the result files of a cell, which is computed anew once they are removed."""
    cell = study.cell(path)
    shards, results = work_folder(job_spec(study, cell, 0)), Path(study.results, "cells", path)
    return [Removable(place, f"belongs to {path}") for place in (shards, results) if place.exists()]
