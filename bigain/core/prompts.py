"""Limits on prompts: the tokens of a prompt that the text encoders of a pipeline read. No torch.

A pipeline gives each of its text encoders a prompt's tokens up to a limit, and drops the rest. Where several encoders
read a prompt (Stable Diffusion 3: CLIP twice and T5; FLUX.1: CLIP and T5), CLIP's limit of 77 is lower by design, and
T5 carries what lies beyond. So a prompt is cut off only where no encoder reads it to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bigain.core.files import naming, read_json

SHOWN = 200  # characters of a prompt in a message
UNLIMITED = 10**30  # what transformers takes for a tokenizer that states no limit


class TextEncoder(NamedTuple):
    """Folders of a text encoder and of its tokenizer in a pipeline, the most tokens that the pipeline gives it (None
    stands for the tokenizer's own limit), and whether a pipeline may lack it."""

    folder: str
    tokenizer: str
    kind: Literal["CLIP", "T5"]
    most: int | None = None
    optional: bool = False


T5_TOKENS = {"mmdit": 256, "flux": 512}  # to which diffusers' pipelines pad T5's, also zeros in its place
CLIP = TextEncoder("text_encoder", "tokenizer", "CLIP")
TEXT_ENCODERS: dict[str, tuple[TextEncoder, ...]] = {  # by family
    "unet": (CLIP,),
    "dit": (),
    "mmdit": (
        CLIP,
        TextEncoder("text_encoder_2", "tokenizer_2", "CLIP"),
        TextEncoder("text_encoder_3", "tokenizer_3", "T5", T5_TOKENS["mmdit"], optional=True),
    ),
    "flux": (CLIP, TextEncoder("text_encoder_2", "tokenizer_2", "T5", T5_TOKENS["flux"])),
}


class Reader(NamedTuple):
    """A text encoder with its tokenizer and the most tokens that it gets, start and end included."""

    name: str
    tokenizer: Any
    limit: int

    def tokens(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of whole prompts."""
        return self.tokenizer(list(prompts), verbose=False).input_ids if prompts else []

    def tokens_read(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the tokens that the encoder gets of each prompt, without padding."""
        return self.tokenizer(list(prompts), truncation=True, max_length=self.limit).input_ids if prompts else []


class Reading(NamedTuple):
    """Length of a prompt: its `tokens` to the encoder with the highest `limit`, and the names of the encoders
    that do not read its end."""

    tokens: int
    limit: int
    unread_by: tuple[str, ...]
    is_cut_off: bool


def limits(encoders: Sequence[TextEncoder], limit_of: Callable[[TextEncoder], int]) -> list[int]:
    """Return the limits of encoders by `limit_of`, their tokenizers' own.

    As in diffusers, the first CLIP's is that of the other, too; a T5 gets at most what the pipeline says.
    """
    stated = [limit_of(encoder) for encoder in encoders]
    clip = next((limit for limit, encoder in zip(stated, encoders, strict=True) if encoder.kind == "CLIP"), None)
    return [
        clip if encoder.kind == "CLIP" and clip is not None else min(limit, encoder.most or limit)
        for limit, encoder in zip(stated, encoders, strict=True)
    ]


def encoders_of(family: str, has_part: Callable[[str], bool]) -> list[TextEncoder]:
    """Return the text encoders of a pipeline of a family that has these parts, by their folders."""
    return [encoder for encoder in TEXT_ENCODERS[family] if not encoder.optional or has_part(encoder.folder)]


def encoders_in(folder: Path, family: str) -> list[TextEncoder]:
    """Return the text encoders of a pipeline folder."""
    return encoders_of(family, lambda part: (folder / part / "config.json").is_file())


def stated_limits(folder: Path, encoders: Sequence[TextEncoder]) -> list[int]:
    """Return the limits of a pipeline folder's text encoders, without loading their tokenizers, which takes seconds."""

    def stated(encoder: TextEncoder) -> int:
        file = folder / encoder.tokenizer / "tokenizer_config.json"
        with naming(file):
            return int(read_json(file).get("model_max_length", UNLIMITED))

    return limits(encoders, stated)


def readers(encoders: Sequence[TextEncoder], load: Callable[[TextEncoder], Any]) -> list[Reader]:
    """Return the encoders as readers, with the tokenizers that `load` returns."""
    tokenizers = {encoder: load(encoder) for encoder in encoders}
    every = limits(encoders, lambda encoder: tokenizers[encoder].model_max_length)
    return [Reader(e.folder, tokenizers[e], limit) for e, limit in zip(encoders, every, strict=True)]


def readings(prompts: Sequence[str], readers: Sequence[Reader]) -> list[Reading]:
    """Return how far each prompt is read by the encoders of a pipeline."""
    if not readers:
        return [Reading(0, 0, (), False) for _ in prompts]
    lengths = [[len(ids) for ids in reader.tokens(prompts)] for reader in readers]
    farthest = max(range(len(readers)), key=lambda k: readers[k].limit)
    read = []
    for counts in zip(*lengths, strict=True):
        unread_by = tuple(r.name for r, count in zip(readers, counts, strict=True) if count > r.limit)
        read.append(
            Reading(counts[farthest], readers[farthest].limit, unread_by, is_cut_off=len(unread_by) == len(readers))
        )
    return read


def cut_off(prompts: Sequence[str], readers: Sequence[Reader], model: str) -> Iterator[str]:
    """Yield a sentence, without its end, on every prompt that no encoder of a model reads to its end."""
    for prompt, reading in zip(prompts, readings(prompts, readers), strict=True):
        if reading.is_cut_off:
            yield (
                f"the prompt {prompt!r:.{SHOWN}} has {reading.tokens} tokens; {model} reads {reading.limit} and would "
                "drop the rest"
            )


def equal_when_read(prompts: Sequence[str], readers: Sequence[Reader]) -> Iterator[tuple[int, int]]:
    """Yield the positions of every prompt that is to all encoders the same as an earlier one, after that one's."""
    first: dict[Any, int] = {}
    for k, read in enumerate(zip(*(reader.tokens_read(prompts) for reader in readers), strict=True)):
        key = tuple(map(tuple, read))
        if first.setdefault(key, k) != k:
            yield first[key], k


def equal_by_cutting(prompts: Sequence[str], readers: Sequence[Reader]) -> Iterator[str]:
    """Yield a sentence, without its end, on every pair of different prompts that are the same to the encoders because
    the end of one is not read."""
    read = readings(prompts, readers)
    for first, second in equal_when_read(prompts, readers):
        if prompts[first] != prompts[second] and (read[first].unread_by or read[second].unread_by):
            yield (
                f"the prompts {prompts[first]!r:.{SHOWN}} and {prompts[second]!r:.{SHOWN}} differ only where no text "
                f"encoder reads them, after {read[first].limit} tokens"
            )
