"""Syntax trees as texts, without what changes no number: comments, docstrings, annotations. No torch."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
IGNORED_FIELDS = ("annotation", "returns", "type_comment", "kind", "ctx")


def texts(value: object) -> Iterator[str]:
    """Yield a syntax tree as texts, without docstrings and annotations.

    Empty fields are left out, so that a new Python, which adds such fields, may give the same texts.
    """
    if isinstance(value, ast.AST):
        yield type(value).__name__
        for name, content in ast.iter_fields(value):
            if isinstance(value, DOCUMENTED) and name == "body" and ast.get_docstring(value, clean=False) is not None:
                content = content[1:]
            if content is not None and content != [] and name not in IGNORED_FIELDS:
                yield name
                yield from texts(content)
        yield "."
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    else:
        yield repr(value)


def digest_of(tree: ast.AST) -> str:
    """Return a short digest of a syntax tree's texts."""
    digest = hashlib.sha256()
    for text in texts(tree):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:12]
