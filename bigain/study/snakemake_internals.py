"""Wrap the private Snakemake objects that the workflow uses, all in one place.

If a new Snakemake breaks one of these functions, tests/workflow/test_snakemake_internals.py names the attribute that is
gone. Look for its new name in Snakemake's `workflow.py` and `dag.py`, change it here, and raise `min_version` in
workflow/Snakefile together with the range in pyproject.toml.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OTHER_FILES = ("--report", "--cleanup-metadata", "--cm")  # options whose files need not belong to the study


def config_files(workflow: Any) -> list[Path]:
    """Return the config files that Snakemake has merged: the workflow's own, and those of the command line."""
    return [Path(file) for file in workflow.configfiles]


def named_files() -> list[str]:
    """Return the arguments of the command line that may be targets; Snakemake itself tells only after reading the
    rules."""
    named, option = [], ""
    for argument in sys.argv[1:]:
        option = argument if argument.startswith("-") else option
        if argument != option and option not in OTHER_FILES:
            named.append(argument)
    return named


def plans_for_this_machine(workflow: Any) -> bool:
    """Return whether jobs will run on this machine, as far as is known while rules are read: no number of nodes
    (`--jobs`) is set, and this process is not a job of a cluster, which reads the rules again."""
    return workflow.exec_mode.name == "DEFAULT" and workflow.resource_settings.nodes is None


def planned_jobs(workflow: Any) -> list[tuple[str, dict[str, str]]]:
    """Return rule and wildcards of every job that is about to run; known from `onstart` on."""
    return [(job.rule.name, job.wildcards_dict) for job in workflow.dag.needrun_jobs()]


def planned_outputs(workflow: Any) -> set[Path]:
    """Return the output files of every job that is about to run; known from `onstart` on."""
    return {Path(file) for job in workflow.dag.needrun_jobs() for file in job.output}


def runs_locally(workflow: Any) -> bool:
    """Return whether jobs run on this machine, not on a cluster."""
    return workflow.local_exec


def cores(workflow: Any) -> int | None:
    """Return the number of cores that local jobs share; None for a report and on a cluster."""
    return workflow.resource_settings.cores


def plans(workflow: Any) -> bool:
    """Return whether this process plans the workflow; jobs read the rules in processes of their own."""
    return workflow.is_main_process


def compute_again(workflow: Any, files: Iterable[str]) -> None:
    """Compute files again if they are wanted at all. Called while rules are read, before jobs are chosen."""
    choose_jobs = workflow._build_dag

    def choose_jobs_of(*arguments: Any) -> Any:
        workflow.dag.forcefiles.update(files)
        return choose_jobs(*arguments)

    workflow._build_dag = choose_jobs_of


def uses_containers(workflow: Any) -> bool:
    """Return whether jobs run in the workflow's container (`--sdm apptainer`)."""
    return any(method.name == "APPTAINER" for method in workflow.deployment_settings.deployment_method)
