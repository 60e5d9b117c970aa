"""Choose where a method acts: levels of a U-Net or blocks of a transformer that have self-attention. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from bigain.methods.method import Family

# DiT-XL/2's ten blocks, as released (0-based; the released flags skip 0 and 6).
DIT_XL_BLOCKS = (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)
NAMES: dict[Family, str] = {"unet": "a U-Net", "dit": "a DiT", "mmdit": "an MMDiT", "flux": "FLUX"}
# Parts of a DiT's 28 blocks: the first block, and the one after the last. The paper compares three (B.3.1); the second
# half is where PixArt-Sigma's configs compress keys and values.
PARTS = {"first_12": (0, 12), "1_6": (0, 6), "7_12": (6, 12), "15_28": (14, 28)}
# Kinds of blocks that only some transformers have: FLUX's double-stream and single-stream blocks, and the blocks of
# SD3.5-medium with a second attention among the image tokens.
KINDS = ("double", "single", "dual")
NAMED = (*PARTS, *KINDS)


def chosen(
    family: Family,
    exist: Sequence[int],
    levels: Sequence[int] | None,
    blocks: Sequence[int] | str | None,
    kinds: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> tuple[int, ...]:
    """Return the places of a model where a method acts, of those that `exist`: levels of a U-Net (default: the
    highest resolution), or blocks of a transformer, by number, by the name of a part or by their kind (default:
    DiT-XL/2's ten, and in other transformers all but the first and the last). `kinds` are the model's blocks by kind.

    Raises ValueError for blocks of a U-Net, for levels of a transformer, and if there are no places, or some are
    repeated or do not exist.
    """
    if family == "unet":
        if blocks is not None:
            raise ValueError(
                f"a U-Net has no block numbers: its blocks are chosen by `levels` ({span(exist)}; 0 is the highest "
                "resolution)"
            )
        return _checked(exist[:1] if levels is None else levels, exist, "level")
    if levels is not None:
        raise ValueError(
            f"{NAMES[family]} has one resolution and no levels: its blocks are chosen by `blocks` ({span(exist)})"
        )
    if blocks is None:
        blocks = DIT_XL_BLOCKS if family == "dit" and len(exist) == 28 else exist[1:-1]
        if not blocks:
            raise ValueError(
                "by default methods act on all blocks but the first and the last, and there are no others: choose them "
                f"by `blocks` ({span(exist)})"
            )
    elif isinstance(blocks, str):
        blocks = _named(blocks, len(exist), kinds)
    return _checked(blocks, exist, "block")


def _named(name: str, depth: int, kinds: Mapping[str, Sequence[int]]) -> Sequence[int]:
    if name in KINDS:
        if name not in kinds:
            raise ValueError(
                f"there are no {name} blocks in this model; its named blocks are {', '.join((*kinds, *PARTS))}"
            )
        return kinds[name]
    part = part_of(name, depth)
    if not part:
        raise ValueError(f"{name} is a part of 28 blocks, and of {depth} blocks it holds none: choose them by number")
    return part


def part_of(name: str, depth: int) -> tuple[int, ...]:
    """Return the block numbers, from 0, of a named part of a transformer of 28 blocks, scaled to another depth."""
    first, last = PARTS[name]
    return tuple(range(round(first * depth / 28), round(last * depth / 28)))


def span(numbers: Sequence[int]) -> str:
    """Return sorted numbers for a message: `0 to 5`, or `0, 2, 3` where some are left out."""
    if len(numbers) > 1 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers)) or "none"


def _checked(places: Sequence[int], exist: Sequence[int], kind: str) -> tuple[int, ...]:
    """Return the places in order. Raises ValueError if there are none, or some are repeated or do not exist."""
    if not places:
        raise ValueError(f"no {kind} is chosen; allowed are {span(exist)}")
    for place in places:
        if place not in exist:
            raise ValueError(f"there is no self-attention at {kind} {place}; allowed are {span(exist)}")
        if list(places).count(place) > 1:
            raise ValueError(f"{kind} {place} is repeated; allowed are {span(exist)}, each once")
    return tuple(sorted(places))
