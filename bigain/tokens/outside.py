"""Operators from outside of the package: functions of a file that the user named, which runs on first use."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from bigain.methods.outside import check_unchanged, of_operator


@dataclass(frozen=True)
class OutsideOperator:
    """A function of a file, which a copy shares, and which is saved as the name of its operator and the fingerprint of
    the file."""

    function: Callable[..., Any]
    name: str
    fingerprint: str

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.function(*args, **options)

    def __deepcopy__(self, memo: dict[int, Any]) -> OutsideOperator:
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return _loaded, (self.name, self.fingerprint)


def _loaded(name: str, fingerprint: str) -> Callable[..., Any]:
    """Return a saved operator. Raises ValueError if its method was not added, or from other code."""
    outside = of_operator(name)
    assert outside is not None, "the name has the prefix of methods from outside"
    if outside.fingerprint != fingerprint:
        raise ValueError(f"{outside.method.id} was saved with other code than that of {outside.file}, which was added")
    return operator_of(name)


def operator_of(name: str) -> Callable[..., Any]:
    """Return the function of an operator: from `OPERATORS`, or from an added method's file.

    Raises ValueError for a method that was not added, and whatever its file raises when it runs.
    """
    outside = of_operator(name)
    if outside is None:
        from bigain.tokens import OPERATORS

        return OPERATORS[name]
    function = getattr(_module(outside.file, outside.fingerprint), outside.function)
    return OutsideOperator(function, name, outside.fingerprint)


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
    """Run a file and return it as a module.

    Raises ValueError if the file was changed since its methods were added; RuntimeError if it ends the process.
    """
    check_unchanged(file, fingerprint)
    spec = importlib.util.spec_from_file_location(f"bigain_outside_{file.stem}_{fingerprint}", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SystemExit as end:
        raise RuntimeError(f"the file calls sys.exit({end.code!r})") from end
    return module
