"""Compiling the report: errors and overfull boxes are named."""

import shutil

import pytest

from bigain.reporting import latex

DOCUMENT = r"\documentclass{article}\begin{document}%s\end{document}"
needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason=f"no LaTeX: {latex.PACKAGES}")


def test_the_document_begins_with_the_answers_and_figure_1(tmp_path):
    spec = {"study": "s", "of_paper": True, "probed": False}
    latex.write_report([tmp_path / f"{name}.tex" for name in ("table1", "answers")], spec, tmp_path / "report.tex")
    text = (tmp_path / "report.tex").read_text()
    parts = ["\\begin{document}", "\\input{answers.tex}", "{figure1.pdf}", "\\input{table1.tex}", "{tradeoff.pdf}"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


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
