"""Operators from outside of the package: functions of a file that the user named, which runs on first use."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from bigain.methods.outside import check_unchanged, of_operator


def operator_of(name: str) -> Callable[..., Any]:
    """Return the function of an operator: from `OPERATORS`, or from an added method's file.

    Raises ValueError for a method that was not added, and whatever its file raises when it runs.
    """
    outside = of_operator(name)
    if outside is None:
        from bigain.tokens import OPERATORS

        return OPERATORS[name]
    function: Callable[..., Any] = getattr(_module(outside.file, outside.fingerprint), outside.function)
    return function


def fresh_operator_of(name: str) -> Callable[..., Any]:
    """Return the function of an operator as a new process has it: the file of an added method runs again."""
    outside = of_operator(name)
    if outside is None:
        return operator_of(name)
    function: Callable[..., Any] = getattr(_run(outside.file, outside.fingerprint), outside.function)
    return function


@cache
def _module(file: Path, fingerprint: str) -> ModuleType:
    """Run a file and return it as a module, once for each content."""
    return _run(file, fingerprint)


def _run(file: Path, fingerprint: str) -> ModuleType:
    """Run a file and return it as a module. Raises ValueError if the file was changed since its methods were added."""
    check_unchanged(file, fingerprint)
    spec = importlib.util.spec_from_file_location(f"bigain_outside_{file.stem}_{fingerprint}", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
