"""Choose the tables and figures of a study's report. Imported when the workflow is planned, so it stays light."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from bigain.core.messages import unknown
from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from bigain.reporting.entries import check_keys, read_entries
from bigain.reporting.package_files import PRINTED, claims_file, tables_file
from bigain.study.cells import Cell, Config
from bigain.study.config import refusal


class Figure(NamedTuple):
    """A figure of the report: the name of its files, its alternative text and its caption."""

    name: str
    alt: str
    caption: str

    @property
    def csv(self) -> str:
        """The CSV file of its numbers; those of `spectrum` are in the table of Theorem 1."""
        return "theorem1.csv" if self.name == "spectrum" else f"{self.name}.csv"


FIGURES = (
    Figure(
        "figure1",
        "Percent change in accuracy and Fréchet distance for each method, with paired intervals",
        "Figure 1. Change from the uncompressed model, in percent of the uncompressed value, with 95% intervals of the "
        "paired difference, over the same images or over images generated from the same noise. Shading marks the "
        "better of two methods where their paired difference is significant (5%); elsewhere nothing is decided.",
    ),
    Figure(
        "tradeoff",
        "Accuracy over operations and over Fréchet distance, with the Pareto front",
        "Accuracy against the operations of a forward pass and against the Fréchet distance of generated images. Lines "
        "connect a method's strengths; the grey staircase is the Pareto front of the estimates. A point is surely on "
        "the front if every other point costs more or is significantly less accurate, and surely off it if another "
        "point costs no more and is significantly more accurate (paired tests at 5%, for distances too). Bars are 95% "
        "intervals of single accuracies and do not compare two points.",
    ),
    Figure(
        "classes",
        "Per-class change in accuracy with paired intervals",
        "Per-class Acc@1 minus the uncompressed model's on the same images, each method at its highest strength, with "
        "paired 95% intervals and the number of the class's images in parentheses. Classes of fewer than 10 images are "
        "left out.",
    ),
)
TIMESTEPS_FIGURE = Figure(
    "timesteps",
    "Accuracy by the errors at a single timestep, and its change under compression, over the timesteps",
    "Where in t is the class? Above: Acc@1 of decisions by the errors at a single timestep, with 95% intervals of the "
    "uncompressed model; timesteps at which some classes had already been dropped are left out and marked. Below: "
    "paired differences of compressed models from the uncompressed model on the same images, with 95% intervals, "
    "slightly offset in t. At most four compressed methods are drawn, at their highest strength; the CSV file has all.",
)
LEADERBOARD_FIGURE = Figure(
    "forest",
    "Accuracy minus the uncompressed model's for every method, by budget of operations, with paired intervals",
    "Leaderboard. Accuracy of every method minus the uncompressed model's on the same images, with paired 95% "
    "intervals, by budget of counted operations; within a budget, the best estimate comes first. Filled points have "
    "an interval that excludes 0; the dotted line is ToMe at the same budget.",
)
PROBE_FIGURES = (  # of a study whose models are probed: token methods classify single-label images
    Figure(
        "figure2",
        "Images and the Laplacian saliency of their tokens",
        "Figure 2. Laplacian score (Eq. 7) of every token before self-attention, without a prompt, averaged over noise "
        "draws: bright tokens are detailed. For a U-Net, the scores are from the last block at the highest resolution.",
    ),
    Figure(
        "figure3",
        "Images with the tokens that ToMe and BiGain_TM merge away",
        "Figure 3. Tokens merged away (light blue) at 90% with cells of 4x4 tokens; 2x2 cells merge at most 75%.",
    ),
    Figure(
        "frequency",
        "Leads of the lowest score over other destinations, accuracy over alpha, and the part that r explains",
        "Is it frequency? Left: lead of destinations with the lowest Laplacian score over other destinations. Middle: "
        "accuracy over alpha at a fixed factor. Right: the part of the leads that the change of each image's r "
        "explains, fitted on one half of the images and evaluated on the other. All with 95% intervals.",
    ),
    Figure(
        "spectrum",
        "Margin, variance and response of every frequency band",
        "Theorem 1, measured. Left: share of the margin and of the variance of paired class differences in each band "
        "of the DCT of eps - eps_theta. Right: fraction of each band's margin that a method preserves, with 95% "
        "intervals; no response is shown for a band whose margin is not clearly above zero.",
    ),
)


FEWEST_RANKED = 8  # compressing presets on one backbone and data set that a leaderboard needs


def has_leaderboard(arms: Iterable[tuple[str, str, str]]) -> bool:
    """Return whether a study compares enough methods to rank them. Its arms are (backbone, data set, method)."""
    presets: dict[tuple[str, str], set[str]] = {}
    for backbone, dataset, method in arms:
        if method in METHODS and METHODS[method].acts_on != "nothing":
            presets.setdefault((backbone, dataset), set()).add(method)
    return any(len(methods) >= FEWEST_RANKED for methods in presets.values())


def figures_of(probed: bool, timesteps: bool, ranked: bool) -> tuple[Figure, ...]:
    """Return the figures of a study: some need probes of its models (`probed`), others classified images (`timesteps`)
    or enough methods for a leaderboard (`ranked`)."""
    of_cells = (*FIGURES, *((LEADERBOARD_FIGURE,) if ranked else ()))
    return of_cells + (PROBE_FIGURES if probed else ()) + ((TIMESTEPS_FIGURE,) if timesteps else ())


class Delta(NamedTuple):
    """The last row of a group of rows: method `of` minus method `against`."""

    of: str
    against: str


@dataclass(frozen=True)
class TableEntry:
    """An entry of tables.yaml: the backbone families and methods that a table shows, over the strengths of one kind.

    `references` are methods shown for comparison only. `extra` names a column of the efficiency measurements.
    `across` maps a heading to the suffix of a variant: LaTeX shows the variants of `rows` side by side. `printed_in`
    lists the paper's tables whose numbers are shown beside the study's.
    """

    name: str
    title: str
    caption: str
    families: list[str]
    strength_kind: str
    methods: list[str]
    delta: Delta
    baselines: list[str] = field(default_factory=lambda: ["none"])
    references: list[str] = field(default_factory=list)
    extra: str | None = None
    rows: list[str] = field(default_factory=list)
    across: dict[str, str] = field(default_factory=dict)
    printed_in: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, name: str, entry: dict[str, Any]) -> TableEntry:
        """Return an entry with the canonical ids of its methods. Raises ValueError naming what is wrong."""
        check_keys(entry, cls)
        settings = dict(entry)
        for key in ("methods", "baselines"):
            if key in entry:
                settings[key] = [method_of(method).id for method in entry[key]]
        for table in entry.get("printed_in", []):
            if table not in _printed_tables():
                raise ValueError(unknown("table in printed_in", table, _printed_tables()))
        if set(entry["delta"]) != set(Delta._fields):
            raise ValueError("delta needs the keys of and against")
        settings["delta"] = Delta(*(method_of(entry["delta"][key]).id for key in Delta._fields))
        return cls(name, **settings)

    @property
    def main_methods(self) -> list[str]:
        """The methods that the table is about: all but its references."""
        return [method for method in self.methods if method not in self.references]


def read_tables(path: Path | str) -> dict[str, TableEntry]:
    """Read tables.yaml. Errors are those of `read_entries`."""
    return read_entries(path, TableEntry.parse, "tables")


def check_report_files(config: Config) -> None:
    """Raise ConfigError if a study's `tables` or `claims` cannot be read, with one line for each."""
    problems = []
    if config["tables"] is not None:
        problems += _problems("tables", read_tables, tables_file(config))
    if config["claims"] is not None:
        from bigain.reporting.claims import read_claims  # takes a second, so only a study with claims imports it

        problems += _problems("claims", read_claims, claims_file(config))
    if problems:
        raise refusal(problems)


