"""Syntax trees as bytes, without what changes no number: comments, docstrings, annotations. No torch."""

from __future__ import annotations

import ast
import hashlib
from typing import Any

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
IGNORED_FIELDS = ("annotation", "returns", "type_comment", "kind", "ctx")


def encoded(value: object) -> bytes:
    """Return a syntax tree as bytes that two trees share if they differ in docstrings and annotations alone.

    Empty fields are left out, so that a new Python, which adds such fields, may give the same bytes.
    """
    collected: list[str] = []
    _collect(value, collected)
    return "".join(f"{text}\0" for text in collected).encode()


def _collect(value: object, collected: list[str]) -> None:
    """Append the texts of a syntax tree to `collected`. Planning reads the whole package, so no generators here."""
    if isinstance(value, ast.AST):
        collected.append(type(value).__name__)
        for name in value._fields:
            content: Any = getattr(value, name, None)
            if name == "body" and isinstance(value, DOCUMENTED) and ast.get_docstring(value, clean=False) is not None:
                content = content[1:]
            if content is not None and content != [] and name not in IGNORED_FIELDS:
                collected.append(name)
                _collect(content, collected)
        collected.append(".")
    elif isinstance(value, list):
        for item in value:
            _collect(item, collected)
    else:
        collected.append(repr(value))


def digest_of(tree: ast.AST) -> str:
    """Return a short digest of a syntax tree."""
    return hashlib.sha256(encoded(tree)).hexdigest()[:12]
