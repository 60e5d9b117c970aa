"""Check a method from outside on random tokens: which of the properties that a study relies on does it lack?"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigain.methods.method import Draw, Given
from bigain.methods.outside import OutsideMethod
from bigain.tokens import RaggedPlan, TokenGrid
from bigain.tokens.draws import bits, normals, uniform_places
from bigain.tokens.outside import fresh_operator_of, operator_of

GRIDS = (TokenGrid(8, 8), TokenGrid(12, 8))
BATCH, CHANNELS, SALT, SEED = 3, 16, 5, 0
STRENGTHS: dict[str, tuple[float, ...]] = {
    "merge_ratio": (0.25, 0.5),
    "threshold": (0.5,),
    "downsample_factor": (2,),
}
METHODS_OF_A_PLAN = ("reduce", "restore", "around", "of_rows")
CLOSE = 1e-4  # of outputs of the same tokens in another batch, whose rounding may differ


@dataclass(frozen=True)
class Finding:
    """A property of a method, and what is wrong with it; None if nothing is."""

    tested: str
    fault: str | None


@dataclass(frozen=True)
class Case:
    """A method on one grid at one strength."""

    outside: OutsideMethod
    grid: TokenGrid
    strength: float
    operator: Callable[..., Any]

    def __str__(self) -> str:
        kind = self.outside.method.strength_kind.replace("_", " ")
        return f"on {self.grid} tokens at {kind} {self.strength:g}"

    def plan(self, x: Tensor, rows: list[int]) -> Any:
        """Call the operator on tokens x [B, N, C], with the draws of those rows."""
        method = self.outside.method
        options = {name: self._drawn(value, rows) for name, value in method.options.items()}
        strength = method.check_strength(self.strength)
        return self.operator(x, self.grid, strength, **options)

    def output(self, x: Tensor, rows: list[int]) -> Tensor:
        """Return what attention that changes nothing would return: restored tokens, or reduced keys."""
        planned = self.plan(x, rows)
        if isinstance(planned, Tensor):
            return planned
        restored: Tensor = planned.around(lambda tokens: tokens, x)
        return restored

    def _drawn(self, value: Any, rows: list[int]) -> Any:
        seeds = torch.tensor(rows)
        match value:
            case Given.DEPTH:
                return 0.5
            case Given.GUIDANCE:
                return normals(seeds, SALT + 1, self.grid.tokens).abs()
            case Draw.PLACES:
                height, width = self.outside.method.options["cell"]
                cells = (self.grid.height // height) * (self.grid.width // width)
                return uniform_places(seeds, SALT, cells, height * width)
            case Draw.NORMALS:
                return normals(seeds, SALT, self.grid.tokens)
            case Draw.INTEGERS:
                return bits(seeds, SALT, 3 * self.grid.tokens).unflatten(1, (3, self.grid.tokens))
        return value


def check_method(outside: OutsideMethod) -> list[Finding]:
    """Return a finding for every property, each tested in all cases; only the first if the operator raises."""
    try:
        operator = operator_of(outside.method.operator)
    except Exception as error:  # of the file, as it runs
        return [Finding("runs on random tokens", f"{type(error).__name__}: {error} ({outside.file})")]
    strengths = STRENGTHS[outside.method.strength_kind]
    cases = [Case(outside, grid, strength, operator) for grid in GRIDS for strength in strengths]
    ran = _first(cases, _raises)
    findings = [Finding("runs on random tokens", ran)]
    if ran is not None:
        return findings
    return findings + [Finding(tested, _first(cases, fault_of)) for tested, fault_of in PROPERTIES.items()]


def _first(cases: list[Case], fault_of: Callable[[Case], str | None]) -> str | None:
    """Return the fault of the first case that has one, with the case."""
    for case in cases:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(SEED)
            try:
                fault = fault_of(case)
            except (Exception, SystemExit) as error:  # on tokens of another type or number than those it ran on
                fault = f"{type(error).__name__}: {error}"
        if fault is not None:
            return f"{fault} ({case})"
    return None


def _tokens(case: Case, seed: int = SEED) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, case.grid.tokens, CHANNELS, generator=generator)


def _rows() -> list[int]:
    return list(range(BATCH))


def _raises(case: Case) -> str | None:
    planned = case.plan(_tokens(case), _rows())
    if case.outside.method.acts_on == "tokens" and not case.outside.method.depends_on_image:
        lacking = [name for name in METHODS_OF_A_PLAN if not hasattr(planned, name)]
        if lacking:
            return f"it returns a {type(planned).__name__}, not a plan, which has a method `{lacking[0]}`"
    case.output(_tokens(case), _rows())
    return None


def _is_not_finite(case: Case) -> str | None:
    for dtype in (torch.float32, torch.bfloat16):
        output = case.output(_tokens(case).to(dtype), _rows())
        if wrong := int((~output.isfinite()).sum()):
            return f"{wrong} of {output.numel()} numbers that it returns for tokens of {dtype} are NaN or infinite"
    return None


def _wrong_shapes(case: Case) -> str | None:
    """Compare shapes and types with what the strength means."""
    method = case.outside.method
    queries, keys = method.tokens_left(case.strength, case.grid.height, case.grid.width)
    for dtype in (torch.float32, torch.bfloat16):
        x = _tokens(case).to(dtype)
        planned = case.plan(x, _rows())
        if method.acts_on == "keys_values":
            results = {"it returns": (planned, keys)}
        elif method.depends_on_image:
            if not isinstance(planned, RaggedPlan):
                return f"it returns a {type(planned).__name__}; a threshold needs a RaggedPlan, with a plan per sample"
            if not all(queries <= left <= case.grid.tokens for left in planned.tokens_left):
                return f"it leaves {planned.tokens_left} tokens; possible are {queries} to {case.grid.tokens}"
            results = {"around returns": (planned.around(lambda tokens: tokens, x), case.grid.tokens)}
        else:
            reduced = planned.reduce(x)
            results = {"reduce returns": (reduced, queries)}
            if tuple(reduced.shape) == (BATCH, queries, CHANNELS):
                results["restore returns"] = (planned.restore(reduced), case.grid.tokens)
        for what, (result, count) in results.items():
            shape = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
            if shape != [BATCH, count, CHANNELS]:
                return f"{what} {shape} instead of {[BATCH, count, CHANNELS]}"
            if result.dtype != dtype:
                return f"{what} {result.dtype} for tokens of {dtype}"
    return None


def _changes_input(case: Case) -> str | None:
    x = _tokens(case)
    before = x.clone()
    case.output(x, _rows())
    if not torch.equal(x, before):
        return f"{int((x != before).any(-1).sum())} of its {BATCH * case.grid.tokens} tokens are other ones afterwards"
    return None


def _draws_globally(case: Case) -> str | None:
    before = _generators()
    case.output(_tokens(case), _rows())
    drawn = [name for name, state in _generators().items() if state != before[name]]
    if drawn:
        return f"it draws from the global generator of {' and '.join(drawn)}; name what it needs in `draws` instead"
    return None


def _generators() -> dict[str, Any]:
    """Return the states of the global generators, comparable."""
    numpy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 - to see who draws from it
    return {
        "torch": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy.random": (numpy["key"].tolist(), numpy["pos"]),
    }


def _differs_between_calls(case: Case) -> str | None:
    outputs = []
    for _ in range(2):
        torch.manual_seed(SEED)
        outputs.append(case.output(_tokens(case), _rows()))
    if not _same(*outputs):
        return "two calls on the same tokens and draws return different results"
    return None


def _same(first: Tensor, second: Tensor) -> bool:
    """Return whether two outputs are equal; NaN equals NaN, which is a finding of its own."""
    return first.shape == second.shape and torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)


def _remembers(case: Case) -> str | None:
    """Compare the result of tokens that come first with theirs after other tokens, each time in a new module."""
    results = []
    for earlier in ((), (SEED + 1,)):
        fresh = replace(case, operator=fresh_operator_of(case.outside.method.operator))
        for seed in earlier:
            fresh.output(_tokens(case, seed), _rows())
        torch.manual_seed(SEED)
        results.append(fresh.output(_tokens(case), _rows()))
    if not _same(*results):
        return "tokens have another result after others: it keeps something from call to call"
    return None


def _depends_on_its_batch(case: Case) -> str | None:
    """Compare a sample alone, among others, and among others that are different."""
    x, others = _tokens(case), _tokens(case, SEED + 1)
    others[1] = x[1]
    torch.manual_seed(SEED)
    together = case.output(x.clone(), _rows())[1]
    for name, batch, rows in (("alone", x[1:2], [1]), ("among other samples", others, _rows())):
        torch.manual_seed(SEED)
        result = case.output(batch.clone(), rows)[rows.index(1)]
        if result.shape != together.shape or not torch.allclose(result, together, rtol=0, atol=CLOSE, equal_nan=True):
            return f"a sample's result is another one {name}"
    return None


PROPERTIES: dict[str, Callable[[Case], str | None]] = {
    "returns the right shapes": _wrong_shapes,
    "returns finite numbers": _is_not_finite,
    "leaves its input as it is": _changes_input,
    "draws from no global generator": _draws_globally,
    "is deterministic": _differs_between_calls,
    "keeps nothing between calls": _remembers,
    "treats every sample by itself": _depends_on_its_batch,
}
