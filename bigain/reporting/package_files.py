"""Files of the report that come with the package: tables, claims, templates and the paper's printed values.

The workflow names them as inputs of its rules, so this module imports nothing heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bigain.core.places import located

TABLES, CLAIMS = Path(__file__).with_name("tables.yaml"), Path(__file__).with_name("claims.yaml")
TEMPLATES = Path(__file__).parent / "templates"
PRINTED = Path(__file__).parent / "printed_values"  # of the paper's tables


def tables_file(config: dict[str, Any]) -> Path:
    """Return the file that describes a study's tables: the config's, or the package's."""
    return located(config["tables"]) if config["tables"] else _from_working_directory(TABLES)


def claims_file(config: dict[str, Any]) -> Path:
    """Return the file of the claims that a study judges: the config's, or the package's."""
    return located(config["claims"]) if config["claims"] else _from_working_directory(CLAIMS)


def template_files(name: str, suffixes: tuple[str, ...] = ("tex", "html")) -> list[Path]:
    """Return the files of a template."""
    return [_from_working_directory(TEMPLATES / f"{name}.{suffix}.j2") for suffix in suffixes]


def printed_files(*names: str) -> list[Path]:
    """Return files of the paper's printed values."""
    return [_from_working_directory(PRINTED / f"{name}.csv") for name in names]


def _from_working_directory(path: Path) -> Path:
    """Return a path below the working directory relative to it, so that results survive a move of the whole folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
