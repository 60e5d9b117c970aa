"""Which tables and figures a study has. Read at planning time, so it stays light."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import yaml

from bigain.core.messages import unknown
from bigain.methods.ids import method_of
from bigain.study.cells import Cell

TABLES, CLAIMS = Path(__file__).with_name("tables.yaml"), Path(__file__).with_name("claims.yaml")
TEMPLATES = Path(__file__).parent / "templates"
PRINTED = Path(__file__).parent / "printed_values"  # of the paper's tables

FIGURES = (
    {
        "name": "figure1",
        "alt": "Percent change of accuracy and Fréchet distance for each method",
        "caption": "Figure 1. Change against the uncompressed model, in percent of its value, with 95% intervals.",
    },
    {
        "name": "tradeoff",
        "alt": "Accuracy over operations and over Fréchet distance, with the Pareto front",
        "caption": "Recognition against the operations of a forward pass and the distance of what is generated; "
        "a line joins a method's strengths. No cell beats those on the grey stairs in both.",
    },
    {
        "name": "classes",
        "alt": "Change of accuracy of every class",
        "caption": "Acc@1 of every class minus the uncompressed model's on the same images, each method at its highest "
        "strength.",
    },
)
PROBES = (  # where token methods classify images with one right class each
    {
        "name": "figure2",
        "alt": "Images and the Laplacian saliency of their tokens",
        "caption": "Figure 2. How detailed every token is before self-attention (Laplacian score, Eq. 7), without a "
        "prompt, averaged over noise draws: bright is detailed. In a U-Net the last block at the highest resolution.",
    },
    {
        "name": "figure3",
        "alt": "Images with the tokens that ToMe and BiGain_TM merge away",
        "caption": "Figure 3. Tokens that are merged away, in light blue, at 90% with cells of 4x4 tokens; with the "
        "usual 2x2 no more than 75% can be merged.",
    },
    {
        "name": "spectrum",
        "alt": "Margin, variance and response of every frequency band",
        "caption": "Theorem 1, measured. Left: where the margin and the variance of paired class differences lie, by "
        "bands of the DCT of eps - eps_theta. Right: what every method leaves of each band's margin, with 95% "
        "intervals; a band whose margin is not clearly above zero has no response.",
    },
)


def figures_of(probed: bool) -> tuple[dict[str, str], ...]:
    """The figures of a study: name, alternative text and caption; some only if its models were looked into."""
    return FIGURES + (PROBES if probed else ())


def tables_file(config: dict[str, Any]) -> Path:
    """Return the file that describes a study's tables: the config's, or the package's."""
    return Path(config["tables"]) if config["tables"] else _from_working_directory(TABLES)


def claims_file(config: dict[str, Any]) -> Path:
    """Return the file of the claims that a study judges: the config's, or the package's."""
    return Path(config["claims"]) if config["claims"] else _from_working_directory(CLAIMS)


def template_files(name: str, suffixes: tuple[str, ...] = ("tex", "html")) -> list[Path]:
    """Return the files of a template."""
    return [_from_working_directory(TEMPLATES / f"{name}.{suffix}.j2") for suffix in suffixes]


def printed_files(*names: str) -> list[Path]:
    """Return files of the paper's printed values."""
    return [_from_working_directory(PRINTED / f"{name}.csv") for name in names]


def _from_working_directory(path: Path) -> Path:
    """Return a path below the working directory relative to it, so that results survive a move of the whole folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def read_tables(path: Path | str) -> dict[str, dict[str, Any]]:
    """The tables' data. Raises ValueError that names a table whose methods do not exist."""
    tables = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for name, table in tables.items():
        try:
            table["methods"] = [method_of(method).id for method in table["methods"]]
            table["baselines"] = [method_of(method).id for method in table.get("baselines", ["none"])]
            table["delta"] = {key: method_of(method).id for key, method in table["delta"].items()}
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {error}") from None
    return tables


def read_table_entry(path: Path | str, name: str) -> dict[str, Any]:
    """One table's data. Raises ValueError with a suggestion if there is none of that name."""
    tables = read_tables(path)
    if name not in tables:
        raise ValueError(f"{path}: {unknown('table', name, tables)}")
    return tables[name]


def has_published(cells: list[Cell]) -> bool:
    """Whether the paper prints a number of any backbone, data set and task of these cells."""
    with open(PRINTED / "values.csv", newline="", encoding="utf-8") as handle:
        printed = {(row["task"], row["backbone"], row["dataset"]) for row in csv.DictReader(handle)}
    return any((cell.task, cell.backbone, cell.dataset) in printed for cell in cells)


def table_names(path: Path | str, cells: list[Cell], backbones: dict[str, dict[str, Any]]) -> list[str]:
    """The tables of which the study has some compressed cell, beyond those of the table they compare with."""
    have = {(backbones[cell.backbone]["family"], cell.method) for cell in cells}

    def own(table: dict[str, Any]) -> list[str]:
        return [method for method in table["methods"] if method not in table.get("references", [])]

    tables = read_tables(path)
    return [
        name
        for name, table in tables.items()
        if any((family, method) in have for family in table["families"] for method in own(table))
    ]
