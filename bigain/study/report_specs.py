"""Specs at the two ends of a study: what it downloads, and what its tables and page say about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bigain.core.provenance import digest
from bigain.core.report_specs import CollectSpec, DatasetProtocol, ReportSpec
from bigain.core.specs import FetchSpec
from bigain.datasets import SOURCES
from bigain.methods.method import Task
from bigain.study.cell_specs import job_spec, score_spec, stage_schedule
from bigain.study.cells import Cell
from bigain.study.certificates import certificate_of
from bigain.study.fingerprints import code_of
from bigain.study.measurement_specs import (
    efficiency_spec,
    in_figures,
    margins_spec,
    probed,
    spectrum_spec,
    token_maps_spec,
    with_margins,
)
from bigain.study.spec_parts import methods_from
from bigain.study.timestep_specs import timesteps_file, timesteps_spec, with_timesteps
from bigain.study.workload import Workload

OF_PAPER = ("sd2", "dit_xl2")  # architectures whose numbers the paper prints


def fetchable(work: Workload) -> list[str]:
    """Return the backbones and data sets of the study that can be downloaded, and `inception` if it is used."""
    models = [name for name in work.backbones() if work.config["backbones"][name]["hub"]]
    used = dict.fromkeys(cell.dataset for cell in work.cells)
    datasets = [name for name in used if SOURCES[work.config["datasets"][name]["reader"]].downloadable]
    network = ["inception"] if work.config.get("feature_network", {}).get("name") == "inception" else []
    return models + datasets + network


def fetch_spec(work: Workload, name: str) -> FetchSpec:
    """Return what `bigain fetch` needs to know about a backbone, a data set or the Inception network."""
    if name == "inception":
        return {"weights": work.config["feature_network"]["weights"]}
    if name in work.config["datasets"]:
        settings = work.config["datasets"][name]
        return {"reader": settings["reader"], "path": settings["path"]}
    settings = work.config["backbones"][name]
    hub, revision = settings["hub"], settings["revision"]
    return {"family": settings["family"], "hub": hub, "revision": revision, "path": settings["path"]}


def collect_spec(work: Workload) -> CollectSpec:
    """Return the spec of the collected results, with the digests of the specs of all metrics."""
    return {
        "config": digest(work.config),
        "cells": [(cell.path, digest(score_spec(work, cell))) for cell in work.cells],
        "code": code_of("jobs.collect"),
    }


def report_spec(work: Workload, collected: CollectSpec) -> ReportSpec:
    """Return what the tables and the page say about the study itself, and the digests of the specs of what they show.

    `collected` is the spec of the results, `collect_spec`.
    """
    config, folder = work.config, work.results
    files: dict[str, Mapping[str, Any]] = {}
    for backbone in work.backbones():
        files[f"{folder}/efficiency/{backbone}.csv"] = efficiency_spec(work, backbone)
    for backbone, dataset in probed(work):
        files[f"{folder}/probes/{backbone}/{dataset}/spectrum.parquet"] = spectrum_spec(work, backbone, dataset)
    for backbone, dataset in with_margins(work):
        files[f"{folder}/probes/{backbone}/{dataset}/margins.parquet"] = margins_spec(work, backbone, dataset)
    for backbone, dataset in in_figures(work):
        files[f"{folder}/probes/{backbone}/{dataset}/tokens.safetensors"] = token_maps_spec(work, backbone, dataset)
    for pair in with_timesteps(work):
        files[timesteps_file(work, *pair)] = timesteps_spec(work, *pair, collected)
    for cell in _sampled(work):
        files[work.chunk_files(cell)[0]] = job_spec(work, cell, 0)
    spec: ReportSpec = {
        "study": work.name,
        "of_paper": any(config["backbones"][name]["architecture"] in OF_PAPER for name in work.backbones()),
        "classification": config["classification"],
        "generation": config["generation"],
        "datasets": {name: _protocol(work, name) for name in dict.fromkeys(cell.dataset for cell in work.cells)},
        "backbones": {name: settings["family"] for name, settings in config["backbones"].items()},
        "seeds": config["seeds"],
        "probed": bool(probed(work)),
        "timesteps": bool(work.pairs["classification"]),
        "results": digest(collected),
        "files": {file: digest(spec) for file, spec in files.items()},
        "code": code_of("cli_report"),
    }
    if sources := methods_from(cell.method for cell in work.cells):
        spec["methods_from"] = sources
    if (certificate := certificate_of(config)) is not None:
        spec["certificate"] = certificate
    return spec


def sample_sheets(work: Workload) -> dict[tuple[str, str], list[str]]:
    """Return the sample sheets by (backbone, data set): a generated chunk of each cell, one per row."""
    sheets: dict[tuple[str, str], list[str]] = {}
    for cell in _sampled(work):
        sheets.setdefault((cell.backbone, cell.dataset), []).append(work.chunk_files(cell)[0])
    return sheets


def _sampled(work: Workload) -> list[Cell]:
    """Return the cells on sample sheets: those of the first seed that generate, if images are kept."""
    if not work.config["generation"]["keep_images"]:
        return []
    return [cell for cell in work.cells if cell.task == "generation" and cell.seed == work.config["seeds"][0]]


def _protocol(work: Workload, dataset: str) -> DatasetProtocol:
    images: dict[Task, set[int]] = {"classification": set(), "generation": set()}
    for cell in work.cells:
        if cell.dataset == dataset:
            images[cell.task].add(work.images(cell))
    protocol: DatasetProtocol = {"reader": work.config["datasets"][dataset]["reader"]}
    if classified := images["classification"]:
        schedule = stage_schedule(work, dataset)
        protocol |= {
            "images": max(classified),
            "classes": work.classes(dataset),
            "stages": schedule["stages"],
            "keep": schedule["keep"],
        }
        if len(classified) > 1:
            protocol["fewest_images"] = min(classified)
    if generated := images["generation"]:
        protocol["generated"] = max(generated)
        if len(generated) > 1:
            protocol["fewest_generated"] = min(generated)
    return protocol
