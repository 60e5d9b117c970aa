"""The members of every destination, listed as Python sorts them."""

import pytest
import torch

from bigain.tokens.kernels import grouping
from tests.helpers.quick import in_turn
from tests.helpers.torch_path import split_at_random

KINDS = ("random", "all to the first", "all to the last", "in turn")
SHAPES = ((1, 1, 0), (2, 16, 30), (3, 70, 200), (5, 130, 130), (1, 5, 1100))


@pytest.mark.parametrize(("kind", "batch", "count", "removed"), in_turn(KINDS, SHAPES))
def test_each_destination_is_followed_by_its_sources_in_index_order(kind, batch, count, removed):
    tokens = count + removed + 3
    sources, destinations = split_at_random(batch, tokens, count)
    merged = sources[:, :removed]
    target = {
        "random": torch.randint(count, (batch, removed), generator=torch.Generator().manual_seed(0)),
        "all to the first": torch.zeros(batch, removed, dtype=torch.int64),
        "all to the last": torch.full((batch, removed), count - 1),
        "in turn": torch.arange(removed).expand(batch, -1) % count,
    }[kind]
    members, starts = grouping.group(merged, target, destinations, tokens)
    for row in range(batch):
        expected, places = [], []
        for place, destination in enumerate(destinations[row].tolist()):
            places.append(len(expected))
            expected += [destination, *sorted(merged[row, target[row] == place].tolist())]
        assert members[row].tolist() == expected
        assert starts[row].tolist() == places
