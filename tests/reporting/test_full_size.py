"""All tables, figures and the page of a study of the paper's size: fast, without torch, working in a real browser."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bigain.cli.study import merged_config
from bigain.reporting.latex import PACKAGES, compile_report
from bigain.study.study import Study
from tests.helpers.described import undescribed_columns
from tests.helpers.full_size import write_results
from tests.helpers.repository import copy_repository

RENDER = """
import json, sys, warnings
from pathlib import Path
from bigain.cli.study import merged_config
from bigain.reporting import answers, audit, claims_table, classes, efficiency, figures, forest, frequency
from bigain.reporting import informative_timesteps, latex, leaderboard, overview
from bigain.reporting import page, paper_comparison, protocol, schedules, table_files, theorem, token_figures, tradeoff
from bigain.reporting.collected import read_cells, read_measurements, read_results, verified
from bigain.reporting.contents import table_names
from bigain.reporting.package_files import claims_file, tables_file
from bigain.reporting.scores import Scores
from bigain.study.study import Study

warnings.simplefilter("error", UserWarning)  # as matplotlib's on a figure without room for its labels
study = Study(merged_config([Path("config/paper.yaml")]))
spec, out = json.loads(study.report_spec()), Path(study.reports)
collected = Path(study.results, "results.parquet")
results, cells = read_results(collected, spec), read_cells(collected, spec)
scores = Scores(cells)
measured = [Path(study.results, "efficiency", f"{name}.csv") for name in study.backbones()]
measured = read_measurements(measured, spec)
config = study.config

def three(name):
    return [out / f"{name}.{suffix}" for suffix in ("tex", "csv", "html")]

names = table_names(tables_file(config), study.cells, config["backbones"])
for name in names:
    table_files.write_table_files(results, scores, measured, tables_file(config), name, spec, *three(name))
overview.write_overview(results, measured, spec, *three("table1"))
efficiency.write_efficiency(measured, spec, *three("table11"))
claims_table.write_claims(cells, claims_file(config), spec, *three("claims"))
answers.write_answers(cells, claims_file(config), spec, *three("answers"))
paper_comparison.write_comparison(results, measured, spec, *three("beside"))
audit.write_audit(*three("audit"))
protocol.write_listings(spec, out)
probes = [Path(study.results, "probes", *place) for place in study.probed()]
pair = [out / f"spectrum.{suffix}" for suffix in ("pdf", "png")]
spectra = [verified(probe / "spectrum.parquet", spec) for probe in probes]
theorem.write_theorem(spectra, cells, spec, *three("theorem1"), *pair)
drawn = [out / f"frequency.{suffix}" for suffix in ("pdf", "png")]
informative_timesteps.write_informative_timesteps(
    [], spec, *three("timesteps"), *(out / f"timesteps.{suffix}" for suffix in ("pdf", "png"))
)
leaderboard.write_leaderboard(results, scores, measured, spec, *three("leaderboard"))
frequency.write_frequency([], cells, claims_file(config), spec, *three("frequency"), *drawn)

def drawn_as(name):
    return [out / f"{name}.{suffix}" for suffix in ("pdf", "png", "csv")]

shown = [verified(Path(study.results, "probes", *place, "tokens.safetensors"), spec) for place in study.shown()]
files = [token_figures.FigureFiles(*drawn_as(name)) for name in ("figure2", "figure3")]
token_figures.write_token_figures(shown, *files)
schedules.write_schedules(cells, out / "schedules.csv")
figures.write_figure_1(scores, *drawn_as("figure1"))
tradeoff.write_tradeoff(results, scores, measured, *drawn_as("tradeoff"))
forest.write_forest(results, scores, measured, *drawn_as("forest"))
classes.write_class_changes(cells, *drawn_as("classes"))
sheets = []
for (backbone, dataset), files in study.sheets().items():
    sheets.append(out / f"samples-{backbone}-{dataset}.png")
    figures.write_sample_sheet([verified(Path(file), spec) for file in files], sheets[-1])
