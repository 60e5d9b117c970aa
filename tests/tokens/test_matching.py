"""Destinations by score; and top-k and compaction instead of sorting: exactly what a stable argsort gives, ties
included."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigain.tokens import TokenGrid, matching, merge
from bigain.tokens.blocks import merge_cells
from bigain.tokens.downsample import most_detailed, smoothest
from bigain.tokens.prune import prune_similar

CELL = (2, 2)
GRID = TokenGrid(10, 14)
TIED = [0.0, -0.0, 1.0, -1.0, torch.inf, -torch.inf, 1e-45, -1e-45, 3.4e38, -3.4e38]


def sorted_highest(scores, count):
    return scores.argsort(dim=1, descending=True, stable=True)[:, :count]


def sorted_split(destinations, tokens):
    is_destination = torch.zeros(len(destinations), tokens, dtype=torch.bool).scatter_(1, destinations, True)
    order = is_destination.int().argsort(dim=1, stable=True)
    count = tokens - destinations.shape[1]
    return order[:, :count], order[:, count:]


def sorted_soft_matching(metric, destinations, removed, protected):
    sources, destinations = sorted_split(destinations, metric.shape[1])
    is_protected = torch.zeros(metric.shape[:2], dtype=torch.bool).scatter(1, protected, True)
    closed = is_protected.gather(1, destinations)
    similarity, target = matching.best_destinations(metric, sources, destinations, closed=closed)
    order = similarity.masked_fill(is_protected.gather(1, sources), -torch.inf).argsort(
        dim=1, descending=True, stable=True
    )
    merged, kept = order[:, :removed], order[:, removed:]
    return merge.TokenPlan(sources.gather(1, kept), sources.gather(1, merged), target.gather(1, merged), destinations)


def tokens(tied, seed=0):
    """Of small whole numbers, so that many scores and similarities are equal, or of any."""
    x = torch.randn(3, GRID.tokens, 3, generator=torch.Generator().manual_seed(seed))
    return x.round() if tied else x


@settings(max_examples=200, deadline=None)
@given(
    rows=st.integers(1, 20).flatmap(
        lambda n: st.lists(
            st.lists(st.sampled_from(TIED) | st.floats(width=32, allow_nan=False), min_size=n, max_size=n),
            min_size=1,
            max_size=3,
        )
    ),
    data=st.data(),
)
def test_the_highest_are_numpy_s_with_ties_to_the_first(rows, data):
    scores = np.array(rows, dtype=np.float32)
    count = data.draw(st.integers(0, scores.shape[1]))
    expected = [np.lexsort((np.arange(len(row)), -row))[:count].tolist() for row in scores]
    assert matching.highest(torch.from_numpy(scores), count).tolist() == expected


@pytest.mark.parametrize("count", [0, 1, 7, 64, 1000, 4096])
@pytest.mark.parametrize("levels", [1, 3, 4096])
def test_the_highest_of_many_are_those_of_a_stable_sort(levels, count):
    scores = torch.randint(levels, (2, 4096), generator=torch.Generator().manual_seed(levels)).float() - levels // 2
    assert torch.equal(matching.highest(scores, count), sorted_highest(scores, count))


def test_not_a_number_crashes_nothing():
    computed = matching.highest(torch.tensor([[0.0, torch.nan, -torch.inf, -torch.nan, 2.0]]), 5)
    assert sorted(computed[0].tolist()) == [0, 1, 2, 3, 4]


@settings(max_examples=50, deadline=None)
@given(tokens=st.integers(1, 40), data=st.data())
def test_split_keeps_index_order(tokens, data):
    count = data.draw(st.integers(0, tokens))
    destinations = torch.tensor([data.draw(st.permutations(range(tokens)))[:count] for _ in range(2)]).long()
    for computed, expected in zip(
        matching.split(destinations, tokens), sorted_split(destinations, tokens), strict=True
    ):
        assert torch.equal(computed, expected)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("removed", [0, 1, 40, 105])
@pytest.mark.parametrize("protected", [0, 30])
def test_a_matching_is_that_of_a_stable_sort(tied, removed, protected):
    x = tokens(tied)
    destinations = matching.top_left(GRID, CELL).expand(3, -1)
    first = torch.arange(protected).expand(3, -1)
    computed = merge.soft_matching(x, destinations, removed, first)
    expected = sorted_soft_matching(x, destinations, removed, first)
    for name in ("merged", "target", "destinations"):
        assert torch.equal(getattr(computed, name), getattr(expected, name))
    assert torch.equal(computed.kept, expected.kept.sort(dim=1).values)
    sources = computed.kept.shape[1]
    assert torch.equal(computed.reduce(x)[:, sources:], expected.reduce(x)[:, sources:])
    assert torch.equal(computed.restore(computed.reduce(x)), expected.restore(expected.reduce(x)))


OPERATORS = {
    "random": lambda x: merge.merge_random(x, GRID, 0.5, CELL, (torch.arange(35) % 4).expand(3, -1)),
    "smooth": lambda x: merge.merge_smooth(x, GRID, 0.5, CELL, "laplacian_l1", protect=0.2),
    "cell_argmax": lambda x: merge.merge_smooth(x, GRID, 0.5, CELL, "l1_norm", "cell_argmax"),
    "shuffled": lambda x: merge.merge_shuffled(x, GRID, 0.5, CELL, "l1_norm", -x[:1, :, 0]),
    "official_v1": lambda x: merge.merge_smooth(x, GRID, 0.5, CELL, "l1_norm", "official_v1"),
    "cells": lambda x: merge_cells(x, GRID, 0.5, CELL, "l1_norm", "token_matched", "max"),
    "prune": lambda x: prune_similar(x, GRID, 0.5, CELL, 1.0, 0.0, torch.zeros(1, GRID.tokens)),
}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("operator", OPERATORS)
def test_every_plan_is_that_of_stable_sorts(monkeypatch, operator, tied):
    x = tokens(tied, seed=1)
    computed = OPERATORS[operator](x)
    monkeypatch.setattr(matching, "highest", sorted_highest)
    monkeypatch.setattr(matching, "split", sorted_split)
    expected = OPERATORS[operator](x)
    for name in set(computed.__dataclass_fields__) - {"maps"}:  # which kernels alone read
        assert torch.equal(getattr(computed, name), getattr(expected, name))


@pytest.mark.parametrize("tied", [False, True])
def test_extreme_tokens_are_those_of_stable_sorts(tied):
    x = tokens(tied)
    scores = x.abs().sum(dim=-1)
    for operator, key in ((smoothest, scores), (most_detailed, -scores)):
        chosen = key.argsort(dim=1, stable=True)[:, :35].sort(dim=1).values
        assert torch.equal(operator(x, GRID, 2, "l1_norm"), matching.rows(x, chosen))


@pytest.mark.slow
def test_sums_in_order_are_an_operator_for_compilers_and_gradients():
    x, added = (torch.randn(k, 3, generator=torch.Generator().manual_seed(k), requires_grad=True) for k in (4, 9))
    place = torch.tensor([0, 2, 2, 0, 3, 2, 2, 2, 0])
    torch.testing.assert_close(matching.sums_in_order(x, place, added), x.index_add(0, place, added))
    torch.library.opcheck(matching.sums_in_order, (x, place, added))


def test_one_compiled_graph_breaks_ties_alike():
    scores = torch.tensor(TIED).repeat(2, 30)[:, torch.randperm(300, generator=torch.Generator().manual_seed(0))]
    torch._dynamo.reset()
    for count in (50, 299):
        compiled = torch.compile(matching.highest, fullgraph=True, dynamic=False)
        assert torch.equal(compiled(scores * 1, count), sorted_highest(scores, count))
    x, destinations = tokens(tied=True), matching.top_left(GRID, CELL)
    matched = torch.compile(merge.soft_matching, fullgraph=True, dynamic=False)(x, destinations, 40)
    expected = merge.soft_matching(x, destinations, 40)
    for name in set(expected.__dataclass_fields__) - {"maps"}:
        assert torch.equal(getattr(matched, name), getattr(expected, name))


def test_the_smoothest_token_of_each_cell_is_its_destination():
    grid = TokenGrid(4, 4)
    scores = torch.tensor([[9.0, 1, 5, 5, 9, 9, 5, 5, 4, 3, 9, 9, 2, 1, 9, 0]])
    assert matching.cell_argmin(scores, grid, CELL).tolist() == [[1, 2, 13, 15]]
    assert matching.cell_argmax(scores, grid, CELL).tolist() == [[0, 2, 8, 10]]


@pytest.mark.parametrize("width", [64, 16])
def test_official_v1_is_its_description(width):
    """In a two-row band, "cell" k looks at 4 consecutive pixels: of the upper row in the first half, then the lower;
    the place found there is used in the real 2x2 cell k."""
    grid = TokenGrid(width, width)
    scores = torch.randn(1, grid.tokens, generator=torch.Generator().manual_seed(1))
    computed = matching.official_v1(scores, grid, CELL)[0].tolist()
    image, half, expected = scores.view(width, width), width // 4, []
    for band in range(width // 2):
        for k in range(width // 2):
            row, column = (2 * band, 4 * k) if k < half else (2 * band + 1, 4 * (k - half))
            place = int(image[row, column : column + 4].argmin())
            expected.append((2 * band + place // 2) * width + 2 * k + place % 2)
    assert computed == expected
    assert computed != matching.cell_argmin(scores, grid, CELL)[0].tolist()


def test_official_v1_refuses_a_strip_at_the_right_and_leaves_out_that_at_the_bottom():
    with pytest.raises(ValueError, match="rows of whole cells"):
        matching.official_v1(torch.zeros(1, 20), TokenGrid(4, 5), CELL)
    scores = torch.randn(2, 6 * 8, generator=torch.Generator().manual_seed(0))
    with_strip = torch.cat([scores, torch.full((2, 8), -9.0)], dim=1)
    whole = matching.official_v1(scores, TokenGrid(6, 8), CELL)
    assert torch.equal(matching.official_v1(with_strip, TokenGrid(7, 8), CELL), whole)
