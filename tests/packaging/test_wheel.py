"""An installed wheel works without the repository around it."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

STUDY = {
    "study": "tiny",
    "datasets": {"fashion": {"images": 4}},
    "cells": [
        {
            "task": "classification",
            "backbone": "mini_dit",
            "dataset": "fashion",
            "methods": ["none", "bigain_td"],
            "strengths": {"downsample_factor": [2]},
        }
    ],
}


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run a module with the installed Python, which sees nothing of the repository."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(python), "-m", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def output(python: Path, folder: Path, *arguments: str) -> str:
    """Run a module, which has to succeed, and return what it printed."""
    completed = run(python, folder, *arguments)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder that holds a config and nothing else."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    return tmp_path


def test_the_package_is_the_wheels(installed, folder):
    code = "import bigain, bigain.core.places as p; print(bigain.__file__); print(p.project())"
    completed = subprocess.run([str(installed), "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    module, project = completed.stdout.splitlines()
    assert module.startswith(str(installed.parents[1]))
    assert project == str(Path(module).parent / "project")


def test_a_study_is_planned_checked_and_watched_from_a_config_alone(installed, folder):
    config = ("--configfile", "tiny.yaml")
    plan = json.loads(output(installed, folder, "bigain", "plan", *config, "--json"))
    assert plan["totals"]["study"]["cells"] == 2
    assert "tiny: nothing is missing" in output(installed, folder, "bigain", "check", *config)
    status = json.loads(output(installed, folder, "bigain", "status", *config, "--json"))
    assert status["study"] == "tiny"


def test_methods_and_flops_need_no_study(installed, folder):
    assert "bigain_tm" in output(installed, folder, "bigain", "methods")
    command = ("bigain", "flops", "--backbone", "sd2", "--method", "bigain_td", "--factor", "2", "--json")
    assert json.loads(output(installed, folder, *command))["total"] > 0


def test_a_missing_config_is_named_with_the_way_to_get_one(installed, folder):
    completed = run(installed, folder, "bigain", "plan", "--configfile", "nowhere.yaml")
    assert completed.returncode == 2
    assert "nowhere.yaml is missing" in completed.stderr
    assert "bigain init" in completed.stderr


def test_the_embedded_study_is_written_once_and_runs_there(installed, folder):
    output(installed, folder, "bigain", "init", "study")
    again = run(installed, folder, "bigain", "init", "study")
    assert again.returncode == 2
    assert "would be overwritten" in again.stderr
    study = folder / "study"
    schema = (study / "config/config.yaml").read_text().splitlines()[0].partition("$schema=")[2]
    assert json.loads(Path(schema).read_text())["title"]
    everything = output(installed, study, "snakemake", "--cores", "2", "--dry-run")
    assert "rule default" in everything
    config = ("--configfile", "../tiny.yaml")
    tables = [f"reports/tiny/{name}.html" for name in ("table10", "audit")]
    output(installed, study, "snakemake", "--cores", "2", *tables, *config)
    assert all((study / table).stat().st_size > 500 for table in tables)


def test_the_wheel_holds_what_init_writes_and_no_caches(wheel, root):
    names = zipfile.ZipFile(wheel).namelist()
    for folder in ("workflow", "profiles", "config", "resources"):
        for file in (root / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert f"bigain/project/{file.relative_to(root)}" in names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


WITHOUT_STUDY = """
import sys
STUDY = "jsonschema matplotlib pandas pyarrow pycocotools pytorch_fid scipy snakemake torch_fidelity torchvision"
sys.modules.update(dict.fromkeys(STUDY.split()))  # as if none were installed
import bigain
from bigain.cli.main import main
assert bigain.compressed
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["methods"], 0, "bigain_tm"),
        (["flops", "--backbone", "sd2", "--method", "tome", "--ratio", "0.5"], 0, "saved"),
        (["plan"], 2, 'pip install "bigain[study]"'),
    ],
    ids=["methods", "flops", "plan"],
)
def test_the_library_does_without_the_packages_of_the_study(installed, folder, arguments, code, expected):
    command = [str(installed), "-c", WITHOUT_STUDY, *arguments]
    completed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert completed.returncode == code, completed.stderr
    assert expected in completed.stdout + completed.stderr
