"""The candidates of a classifier: prompts or class ids, checked, and encoded as conditions."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.dit import DiT
from bigain.core.prompts import cut_off, equal_when_read

SAME = "candidates {!r} and {!r} are the same to the model"
Candidates: TypeAlias = Sequence[str] | Sequence[int] | Mapping[Any, str] | Mapping[Any, int]


def names_of(candidates: Candidates) -> list[Any]:
    """Return the classes' names: the keys of a mapping, else the prompts or class ids themselves.

    Raises TypeError for a single prompt and for an iterator, which can be read only once; ValueError for fewer than two
    classes, and for a name that occurs twice.
    """
    if isinstance(candidates, str) or not isinstance(candidates, Collection):
        raise TypeError(f"candidates are a list of prompts or class ids, or a mapping to them, not {candidates!r}")
    names = plain(candidates)
    if len(names) < 2:
        raise ValueError(f"candidates are {names}: a classifier chooses between at least two")
    twice = [name for k, name in enumerate(names) if name in names[:k]]
    if twice:
        raise ValueError(f"candidate {twice[0]!r} occurs twice")
    return names


def values_of(candidates: Candidates) -> list[Any]:
    """Return the candidates' prompts or class ids."""
    return list(candidates.values()) if isinstance(candidates, Mapping) else plain(candidates)


def plain(values: Iterable[Any]) -> list[Any]:
    """Return values as a list of Python's objects, also those of an array, a tensor or a Series, or of a list of
    their scalars."""
    return [value.tolist() if hasattr(value, "tolist") else value for value in values]


def conditions_of(backbone: Backbone, candidates: Candidates) -> Tensor:
    """Return the conditions of the candidates [K, ...]. Raises what `check` raises."""
    values = check(backbone, candidates)
    if backbone.conditioned_on == "class ids":
        return backbone.conditions([], values)
    return backbone.conditions(values, [])


def check(backbone: Backbone, candidates: Candidates) -> list[Any]:
    """Return the candidates' prompts or class ids.

    Raises TypeError for prompts where the model is conditioned on class ids, and the other way round; ValueError naming
    a prompt that no text encoder reads to its end or that is empty, a class id that the model does not have, or two
    candidates that are the same to the model.
    """
    values = values_of(candidates)
    if isinstance(backbone, DiT):
        values = [_class_id(value, backbone.classes) for value in values]
        for k, value in enumerate(values):
            if value in values[:k]:
                raise ValueError(SAME.format(value, value))
        return values
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"the model is conditioned on prompts, not on {value!r}")
        if not value.strip():
            raise ValueError(f"candidates hold the empty prompt {value!r}")
    readers = backbone.readers()
    for fault in cut_off(values, readers, "the model"):
        raise ValueError(f"{fault}: shorten it")
    for first, second in equal_when_read(values, readers):
        raise ValueError(SAME.format(values[first], values[second]))
    return values


def _class_id(value: Any, classes: Collection[int]) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        class_id = operator.index(value)
    except TypeError:
        raise TypeError(
            f"the model is conditioned on class ids, {min(classes)} to {max(classes)}, not on {value!r}"
        ) from None
    if class_id not in classes:
        raise ValueError(
            f"class id {class_id} does not exist: the model has {len(classes)} classes, {min(classes)} to "
            f"{max(classes)}"
        )
    return class_id
