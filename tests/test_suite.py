"""The tests themselves: helpers live in tests/helpers, so that no test module leans on another."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MODULES = sorted(path for path in TESTS.rglob("*.py") if TESTS / "helpers" not in path.parents)


def imported_modules(tree: ast.AST) -> set[str]:
    """Return the absolute names that the import statements of a file name, wherever they stand."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_of_the_tests_only_helpers_are_imported(path):
    imports = imported_modules(ast.parse(path.read_text()))
    assert not [name for name in imports if name.startswith("tests.") and not name.startswith("tests.helpers.")]
