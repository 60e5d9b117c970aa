"""Find prompts and captions that the text encoders of a study's backbones do not read to their end. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from bigain.core.places import located
from bigain.core.prompts import (
    Reader,
    TextEncoder,
    cut_off,
    encoders_in,
    equal_by_cutting,
    readers,
    readings,
    stated_limits,
)
from bigain.datasets import FOLDER_READERS, load
from bigain.study.cells import Cell, Config, images_of_cells

FRAME_TOKENS = 2  # at the beginning and the end of a prompt
REMEDY = "shorten the class's name in `class_names`, the template in `prompt`, or the caption"


class Texts(NamedTuple):
    """Texts of a data set that a backbone reads: the prompts of classes, and the captions that it generates from."""

    backbone: str
    dataset: str
    prompts: list[str]
    captions: list[str]
    readers: list[Reader]


def prompt_faults(config: Config, cells: Iterable[Cell]) -> Iterator[str]:
    """Find prompts and captions of the user's images that a cell's backbone does not read to their end, and classes of
    any data set whose prompts differ only in their unread ends."""
    for texts in _texts(config, cells, published_captions=False):
        where = f"datasets.{texts.dataset}"
        if config["datasets"][texts.dataset]["reader"] in FOLDER_READERS:
            shown = list(dict.fromkeys([*texts.prompts, *texts.captions]))
            yield from (f"{where}: {fault}: {REMEDY}" for fault in cut_off(shown, texts.readers, texts.backbone))
        yield from (f"{where}: {fault}" for fault in equal_by_cutting(texts.prompts, texts.readers))


def prompt_notes(config: Config, cells: Iterable[Cell]) -> Iterator[str]:
    """Say how many prompts and captions of published data sets a cell's backbone does not read to their end, as its
    pipeline would not."""
    for texts in _texts(config, cells, published_captions=True):
        if config["datasets"][texts.dataset]["reader"] in FOLDER_READERS:
            continue
        for kind, every in (("prompts", texts.prompts), ("captions", texts.captions)):
            read = readings(list(dict.fromkeys(every)), texts.readers)
            where, limit = f"datasets.{texts.dataset}", max(reader.limit for reader in texts.readers)
            if cut := sum(reading.is_cut_off for reading in read):
                yield f"{where}: {texts.backbone} reads the first {limit} tokens of {cut} of {len(read)} {kind}"
            if partly := sum(bool(reading.unread_by) and not reading.is_cut_off for reading in read):
                short = min(reader.limit for reader in texts.readers)
                yield (
                    f"{where}: {partly} of {len(read)} {kind} are longer than the {short} tokens of CLIP in "
                    f"{texts.backbone}; T5 reads them to their end"
                )


def _texts(config: Config, cells: Iterable[Cell], published_captions: bool) -> Iterator[Texts]:
    """Yield the texts of every (backbone, data set) pair of cells if one of them may be cut off: it is not ASCII, or it
    has more characters than the lowest limit has tokens. `published_captions` includes those of published data sets.

    Missing weights and data are reported elsewhere.
    """
    generated: dict[tuple[str, str], int] = {}
    asked = images_of_cells(config)
    for cell in cells:
        settings, pair = config["datasets"][cell.dataset], (cell.backbone, cell.dataset)
        shows = cell.task == "generation" and (published_captions or settings["reader"] in FOLDER_READERS)
        count = (asked[cell] or 0) if shows else 0
        generated[pair] = max(count, generated.get(pair, 0))
    for (backbone, name), count in generated.items():
        model = config["backbones"][backbone]
        try:
            lowest = min(stated_limits(located(model["path"]), _encoders(model)), default=None)
            if lowest is None:
                continue
            dataset = load({**config["datasets"][name], "subset": None})
            prompts, captions = list(dataset.prompts), list(dataset.captions[:count])
            fitting = lowest - FRAME_TOKENS  # a token is at least a byte
            if not all(text.isascii() and len(text) <= fitting for text in {*prompts, *captions}):
                yield Texts(backbone, name, prompts, captions, _readers(model))
        except (OSError, ValueError):
            continue


def _encoders(model: Mapping[str, Any]) -> list[TextEncoder]:
    """Return the text encoders that a backbone on disk has; none while a tokenizer is missing."""
    path = located(model["path"])
    encoders = encoders_in(path, model["family"])
    complete = all((path / encoder.tokenizer / "tokenizer_config.json").is_file() for encoder in encoders)
    return encoders if complete else []


def _readers(model: Mapping[str, Any]) -> list[Reader]:
    from transformers import AutoTokenizer, CLIPTokenizer

    def tokenizer(encoder: TextEncoder) -> Any:
        if encoder.kind == "CLIP":
            return CLIPTokenizer.from_pretrained(located(model["path"]), subfolder=encoder.tokenizer)
        return AutoTokenizer.from_pretrained(located(model["path"]), subfolder=encoder.tokenizer)

    return readers(_encoders(model), tokenizer)
