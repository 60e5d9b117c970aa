"""Put the workflow, its profiles and configs, and the embedded models and data into the wheel: `bigain/project`.

The rest of the package's metadata is in pyproject.toml. Checkouts and editable installs use the folders where they are.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROJECT = ("Snakefile", "workflow", "profiles", "config", "resources")


class BuildWithProject(build_py):
    """Build the package, and copy the project's files into it unless the install is editable."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib, "bigain", "project")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in PROJECT:
            if Path(name).is_dir():
                shutil.copytree(name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copy(name, folder / name)


setup(cmdclass={"build_py": BuildWithProject})
