"""Wrap the private Snakemake objects that the workflow uses, all in one place.

If a new Snakemake breaks one of these functions, tests/workflow/test_snakemake_internals.py names the attribute that is
gone. Look for its new name in Snakemake's `workflow.py` and `dag.py`, change it here, and raise `min_version` in
workflow/Snakefile together with the range in pyproject.toml.
"""

from __future__ import annotations

from typing import Any


def planned_jobs(workflow: Any) -> list[tuple[str, dict[str, str]]]:
    """Return rule and wildcards of every job that is about to run; known from `onstart` on."""
    return [(job.rule.name, job.wildcards_dict) for job in workflow.dag.needrun_jobs()]


def runs_locally(workflow: Any) -> bool:
    """Return whether jobs run on this machine, not on a cluster."""
    return workflow.local_exec


def cores(workflow: Any) -> int | None:
    """Return the number of cores that local jobs share; None for a report and on a cluster."""
    return workflow.resource_settings.cores


def uses_containers(workflow: Any) -> bool:
    """Return whether jobs run in the workflow's container (`--sdm apptainer`)."""
    return bool(workflow.deployment_settings.deployment_method)
