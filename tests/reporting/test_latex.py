"""Compiling the report: errors and overfull boxes are named."""

import shutil

import pytest

from bigain.reporting import latex

DOCUMENT = r"\documentclass{article}\begin{document}%s\end{document}"
needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason=f"no LaTeX: {latex.PACKAGES}")


def test_without_latex_the_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(latex.shutil, "which", lambda name: None)
    with pytest.raises(latex.LatexError, match="pdflatex is not installed: apt-get install texlive"):
        latex.compile_report(tmp_path / "report.tex", tmp_path / "report.pdf")


@pytest.mark.system
@needs_latex
def test_the_first_error_is_named_and_nothing_is_left_behind(tmp_path):
    (tmp_path / "report.tex").write_text(DOCUMENT % r"\nothing")
    with pytest.raises(latex.LatexError, match=r"report\.tex does not compile: ! Undefined control sequence"):
        latex.compile_report(tmp_path / "report.tex", tmp_path / "report.pdf")
    assert [file.name for file in tmp_path.iterdir()] == ["report.tex"]


@pytest.mark.system
@needs_latex
def test_overfull_boxes_are_returned(tmp_path):
    (tmp_path / "report.tex").write_text(DOCUMENT % r"\noindent\rule{20cm}{1pt}")
    (warning,) = latex.compile_report(tmp_path / "report.tex", tmp_path / "report.pdf")
    assert warning.startswith("Overfull")
    assert (tmp_path / "report.pdf").exists()
