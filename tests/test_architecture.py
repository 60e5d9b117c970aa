"""Every package imports only packages below it, and planning and reporting do without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.helpers.repository import ROOT

# What each package may import, from the ground up.
FLOORS = {
    # ground
    "core": [],
    "methods": ["core"],
    "datasets": ["core"],
    # tensor wing
    "tokens": ["methods"],
    "compression": ["core", "methods", "tokens"],
    "backbones": ["core", "methods", "compression"],
    "sampling": ["core", "datasets", "compression", "backbones"],
    "classifier": ["core", "compression", "backbones"],
    "measure": ["core", "methods", "tokens", "compression", "backbones", "classifier"],
    "calibration": ["core", "methods", "compression", "backbones", "sampling", "classifier"],
    "training": ["core", "datasets", "measure"],
    # paper wing; of the classifier it knows the schedules, which are plain data
    "metrics": ["classifier.timesteps", "classifier.elimination", "classifier.descent"],
    "study": ["core", "methods", "datasets", "metrics", "classifier.timesteps"],
    "reporting": [
        *("core", "methods", "datasets", "metrics", "study"),
        *("classifier.timesteps", "classifier.elimination", "classifier.descent"),
    ],
    # where the wings meet
    "zero_shot": ["core", "methods", "datasets", "compression", "backbones", "classifier", "metrics"],
    "jobs": [
        *("core", "methods", "datasets", "tokens", "compression", "backbones", "sampling", "classifier"),
        *("measure", "calibration", "metrics", "zero_shot"),
    ],
    "cli": [
        *("core", "methods", "datasets", "study", "reporting", "jobs", "measure", "training"),
        "backbones",  # which the fork server imports ahead of its jobs
    ],
    # the root
    "__main__": ["cli"],
    "__init__": ["methods", "compression", "zero_shot"],
}
WITHOUT_TORCH = ("core", "methods", "datasets", "metrics", "study", "reporting", "cli")
PLAIN_MODULES = (
    "bigain",
    "bigain.classifier.timesteps",
    "bigain.classifier.elimination",
    "bigain.classifier.descent",
    "bigain.jobs.score",
    "bigain.jobs.score_generation",
    "bigain.jobs.score_timesteps",
    "bigain.jobs.collect",
)
FILES_AT_THE_ROOT = 5


def imports_of(package: str) -> Iterator[tuple[str, str]]:
    """Yield "file:line" and the name, without `bigain.`, of every import of the library's own modules, in functions
    too."""
    path = ROOT / "bigain" / package
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}:{node.lineno} is a relative import"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            place = f"{file.relative_to(ROOT)}:{node.lineno}"
            yield from ((place, name.removeprefix("bigain.")) for name in names if name.startswith("bigain."))


def lies_in(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


@pytest.mark.parametrize("package", FLOORS)
def test_a_package_imports_only_what_lies_below_it(package):
    allowed = [package, *FLOORS[package]]
    wrong = [
        f"{place} imports bigain.{name}"
        for place, name in imports_of(package)
        if not any(lies_in(name, floor) for floor in allowed)
    ]
    assert not wrong


def test_every_package_has_a_floor_above_all_that_it_imports():
    packages = {path.stem for path in (ROOT / "bigain").iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    assert packages == set(FLOORS)
    order = list(FLOORS)
    for package, below in FLOORS.items():
        assert not [name for name in below if order.index(name.split(".")[0]) >= order.index(package)], package


@pytest.mark.parametrize("package", FLOORS)
def test_every_allowed_import_is_there(package):
    """So that the floors above stay a picture of the code."""
    names = [name for _, name in imports_of(package)]
    assert not [below for below in FLOORS[package] if not any(lies_in(name, below) for name in names)]


def test_planning_and_reporting_import_no_torch():
    modules = [*PLAIN_MODULES]
    for package in WITHOUT_TORCH:
        files = sorted((ROOT / "bigain" / package).rglob("*.py"))
        modules += [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    code = (
        "import importlib, sys\n"
        f"for module in {modules}:\n"
        "    importlib.import_module(module)\n"
        "    found = {'torch', 'diffusers', 'transformers'} & set(sys.modules)\n"
        "    if found: sys.exit(f'{module} imports {found}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_few_files_lie_at_the_root_of_the_package():
    files = [path.name for path in (ROOT / "bigain").iterdir() if path.is_file()]
    assert len(files) <= FILES_AT_THE_ROOT, files
