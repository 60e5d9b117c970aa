"""One-line error messages, for tables."""

from __future__ import annotations

import torch


def in_a_line(error: Exception) -> str:
    """Return the message of an error in one line."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, ModuleNotFoundError):
        return f"needs {error.name}, which is not installed"
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return f"not enough memory: {first}"
    if (
        isinstance(error, RuntimeError)
        and type(error) is not RuntimeError
        and type(error).__module__.startswith("bench")
    ):
        return first
    return f"{type(error).__name__}: {first}"
