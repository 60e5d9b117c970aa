"""The report as a PDF: a document of all rendered tables and figures, compiled where LaTeX is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from bigain.core.files import whole_file, write_text
from bigain.core.report_specs import ReportSpec
from bigain.reporting.contents import figures_of
from bigain.reporting.rendering import render

COMPILER = "pdflatex"
FIRST = "answers"  # the table on the first page
PACKAGES = "apt-get install texlive-latex-recommended texlive-fonts-recommended"


class LatexError(RuntimeError):
    """A document that does not compile, or no LaTeX to compile it. The message names the error or the packages."""


def write_report(tables: list[Path], spec: ReportSpec, output: Path) -> None:
    """Write the document of these tables (`.tex` files in its folder) and every figure: answers and Figure 1 first."""
    names = [table.stem for table in tables]
    context = {
        "spec": spec,
        "first": [name for name in names if name == FIRST],
        "tables": [name for name in names if name != FIRST],
        "figures": figures_of(spec["probed"], spec.get("timesteps", False), "leaderboard" in names),
    }
    write_text(output, render("report.tex", context))


def compile_report(document: Path, output: Path) -> list[str]:
    """Compile a document, twice to resolve its references, and return LaTeX's warnings of overfull lines.

    Raises LatexError naming the first error, or the packages to install if there is no LaTeX.
    """
    if shutil.which(COMPILER) is None:
        raise LatexError(f"{COMPILER} is not installed: {PACKAGES}")
    with tempfile.TemporaryDirectory() as folder:
        _compile(document, Path(folder))
        log = _compile(document, Path(folder))
        with whole_file(output) as temporary:
            shutil.copy(Path(folder, document.stem).with_suffix(".pdf"), temporary)
    return re.findall(r"^Overfull \\hbox .*$", log, re.M)


def _compile(document: Path, folder: Path) -> str:
    """Compile a document into a folder and return what LaTeX printed. Raises LatexError naming the first error."""
    command = [COMPILER, "-interaction=nonstopmode", "-halt-on-error", f"-output-directory={folder}", document.name]
    process = subprocess.run(command, cwd=document.parent, capture_output=True, check=False)
    log = process.stdout.decode(errors="replace")
    if process.returncode:
        raise LatexError(f"{document} does not compile: {_first_error(log)}")
    return log


def _first_error(log: str) -> str:
    error = re.search(r"^! .*?(?=\n\n|\Z)", log, re.M | re.S)
    return " ".join(error.group(0).split())[:300] if error else log[-300:]
