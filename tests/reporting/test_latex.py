"""Compiling the report: what is wrong is named."""

import shutil

import pytest

from bigain.reporting import latex

DOCUMENT = r"\documentclass{article}\begin{document}%s\end{document}"
needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason=f"no LaTeX: {latex.PACKAGES}")


def test_no_latex_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(latex.shutil, "which", lambda name: None)
    with pytest.raises(latex.LatexError, match="pdflatex is not installed: apt-get install texlive"):
        latex.compile_report(tmp_path / "report.tex", tmp_path / "report.pdf")


@pytest.mark.system
@needs_latex
def test_the_first_error_is_named_and_nothing_is_left(tmp_path):
    (tmp_path / "report.tex").write_text(DOCUMENT % r"\nothing")
    with pytest.raises(latex.LatexError, match=r"report\.tex does not compile: ! Undefined control sequence"):
        latex.compile_report(tmp_path / "report.tex", tmp_path / "report.pdf")
    assert [file.name for file in tmp_path.iterdir()] == ["report.tex"]


@pytest.mark.system
@needs_latex
def test_what_is_too_wide_is_said(tmp_path):
    (tmp_path / "report.tex").write_text(DOCUMENT % r"\noindent\rule{20cm}{1pt}")
    (said,) = latex.compile_report(tmp_path / "report.tex", tmp_path / "report.pdf")
    assert said.startswith("Overfull")
    assert (tmp_path / "report.pdf").exists()
