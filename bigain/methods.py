"""Every method, as data: a Method names an operator of `bigain.tokens`, its options and where it acts. No torch here.

To add a method: one function in `bigain/tokens/`, registered in `OPERATORS` there, one preset below, one test.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Family = Literal["unet", "dit"]
Task = Literal["classification", "generation"]
StrengthKind = Literal["none", "merge_ratio", "downsample_factor"]
Option = str | int | float | tuple[int, int]


@dataclass(frozen=True)
class Linear:
    """An option that changes linearly with the timestep: `start` at t = 999 (noise), `end` at t = 0 (image)."""

    start: float
    end: float

    def at(self, t):  # noqa: ANN001, ANN201 - a number or a tensor of numbers, and the same comes back
        """start * t / 999 + end * (1 - t / 999)."""
        return self.start * (t / 999) + self.end * (1 - t / 999)


@dataclass(frozen=True)
class ByTask:
    """An option whose value depends on the backbone's family and the task."""

    unet_classification: float
    unet_generation: float | Linear
    dit: float

    def resolve(self, family: Family, task: Task) -> float | Linear:
        """The value for one family and task."""
        if family == "dit":
            return self.dit
        return self.unet_classification if task == "classification" else self.unet_generation


@dataclass(frozen=True)
class Method:
    """A token compression method.

    `operator` is a key of `bigain.tokens.OPERATORS`; `acts_on` says what its function returns: a plan that merges
    tokens before attention and restores them after it, or reduced keys and values. `options` go to the operator.
    """

    id: str
    label: str
    operator: str = ""
    acts_on: Literal["nothing", "tokens", "keys_values"] = "nothing"
    strength_kind: StrengthKind = "none"
    options: Mapping[str, Option | ByTask] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def check_strength(self, strength: float | None) -> float | int | None:
        """The strength as its kind wants it. Raises ValueError that names the method, the value and what is allowed."""
        match self.strength_kind, strength:
            case "none", None:
                return None
            case "merge_ratio", int() | float() if 0 <= strength < 1:
                return float(strength)
            case "downsample_factor", int() | float() if strength >= 1 and strength == int(strength):
                return int(strength)
        raise ValueError(f"{self.id}: {strength!r} is not possible here; it takes {STRENGTHS[self.strength_kind]}")


STRENGTHS: dict[StrengthKind, str] = {
    "none": "no strength",
    "merge_ratio": "a merge ratio from 0 to below 1 (the fraction of all tokens that is merged away)",
    "downsample_factor": "a whole downsample factor of at least 1 (per axis)",
}

CELL = (2, 2)  # tokens per cell, height x width (paper, B.3.1)
# The paper's alpha: 0.9 and 0.8 -> 1.2 on Stable Diffusion, 0.1 on DiT (B.3.2).
ALPHA = ByTask(unet_classification=0.9, unet_generation=Linear(start=0.8, end=1.2), dit=0.1)

# In the comments: the paper's Acc@1 on Pets with Stable Diffusion 2.0, at merge ratio 0.7 or factor 3 (Tables 2, 4).
METHODS: dict[str, Method] = {
    method.id: method
    for method in (
        Method("none", "no compression"),  # 81.03
        Method("tome", "ToMe", "merge_random", "tokens", "merge_ratio", {"cell": CELL}),  # 65.76
        Method("tome_fixed", "ToMe, top-left", "merge_top_left", "tokens", "merge_ratio", {"cell": CELL}),  # not in it
        Method(  # 74.63
            "bigain_tm",
            "BiGain_TM",
            "merge_smooth",
            "tokens",
            "merge_ratio",
            {"cell": CELL, "score": "laplacian_l1"},
        ),
        Method("avg_pool", "average pooling", "average", "keys_values", "downsample_factor"),  # 73.45
        Method("todo", "ToDo", "nearest", "keys_values", "downsample_factor"),  # 79.15
        Method(  # 79.91
            "bigain_td",
            "BiGain_TD",
            "interpolate_extrapolate",
            "keys_values",
            "downsample_factor",
            {"alpha": ALPHA},
        ),
    )
}


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """The message for a name that does not exist: what it was, what it may have meant, what there is."""
    allowed = list(allowed)
    close = difflib.get_close_matches(str(name), allowed, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    return f"unknown {kind} {name!r}.{meant} Allowed: {', '.join(allowed)}."


def method(name: str) -> Method:
    """The method of that id. Raises ValueError with a suggestion if there is none."""
    if name not in METHODS:
        raise ValueError(unknown("method", name, METHODS))
    return METHODS[name]
