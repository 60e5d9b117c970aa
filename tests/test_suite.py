"""The tests themselves: shared code stands in tests/helpers, not in test modules, and every test checks something."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MODULES = sorted(path for path in TESTS.rglob("*.py") if TESTS / "helpers" not in path.parents)
CHECKS = {"raises", "fail", "assert_close", "assert_allclose", "exec"}  # `exec` runs examples of the documentation


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Yield the absolute names that the import statements of a file name, wherever they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]


def calls(function: ast.FunctionDef) -> Iterator[tuple[str, ast.Call]]:
    """Yield the name, without its module or object, and the call of all that a function calls."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", getattr(node.func, "id", "")), node


def checks(function: ast.FunctionDef, checking: set[str]) -> bool:
    """Whether a function asserts, expects an error, runs a process that has to succeed, or calls one of `checking`."""
    if any(isinstance(node, ast.Assert) for node in ast.walk(function)):
        return True
    return any(
        name in checking or (name == "run" and any(ast.unparse(option) == "check=True" for option in call.keywords))
        for name, call in calls(function)
    )


HELPERS = {f.name for path in (TESTS / "helpers").rglob("*.py") for f in functions(path) if checks(f, CHECKS)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_of_the_tests_only_helpers_are_imported(path):
    names = imported_modules(ast.parse(path.read_text()))
    assert not [name for name in names if name.startswith("tests.") and not name.startswith("tests.helpers.")]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_every_test_checks_something(path):
    checkers = {f.name for f in functions(path) if not f.name.startswith("test_") and checks(f, CHECKS)}
    tests = [f for f in functions(path) if f.name.startswith("test_")]
    assert not [test.name for test in tests if not checks(test, CHECKS | HELPERS | checkers)]
