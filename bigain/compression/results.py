"""Check what operators return, which may be from outside: a block must not run uncompressed without a word."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bigain.methods.method import Method
from bigain.tokens import RaggedPlan, TokenGrid

OF_A_PLAN = ("reduce", "restore", "around", "of_rows")


def check_plan(method: Method, plan: Any) -> None:
    """Raise ValueError unless an operator has returned a plan: one per sample where they keep different numbers."""
    if method.depends_on_image:
        if not isinstance(plan, RaggedPlan):
            raise ValueError(f"{method.id}: its operator has to return a RaggedPlan, not {_described(plan)}")
        return
    lacking = [name for name in OF_A_PLAN if not hasattr(plan, name)]
    if lacking:
        raise ValueError(
            f"{method.id}: its operator has to return a plan, with {', '.join(OF_A_PLAN)}, not {_described(plan)}"
        )


def holds_weights(plan: Any) -> bool:
    """Return whether a plan weighs tokens, besides naming them."""
    return any(
        isinstance(value, Tensor) and value.is_floating_point() for value in getattr(plan, "__dict__", {}).values()
    )


def check_merged(method: Method, strength: float | int, grid: TokenGrid, x: Tensor, short: Any) -> None:
    """Raise ValueError unless `short` is what remains of the tokens x [B, T + N, C], T of them text, when merged."""
    left, _ = method.tokens_left(strength, grid.height, grid.width)
    _check_shape(method, "reduce of its plan", strength, grid, x, short, left)


def check_reduced(method: Method, strength: float | int, grid: TokenGrid, x: Tensor, short: Any) -> None:
    """Raise ValueError unless `short` is what remains of the tokens x [B, N, C] as keys and values."""
    _, left = method.tokens_left(strength, grid.height, grid.width)
    _check_shape(method, "its operator", strength, grid, x, short, left)


def _check_shape(
    method: Method, what: str, strength: float | int, grid: TokenGrid, x: Tensor, short: Any, left: int
) -> None:
    expected = (x.shape[0], x.shape[1] + left - grid.tokens, x.shape[2])
    if not isinstance(short, Tensor) or short.shape != expected:  # torch.compile cannot format a strength beforehand
        raise ValueError(
            f"{method.id}: {what}, on {grid} tokens at strength {strength:g}, has to return a tensor {list(expected)}, "
            f"not {_described(short)}"
        )


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"