def _problems(key: str, read: Callable[[Path], object], file: Path) -> list[str]:
    try:
        read(file)
    except ValueError as error:
        return [f"{key}: {error}"]
    return []


def read_table_entry(path: Path | str, name: str) -> TableEntry:
    """Read one entry of tables.yaml. Raises ValueError with a suggestion if there is none of that name."""
    tables = read_tables(path)
    if name not in tables:
        raise ValueError(f"{path}: {unknown('table', name, tables)}")
    return tables[name]


def table_names(path: Path | str, cells: list[Cell], backbones: dict[str, dict[str, Any]]) -> list[str]:
    """Return the tables for which the study has a cell of a method that the table is about."""
    available = {(backbones[cell.backbone]["family"], cell.method) for cell in cells}
    return [
        name
        for name, table in read_tables(path).items()
        if any((family, method) in available for family in table.families for method in table.main_methods)
    ]


def has_printed_values(cells: list[Cell]) -> bool:
    """Return whether the paper prints a number for the task, backbone and data set of any of these cells."""
    printed = {(row["task"], row["backbone"], row["dataset"]) for row in _printed_rows()}
    return any((cell.task, cell.backbone, cell.dataset) in printed for cell in cells)


def _printed_tables() -> list[str]:
    """Return the numbers of the paper's tables whose values are known."""
    return list(dict.fromkeys(row["table"] for row in _printed_rows()))


@cache
def _printed_rows() -> list[dict[str, str]]:
    with open(PRINTED / "values.csv", newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))
