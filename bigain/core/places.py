"""Find files: in the working directory first, then among those that come with the package."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
INSTALLED = PACKAGE / "project"  # setup.py puts the files of a checkout's top folder there


def project() -> Path:
    """Return the folder of the workflow, its profiles and configs, and the embedded models and data: inside an
    installed package, the top folder of a checkout."""
    return INSTALLED if INSTALLED.is_dir() else PACKAGE.parent


def located(path: Path | str) -> Path:
    """Return a path in the working directory if it exists there, or else in the project folder if it exists there."""
    path = Path(path)
    return path if path.exists() or not (project() / path).exists() else project() / path


def importing_this_package() -> dict[str, str]:
    """Return the environment variables with which a new Python imports this package from any folder: PYTHONPATH, unless
    the package is installed."""
    if INSTALLED.is_dir():
        return {}
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
