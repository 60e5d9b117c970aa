"""The workflow away from its repository: in another directory, as a module, and in snakedeploy's layout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

CLASSIFY = "results/smallest/cells/classification/mini_dit/fashion/bigain_td/factor-2/seed-0/metrics.json"
MODULE = """
configfile: "config/config.yaml"

module bigain:
    snakefile: "{snakefile}"
    config: config

use rule * from bigain as bigain_*

rule all:
    default_target: True
    input: rules.bigain_all.input
"""


def snakemake(folder: Path, *arguments: str, checkout: Path | None = None) -> str:
    """Run Snakemake on two cores, which has to succeed, and return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if checkout is not None:
        environment["PYTHONPATH"] = str(checkout)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    completed = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, (completed.stdout + completed.stderr)[-5000:]
    return completed.stdout + completed.stderr


def jobs(dry_run: str) -> dict[str, int]:
    """How many jobs of each rule a dry run lists."""
    stats = dry_run[dry_run.rindex("Job stats:") :]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.M) if rule != "total"}


@pytest.fixture
def folder(root, tmp_path) -> Path:
    """An empty working directory with the smallest study's config."""
    shutil.copytree(root / ".test/config", tmp_path / "config")
    return tmp_path


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_another_directory_computes_with_the_models_of_the_checkout(root, folder, tmp_path_factory, snakefile):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    arguments = ("--snakefile", str(root / snakefile), "--directory", str(folder))
    planned = jobs(snakemake(elsewhere, *arguments, "--dry-run"))
    assert planned["classify"] == 2
    if snakefile == "workflow/Snakefile":
        snakemake(elsewhere, *arguments, CLASSIFY)
        assert (folder / CLASSIFY).is_file()
        assert not list(elsewhere.iterdir())


def test_the_workflow_is_a_module_of_another(root, folder):
    (folder / "Snakefile").write_text(MODULE.format(snakefile=root / "workflow/Snakefile"))
    planned = jobs(snakemake(folder, "--dry-run", checkout=root))
    assert planned["bigain_classify"] == 2
    assert planned["all"] == 1


def test_snakedeploys_layout_needs_the_installed_package_only(root, folder):
    shutil.copytree(root / "workflow", folder / "workflow")
    planned = jobs(snakemake(folder, "--dry-run", checkout=root))
    assert planned["classify"] == 2
    assert planned["all"] == 1
