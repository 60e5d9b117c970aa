"""Specs of accuracy at single timesteps, which shows where in t the class is."""

from __future__ import annotations

from collections.abc import Mapping

from bigain.core.report_specs import CollectSpec, TimestepsSpec
from bigain.study.cells import Cell
from bigain.study.fingerprints import code_of
from bigain.study.workload import Workload

FOLDER = "timesteps"  # below results/<study>


def with_timesteps(work: Workload) -> list[tuple[str, str]]:
    """Return the (backbone, data set) pairs whose single timesteps are scored: those with a single label per image.

    There are none if timesteps are drawn for each image, since images then share hardly any.
    """
    if work.config["classification"]["timesteps"] != "grid":
        return []
    return [(b, d) for b, d in work.pairs["classification"] if not work.multi_label(d) and work.classes(d) > 1]


def timesteps_file(work: Workload, backbone: str, dataset: str) -> str:
    """Return the file of the accuracy at single timesteps of a backbone on a data set."""
    return f"{work.results}/{FOLDER}/{backbone}/{dataset}.parquet"


def timesteps_inputs(work: Workload, backbone: str, dataset: str) -> list[str]:
    """Return the files of metrics and errors that the accuracy at single timesteps is computed from."""
    cells = _cells(work, backbone, dataset)
    metrics = [f"{work.results}/cells/{cell.path}/metrics.json" for cell in cells]
    return [*metrics, *(file for cell in cells for file in work.chunk_files(cell))]


def timesteps_spec(work: Workload, backbone: str, dataset: str, collected: CollectSpec) -> TimestepsSpec:
    """Return the spec of the accuracy at single timesteps; the digests of its cells are those that are `collected`."""
    digests: Mapping[str, str] = dict(collected["cells"])
    return {
        "backbone": backbone,
        "dataset": dataset,
        "cells": [(cell.path, digests[cell.path]) for cell in _cells(work, backbone, dataset)],
        "code": code_of("jobs.score_timesteps"),
    }


def _cells(work: Workload, backbone: str, dataset: str) -> list[Cell]:
    place = ("classification", backbone, dataset)
    return [cell for cell in work.cells if (cell.task, cell.backbone, cell.dataset) == place]
