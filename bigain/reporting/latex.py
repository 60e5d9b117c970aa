"""The report as a PDF: a document of all rendered tables and figures, compiled where there is a LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from bigain.core.files import whole_file, write_text
from bigain.reporting.plan import figures_of
from bigain.reporting.tables import templates

COMPILER = "pdflatex"
PACKAGES = "apt-get install texlive-latex-recommended texlive-fonts-recommended"


class LatexError(RuntimeError):
    """A document that does not compile, or no LaTeX to compile it. The message names the error or the packages."""


def write_report(tables: list[Path], spec: dict[str, Any], output: Path) -> None:
    """The document that holds these tables (`.tex` files beside it) and every figure."""
    context = {"spec": spec, "tables": [table.stem for table in tables], "figures": figures_of(spec["probed"])}
    write_text(output, templates().get_template("report.tex.j2").render(context))


def compile_report(document: Path, output: Path) -> list[str]:
    """Compile a document twice, so that its references are right; what does not fit the page's width, as LaTeX says it.

    Raises LatexError naming the first error, or the packages to install if there is no LaTeX.
    """
    if shutil.which(COMPILER) is None:
        raise LatexError(f"{COMPILER} is not installed: {PACKAGES}")
    with tempfile.TemporaryDirectory() as place:
        command = [COMPILER, "-interaction=nonstopmode", "-halt-on-error", f"-output-directory={place}", document.name]
        for _ in range(2):
            done = subprocess.run(command, cwd=document.parent, capture_output=True, check=False)
        log = done.stdout.decode(errors="replace")
        if done.returncode:
            raise LatexError(f"{document} does not compile: {_first_error(log)}")
        with whole_file(output) as temporary:
            shutil.copy(Path(place, document.stem).with_suffix(".pdf"), temporary)
    return re.findall(r"^Overfull \\hbox .*$", log, re.M)


def _first_error(log: str) -> str:
    found = re.search(r"^! .*?(?=\n\n|\Z)", log, re.M | re.S)
    return " ".join(found.group(0).split())[:300] if found else log[-300:]
