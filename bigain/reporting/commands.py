"""Map each table and figure to the `bigain` command that renders it. Imported when the workflow is planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bigain.reporting import manifest
from bigain.reporting.contents import figures_of, has_leaderboard, has_printed_values, read_tables, table_names
from bigain.reporting.package_files import claims_file, printed_files, tables_file, template_files

if TYPE_CHECKING:
    from bigain.study.outcomes import Reported

PROTOCOL = ("table9", "table10", "table13")  # written by one job
CAPTIONS = {  # of the tables that tables.yaml does not describe
    "table1": "Every method by the operations it saves, with its recognition and generation scores (Table 1 of the "
    "paper).",
    "leaderboard": "Every method beside those at the same budget of counted operations, and of measured seconds, with "
    "paired differences.",
    "table11": "Operations of one forward pass, and its duration on the machine that ran the study (Table 11 of the "
    "paper).",
    "answers": "The paper's questions, answered in a sentence each.",
    "claims": "Every claim of the paper with its verdict on this study's cells, and on the paper's own numbers: "
    "supported everywhere, contradicted, equivalent everywhere, supported in part, undecided.",
    "beside": "Every number that the paper prints, next to this study's: both, their difference, and whether the "
    "paper's lies inside our 95% interval.",
    "audit": "Inconsistencies of the paper, recomputed from its own printed numbers.",
}
TITLES = {"figure1": "Figure 1", "tradeoff": "Trade-off", "classes": "Classes", "forest": "Leaderboard"}


@dataclass(frozen=True)
class RenderCommand:
    """`bigain <command> <files> <options>` writes a table or a figure, which depends on `inputs` too.

    Snakemake's own report shows it as `title` below `category`, with its `caption`.
    """

    command: str
    files: list[str]
    options: list[str]
    inputs: list[str]
    title: str
    caption: str
    category: str = "Tables"


def table_commands(study: Reported) -> dict[str, RenderCommand]:
    """Return the commands of the tables that have a job of their own, by table."""
    tables, claims = str(tables_file(study.config)), str(claims_file(study.config))
    values, deltas = map(str, printed_files("values", "deltas"))
    results, measured, spec = _results(study), _measured(study), ["--spec", study.report_spec()]
    of_results = ["--results", results, *spec]  # commands read the files beside it, too
    entries = read_tables(tables)
    commands = {
        name: RenderCommand(
            "table",
            measured,
            ["--tables", tables, "--name", name, *of_results],
            [results, tables, *_templates("table")],
            name,
            entries[name].caption,
        )
        for name in table_names(tables, study.cells, study.config["backbones"])
    }

    def add(name: str, command: str, template: str, files: list[str], options: list[str], inputs: list[str]) -> None:
        category = "Tables" if name.startswith("table") else "The paper"
        inputs = [*inputs, *_templates(template)]
        commands[name] = RenderCommand(command, files, options, inputs, name, CAPTIONS[name], category)

    add("table1", "overview", "overview", measured, of_results, [results])
    if is_ranked(study):
        add("leaderboard", "leaderboard", "leaderboard", measured, of_results, [results])
    add("table11", "efficiency-table", "efficiency", measured, spec, [])
    add("answers", "answers", "answers", [], ["--data", claims, *of_results], [results, claims])
    add("claims", "claims", "claims", [], ["--data", claims, *of_results], [results, claims, values])
    if has_printed_values(study.cells):
        add("beside", "beside", "beside", measured, of_results, [results, values])
    add("audit", "audit", "audit", [], [], [values, deltas])
    return commands


def is_ranked(study: Reported) -> bool:
    """Return whether the report of a study has a leaderboard."""
    return has_leaderboard((cell.backbone, cell.dataset, cell.method) for cell in study.cells)


def tables_in_order(study: Reported) -> list[str]:
    """Return the names of all tables in the order of the page and the document."""
    of_cells = table_names(tables_file(study.config), study.cells, study.config["backbones"])
    theorem = ["frequency", "theorem1"] if study.probed() else []
    timesteps = ["timesteps"] if study.timestep_files() is not None else []
    comparisons = ["claims", *(["beside"] if has_printed_values(study.cells) else []), "audit"]
    ranking = ["leaderboard"] if is_ranked(study) else []
    return ["answers", "table1", *ranking, *of_cells, *theorem, *timesteps, *PROTOCOL, "table11", *comparisons]


def figure_commands(study: Reported) -> dict[str, RenderCommand]:
    """Return the commands of the figures that are drawn from results, by figure."""
    results, measured = _results(study), _measured(study)
    of_results = ["--results", results, "--spec", study.report_spec()]
    drawn = figures_of(probed=False, timesteps=False, ranked=is_ranked(study))
    captions = {figure.name: figure.caption for figure in drawn}
    commands: dict[str, tuple[str, list[str], list[str], list[str]]] = {
        "figure1": ("figure", [], of_results, [results]),
        "tradeoff": ("tradeoff", measured, of_results, [results]),
        "classes": ("class-changes", [], of_results, [results]),
        "forest": ("forest", measured, of_results, [results]),
    }
    return {
        name: RenderCommand(*commands[name], TITLES[name], caption, "Figures") for name, caption in captions.items()
    }


def rendered_files(study: Reported, document: str) -> list[str]:
    """Return the names of all files that are rendered for a study.

    `document` is report.pdf where LaTeX is installed, else report.tex.
    """
    kinds = bool(study.probed()), study.timestep_files() is not None, is_ranked(study)
    figures = [figure.name for figure in figures_of(*kinds)]
    return [
        *(f"{table}.{form}" for table in tables_in_order(study) for form in ("tex", "csv", "html")),
        *(f"{figure}.{form}" for figure in figures for form in ("pdf", "png")),
        *(
            f"{figure}.csv" for figure in figures if figure not in ("frequency", "spectrum", "timesteps")
        ),  # of tables, listed above
        *(f"samples-{backbone}-{dataset}.png" for backbone, dataset in study.sheets()),
        "schedules.csv",
        *dict.fromkeys(("report.tex", document)),
        "index.html",
    ]


def report_files(study: Reported) -> list[str]:
    """Return the names of all files that the folder of a study's report may have: with a PDF or without."""
    return [*rendered_files(study, "report.pdf"), manifest.NAME]


def _results(study: Reported) -> str:
    return f"{study.results}/results.parquet"


def _measured(study: Reported) -> list[str]:
    return [f"{study.results}/efficiency/{backbone}.csv" for backbone in study.backbones()]


def _templates(name: str) -> list[str]:
    return [str(file) for file in template_files(name)]
