"""Settings of a classifier from its parameters, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from bigain.classifier.classify import ClassificationSettings
from bigain.classifier.descent import Descent
from bigain.classifier.elimination import Elimination
from bigain.classifier.engine import LOSSES
from bigain.classifier.timesteps import Stages
from bigain.core.messages import unknown
from bigain.core.plain_numbers import real_number, whole_number, whole_numbers
from bigain.methods.ids import method_of
from bigain.methods.method import Method
from bigain.metrics.timestep_weights import weight_function

Compilation: TypeAlias = Literal["off", "default", "max-autotune"]
Precision: TypeAlias = Literal["float32", "float16", "bfloat16"]
CHOICES = {
    "loss": tuple(LOSSES),
    "timesteps": ("grid", "random"),
    "compile": get_args(Compilation),
    "dtype": get_args(Precision),
}
SCHEDULES = {"elimination": Elimination, "descent": Descent}


def check(parameters: Mapping[str, Any], classes: int) -> None:
    """Raise TypeError or ValueError naming a parameter of a classifier of K `classes` that is not allowed."""
    for name, schedule in SCHEDULES.items():
        if not isinstance(parameters[name], schedule | None):
            expected = f"{schedule.__module__}.{schedule.__name__}"
            raise TypeError(f"{name} is {parameters[name]!r}; pass a {expected}, or None")
    for name, allowed in CHOICES.items():
        if parameters[name] not in allowed:
            raise ValueError(f"{name}: {unknown('value', str(parameters[name]), allowed)}")
    for name in ("batch_size", "block"):
        if whole_number(name, parameters[name]) < 1:
            raise ValueError(f"{name} is {parameters[name]!r}; it has to be at least 1")
    temperature = parameters["temperature"]
    if temperature is not None and not 0 < real_number("temperature", temperature) < np.inf:
        raise ValueError(f"temperature is {temperature!r}; it has to be positive and finite, or None")
    weight_function(parameters["weights"])
    first_stage = settings_of(parameters).timesteps(0)[0]
    if parameters["descent"] is not None:
        parameters["descent"].check(classes, len(first_stage))


def settings_of(parameters: Mapping[str, Any]) -> ClassificationSettings:
    """Return the settings of Algorithm 1. Raises TypeError or ValueError for stages, counts or a seed not allowed."""
    method = parameters["method"]
    return ClassificationSettings(
        stages=Stages(whole_numbers("stages", parameters["stages"], "(5, 20)"), _kept(parameters)),
        seed=whole_number("seed", parameters["seed"]),
        batch_size=whole_number("batch_size", parameters["batch_size"]),
        loss=parameters["loss"],
        random_timesteps=parameters["timesteps"] == "random",
        noise_per=(method if isinstance(method, Method) else method_of(method)).noise_per,
        elimination=parameters["elimination"],
        descent=parameters["descent"],
    )


def _kept(parameters: Mapping[str, Any]) -> tuple[int, ...]:
    """Return how many classes survive each stage: by default as many as in the paper."""
    stages, keep = parameters["stages"], parameters["keep"]
    if keep is not None:
        return whole_numbers("keep", keep, "(5, 1)")
    if len(stages) > 2:
        raise ValueError(f"stages {list(stages)}: say with `keep` how many classes survive each of them")
    return (5, 1)[2 - len(stages) :]
