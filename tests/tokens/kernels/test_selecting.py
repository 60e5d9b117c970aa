"""Splitting and selecting, exactly as torch does."""

import pytest
import torch

from bigain.tokens import matching
from bigain.tokens.kernels import selecting
from tests.helpers.quick import in_turn
from tests.helpers.torch_path import split_at_random, torch_path


@pytest.mark.parametrize(
    ("batch", "tokens", "count"), [(1, 1, 1), (2, 63, 15), (3, 64, 16), (2, 5000, 1250), (5, 7, 7)]
)
def test_sources_and_destinations_come_in_index_order(batch, tokens, count):
    _, destinations = split_at_random(batch, tokens, count)
    with torch_path():
        expected = matching.split(destinations, tokens)
    for part, of_torch in zip(matching.split(destinations, tokens), expected, strict=True):
        assert torch.equal(part, of_torch)


def similarities(kind: str, batch: int, count: int) -> torch.Tensor:
    draw = torch.randn(batch, count, generator=torch.Generator().manual_seed(count))
    match kind:
        case "ties":
            return draw.mul(2).round()  # both zeros among them
        case "equal":
            return torch.ones(batch, count)
        case "protected":
            return draw.masked_fill(draw > 0.5, -torch.inf)
        case "extreme":
            draw[:, 0], draw[:, 1:3] = 3e38, torch.tensor([-3e38, 1e-42])
            return draw
    return draw


KINDS = ("random", "ties", "equal", "protected", "extreme")
SHAPES = ((1, 5), (5, 47), (2, 700))


@pytest.mark.parametrize(("kind", "batch", "count", "share"), in_turn(KINDS, SHAPES, (0.0, 0.3, 0.99, 1.0), every=3))
def test_the_first_of_the_highest_are_selected(kind, batch, count, share):
    similarity, removed = similarities(kind, batch, count), int(share * count)
    sources, destinations = matching.split(split_at_random(batch, count + 9, 9)[1], count + 9)
    target = torch.randint(9, (batch, count), generator=torch.Generator().manual_seed(1))
    kept, merged, merged_target, place = selecting.select(similarity, sources, target, destinations, removed)
    with torch_path():
        chosen, _ = matching.highest(similarity, removed).sort(dim=1)
        others, _ = matching.split(chosen, count)
    assert torch.equal(merged, sources.gather(1, chosen))
    assert torch.equal(merged_target, target.gather(1, chosen))
    assert torch.equal(kept, sources.gather(1, others))
    short = torch.cat([kept, destinations], dim=1)
    expected = (
        torch.arange(count + 9)
        .expand(batch, -1)
        .clone()
        .scatter_(1, merged, short.gather(1, count - removed + merged_target))
    )
    assert torch.equal(short.gather(1, place.long()), expected)
