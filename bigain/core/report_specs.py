"""Specs of what is collected from cells, and the facts about a study that its report prints."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from bigain.core.specs import CodeVersions


class CollectSpec(TypedDict):
    """`bigain collect`: the results of all cells."""

    config: str  # digest of the study's config
    cells: list[tuple[str, str]]  # folder of each cell, and the digest of the spec of its metrics (lists in JSON)
    code: CodeVersions


class TimestepsSpec(TypedDict):
    """`bigain score-timesteps`: accuracy at single timesteps of all cells of a backbone and data set."""

    backbone: str
    dataset: str
    cells: list[tuple[str, str]]  # folder of each cell, and the digest of the spec of its metrics (lists in JSON)
    code: CodeVersions


class DatasetProtocol(TypedDict):
    """Use of a data set by the study, for print; a task's keys exist if the study has the task."""

    reader: str
    images: NotRequired[int]  # classified per cell
    fewest_images: NotRequired[int]  # if some cells classify fewer
    classes: NotRequired[int]
    stages: NotRequired[list[int]]
    keep: NotRequired[list[int]]
    generated: NotRequired[int]  # images generated per cell
    fewest_generated: NotRequired[int]  # if some cells generate fewer


class Agreement(TypedDict):
    """Disagreements of elimination with the full evaluation on some images, and its cost."""

    images: int
    disagreements: int
    predictions: float  # noise predictions per image


class CertifiedCell(Agreement):
    """A cell that a certificate covers: its calibration images, and those that calibration did not use."""

    backbone: str
    dataset: str
    method: str
    strength: float | int | None
    seed: int
    run: str  # digest of the spec of its stored errors
    full_predictions: int  # noise predictions per image of the full evaluation
    others: Agreement


class EliminationCertificate(TypedDict):
    """Certificate of a z on held-out images: with this confidence, no cell's rate of disagreement exceeds `rate`."""

    z: float
    every: int
    trials: int
    rate: float
    confidence: float
    cells: list[CertifiedCell]


class ReportSpec(TypedDict):
    """Facts about the study that tables, figures and the page print."""

    study: str  # its name
    of_paper: bool  # whether it runs the paper's models, so that printed values belong beside its results
    classification: dict[str, Any]  # that section of the config, defaults filled in
    generation: dict[str, Any]  # likewise
    datasets: dict[str, DatasetProtocol]
    backbones: dict[str, Literal["unet", "dit", "mmdit", "flux"]]  # family of each
    seeds: list[int]
    probed: bool  # whether there are Figures 2 and 3 and Theorem 1
    timesteps: NotRequired[bool]  # whether it says where in t the class is; absent in outcomes of before it did
    methods_from: NotRequired[list[str]]  # as in a cell's jobs
    certificate: NotRequired[EliminationCertificate]  # of `classification.elimination`, if the config names one
    results: str  # digest of the spec of the results that are shown
    files: dict[str, str]  # of every other result file that is shown: measurements, probes, generated images
    code: CodeVersions
