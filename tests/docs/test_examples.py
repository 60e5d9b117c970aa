"""Every Python example of the pages and of the docstrings runs.

An example whose code says "# needs a network" is only compiled.
"""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusers import StableDiffusionPipeline

import bigain
from tests.helpers.repository import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
NETWORK = "# needs a network"


class ShownOutput(doctest.OutputChecker):
    """Compares the output that an example shows; an example that shows none may print."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags | doctest.ELLIPSIS)


def pages() -> Iterator[Path]:
    """Every Markdown page with a Python block."""
    for page in sorted({*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("docs/**/*.md")}):
        if BLOCK.search(page.read_text("utf-8")):
            yield page


def docstring_examples() -> Iterator[Any]:
    """The doctest of every docstring in the package that has examples."""
    parser = doctest.DocTestParser()
    for path in sorted((ROOT / "bigain").rglob("*.py")):
        source = path.read_text("utf-8")
        if ">>>" not in source:
            continue
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ">>>" in (
                ast.get_docstring(node) or ""
            ):
                name = f"{module}.{node.name}" if hasattr(node, "name") else module
                test = parser.get_doctest(ast.get_docstring(node), {}, name, str(path), getattr(node, "lineno", 0))
                yield pytest.param(test, id=name)


@pytest.fixture
def _checkout(tmp_path, monkeypatch):
    """Run in a folder that has the repository's models and configs, and keeps what examples write out of it."""
    for name in ("resources", "config"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_checkout")
@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_blocks_of_a_page_run_in_their_order(page):
    text, names = page.read_text("utf-8"), {}
    for block in BLOCK.finditer(text):
        lines_before = text.count("\n", 0, block.start(1))
        code = compile("\n" * lines_before + block[1], str(page), "exec")
        if NETWORK not in block[1]:
            exec(code, names)


@pytest.mark.usefixtures("_checkout")
@pytest.mark.parametrize("example", docstring_examples())
def test_a_docstring_example_runs(example):
    for part in example.examples:
        if NETWORK in part.source:
            compile(part.source, example.filename, "single")
            part.options[doctest.SKIP] = True
    pipe = StableDiffusionPipeline.from_pretrained("resources/mini-unet")
    pipe.set_progress_bar_config(disable=True)
    example.globs.update(bigain=bigain, pipe=pipe)
    report: list[str] = []
    failed = doctest.DocTestRunner(ShownOutput()).run(example, out=report.append).failed
    assert not failed, "".join(report)
