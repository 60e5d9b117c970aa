"""Prompts and captions that a model does not read to their end: recorded with the conditions, told with the scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from bigain.backbones.base import Backbone
from bigain.core.prompts import TEXT_ENCODERS, equal_by_cutting, readings
from bigain.core.provenance import ResultError, provenance_file, read_provenance


def reading_facts(backbone: Backbone, candidates: list[str], captions: list[str]) -> dict[str, Any]:
    """Return for the provenance of conditions which of the candidates' prompts and of the captions are `cut_off`, read
    to their end by no text encoder, and which are `partly_read`, by some; nothing for a class-conditioned model.

    Raises ValueError naming two candidates that only their unread ends tell apart.
    """
    readers = backbone.readers()
    if not readers:
        return {}
    for fault in equal_by_cutting(candidates, readers):
        raise ValueError(f"{fault}: the classifier cannot tell their classes apart")
    cut: dict[str, list[int]] = {}
    partly: dict[str, list[int]] = {}
    for kind, texts in (("candidates", candidates), ("captions", captions)):
        read = readings(texts, readers)
        cut[kind] = [k for k, reading in enumerate(read) if reading.is_cut_off]
        partly[kind] = [k for k, reading in enumerate(read) if reading.unread_by and not reading.is_cut_off]
        if cut[kind]:
            print(f"warning: {len(cut[kind])} of {len(texts)} {kind} are cut off after {read[0].limit} tokens")
    return {"cut_off": cut, "partly_read": partly, "tokens_read": {reader.name: reader.limit for reader in readers}}


def cut_off_fact(
    conditions: Path, kind: Literal["candidates", "captions"], row_of: Sequence[int], first: int = 0
) -> dict[str, Any]:
    """Return for the provenance of a cell which of its classes or images have a prompt that is cut off, and after how
    many tokens; nothing if none has.

    `row_of` are the rows of the classes among the conditions' candidates, or of the images from the `first` on among
    the captions. Raises ResultError for conditions of a text-conditioned model that do not record which are cut off.
    """
    provenance = read_provenance(conditions)
    if not TEXT_ENCODERS[provenance["spec"]["backbone"]["family"]]:
        return {}
    if "cut_off" not in provenance:
        raise ResultError(
            conditions,
            "outdated",
            "does not record which prompts the model does not read to their end: an earlier bigain encoded it. Delete "
            f"it and {provenance_file(conditions).name}, and they are made again",
        )
    rows = set(provenance["cut_off"][kind])
    positions = [k for k, row in enumerate(row_of, start=first) if row in rows]
    return {"cut_off": {"positions": positions, "after": max(provenance["tokens_read"].values())}} if positions else {}