listed = ("table9", "table10", "table11", "table13", "answers", "claims", "beside", "audit")
first = ("table1", "leaderboard", *names, "frequency", "theorem1", "timesteps")
drawn = [out / f"{name}.tex" for name in (*first, *listed)]
latex.write_report(drawn, spec, out / "report.tex")
page.write_page(results, cells, tables_file(config), out / "report.pdf", sheets, spec, out / "index.html")
assert "torch" not in sys.modules
print(" ".join(names))
"""

pytestmark = pytest.mark.system
OTHERS = (
    "leaderboard",
    "frequency",
    "theorem1",
    "timesteps",
    "table9",
    "table10",
    "table11",
    "table13",
    "claims",
    "beside",
    "audit",
)


@pytest.fixture(scope="module")
def rendered(root, tmp_path_factory) -> tuple[Path, float, list[str]]:
    """The folder of the reports, the CPU seconds they took, and the names of the tables."""
    folder = tmp_path_factory.mktemp("full")
    copy_repository(root, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_results(Study(merged_config([Path("config/paper.yaml")])))
    began = _seconds_of_children()
    process = subprocess.run(
        [sys.executable, "-c", RENDER], cwd=folder, capture_output=True, text=True, check=False, env=_one_core(folder)
    )
    assert process.returncode == 0, process.stderr[-4000:]
    return folder / "reports/paper", _seconds_of_children() - began, process.stdout.split()


def _seconds_of_children() -> float:
    """Return CPU seconds, which do not depend on what else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _one_core(folder: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def test_it_takes_less_than_a_minute_on_one_core(rendered):
    _, seconds, _ = rendered
    assert seconds < 60


def test_every_table_of_the_paper_is_rendered_with_its_numbers(rendered):
    reports, _, tables = rendered
    assert {f"table{k}" for k in (2, 3, 4, 5, 6, 7, 8, 12)} < set(tables)
    page = (reports / "index.html").read_text()
    assert len(page) < 8e6
    for table in (*tables, *OTHERS):
        assert f'id="{table}"' in page, table
    assert "81.03" in page  # of the paper, behind the toggle
    beside = (reports / "beside.csv").read_text()
    assert beside.count("\n") == 492
    assert ",,,,," not in re.sub(r"^(?!2,sd2,pets).*$", "", beside, flags=re.M)  # all of Table 2's cells have ours


def test_every_column_is_described(rendered):
    reports, _, tables = rendered
    assert {f"{name}.csv" for name in (*tables, "table1", "figure3", "schedules")} <= {
        f.name for f in reports.iterdir()
    }
    assert undescribed_columns(reports.parents[1] / "results/paper", reports) == []


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason=f"no LaTeX: {PACKAGES}")
def test_the_pdf_compiles_and_no_table_is_wider_than_the_page(rendered):
    reports, _, _ = rendered
    assert compile_report(reports / "report.tex", reports / "report.pdf") == []
    assert (reports / "report.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Debian's chromium is not installed")
@pytest.mark.parametrize("show", ["ours", "paper", "difference"])
def test_the_page_works_in_a_real_browser(rendered, show, tmp_path):
    """Opened from a file: no console message, every figure and table, and a working toggle."""
    reports, _, tables = rendered
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--log-level=0"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=3000", "--dump-dom"]
    process = subprocess.run(
        [*command, f"file://{reports}/index.html#{show}"], capture_output=True, text=True, check=False, timeout=120
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert "CONSOLE" not in process.stderr, process.stderr
    page = process.stdout
    assert f'<body data-show="{show}">' in page
    assert page.count("<img") == 9 + 4 + 1  # figures, and sample sheets: four data sets with SD 2.0, one with the DiT
    for table in (*tables, "table1-sd2", *OTHERS):
        assert f'id="{table}"' in page, table
    assert page.count('tabindex="0"') > 20  # headings of sortable tables
