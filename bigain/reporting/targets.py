"""Refuse target files that no rule of the workflow makes for a study, before Snakemake looks for one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from bigain.reporting.commands import report_files
from bigain.study.config import ConfigError
from bigain.study.products import result_files
from bigain.study.study import Study
from bigain.study.verification import RESULT_FOLDERS

MADE = (*RESULT_FOLDERS, "fetched")  # folders of results/<study> in which rules write
CHUNK = re.compile(r"chunk-\d+\.(parquet|safetensors)(\.json)?")


def check_targets(study: Study, arguments: Iterable[str]) -> None:
    """Raise ConfigError, with a suggestion, if an argument lies in the study's folders but no rule makes it."""
    folders = (f"{study.reports}/", *(f"{study.results}/{folder}/" for folder in MADE))
    asked = [argument for argument in arguments if argument.startswith(folders) and Path(argument).suffix]
    if not asked:
        return
    made = set(_files(study))
    missing = [target for target in asked if target not in made]
    if missing:
        lines = (
            f"{target}: the study {study.name} does not make this file{_hint(study, target, made)}"
            for target in missing
        )
        raise ConfigError("\n".join(lines))


def _hint(study: Study, target: str, made: set[str]) -> str:
    """Return a suggestion: the chunks that the cell has, or else the file with the closest name."""
    folder, name = target.rsplit("/", 1)
    for cell in study.cells if CHUNK.fullmatch(name) else ():
        if folder == f"{study.results}/cells/{cell.path}":
            files = study.chunk_files(cell)
            return f"; this cell has {' to '.join(dict.fromkeys(Path(file).name for file in (files[0], files[-1])))}"
    close = difflib.get_close_matches(target, made, n=1)
    return f". Did you mean {close[0]}?" if close else ""


def _files(study: Study) -> list[str]:
    """Return every file that the rules of the workflow can make for a study."""
    fetched = (f"{study.results}/fetched/{name}" for name in study.fetchable())
    return [*result_files(study), *(f"{study.reports}/{name}" for name in report_files(study)), *fetched]
