"""What bigain.study.snakemake_internals reads exists in the installed Snakemake, which is of the package's range."""

from __future__ import annotations

import re
import tomllib
from types import SimpleNamespace

import pytest
import snakemake.api  # before its other modules, which import each other
from packaging.requirements import Requirement
from snakemake.jobs import Job
from snakemake.settings.types import DeploymentMethod, DeploymentSettings, ResourceSettings
from snakemake.workflow import DAG, Workflow
from snakemake_interface_executor_plugins.settings import ExecMode

from bigain.study.snakemake_internals import uses_containers


@pytest.fixture(scope="module")
def requirement(root) -> Requirement:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    (line,) = [line for line in project["optional-dependencies"]["study"] if line.startswith("snakemake")]
    return Requirement(line)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (DAG, "needrun_jobs"),
        (Job, "wildcards_dict"),
        (Job, "output"),
        (Workflow, "dag"),
        (Workflow, "_build_dag"),
        (Workflow, "local_exec"),
        (Workflow, "is_main_process"),
        (ResourceSettings, "cores"),
        (ResourceSettings, "nodes"),
        (DeploymentSettings, "deployment_method"),
        (Workflow, "exec_mode"),
        (ExecMode, "DEFAULT"),
    ],
)
def test_an_attribute_exists(owner, name):
    assert name in dir(owner) or name in owner.__dataclass_fields__


def test_a_dag_has_a_set_of_files_to_compute_again():
    assert "forcefiles" in DAG.__init__.__code__.co_names


def test_containers_alone_bring_their_own_python():
    def of(*methods):
        return SimpleNamespace(deployment_settings=DeploymentSettings(deployment_method=frozenset(methods)))

    assert uses_containers(of(DeploymentMethod.APPTAINER))
    assert not uses_containers(of(DeploymentMethod.CONDA))
    assert not uses_containers(of())


def test_a_workflow_has_the_settings():
    assert {"resource_settings", "deployment_settings"} <= set(Workflow.__dataclass_fields__)


def test_a_workflow_lists_its_config_files():
    assert "configfiles" in Workflow.__post_init__.__code__.co_names


def test_the_workflow_asks_for_the_oldest_version_of_the_packages_range(root, requirement):
    (asked,) = re.findall(r'min_version\("([\d.]+)"\)', (root / "workflow/Snakefile").read_text())
    assert f">={asked}" in str(requirement.specifier)
    assert requirement.specifier.contains(snakemake.__version__)
