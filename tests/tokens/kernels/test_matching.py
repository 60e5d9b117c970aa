"""The most similar destination of every source, as float64 finds it."""

import pytest
import torch
import torch.nn.functional as F

from bigain.tokens import TokenGrid, matching
from tests.helpers.quick import in_turn
from tests.helpers.torch_path import DTYPES, split_at_random, tokens_of, torch_path, whole_numbers

SHAPES = ((1, (4, 5), 1, 3), (2, (20, 10), 70, 40), (3, (10, 15), 129, 33), (2, (8, 8), 63, 1), (5, (20, 15), 128, 64))


@pytest.mark.parametrize(("dtype", "batch", "sides", "destinations", "channels"), in_turn(DTYPES, SHAPES))
def test_the_largest_cosine_wins(dtype, batch, sides, destinations, channels):
    """In float64 its destination is at most 1e-6 less similar than the most similar one: float32's rounding."""
    grid = TokenGrid(*sides)
    x = tokens_of(grid, batch, channels, dtype)
    places = split_at_random(batch, grid.tokens, destinations)
    unit = F.normalize(x.double(), dim=-1)
    cosines = matching.rows(unit, places[0]) @ matching.rows(unit, places[1]).transpose(1, 2)
    similarity, target = matching.best_destinations(x, *places)
    chosen = cosines.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(chosen, cosines.amax(dim=-1), atol=1e-6, rtol=0)
    torch.testing.assert_close(similarity.double(), chosen, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("dtype", "batch", "sides", "destinations", "channels"), in_turn(DTYPES, SHAPES))
def test_the_first_of_equal_destinations_wins(dtype, batch, sides, destinations, channels):
    """Signs are whole numbers of one length, so equal cosines are equal bit for bit."""
    grid = TokenGrid(*sides)
    x = whole_numbers(grid, batch, channels, dtype).sign()
    x = torch.where(x == 0, 1, x)
    places = split_at_random(batch, grid.tokens, destinations)
    dots = matching.rows(x.float(), places[0]) @ matching.rows(x.float(), places[1]).transpose(1, 2)
    _, target = matching.best_destinations(x, *places)
    assert torch.equal(target, dots.argmax(dim=-1))


def test_norms_that_are_known_are_taken():
    grid = TokenGrid(8, 8)
    x = tokens_of(grid, 2, 16, torch.float32)
    places = split_at_random(2, grid.tokens, 16)
    inverse_norms = 1 / x.norm(dim=-1).clamp(min=1e-12)
    similarity, target = matching.best_destinations(x, *places, 2 * inverse_norms)
    with torch_path():
        expected, places_of_torch = matching.best_destinations(x, *places)
    assert torch.equal(target, places_of_torch)
    torch.testing.assert_close(similarity, 4 * expected)


def test_no_sources_have_no_destinations():
    x, none = torch.ones(2, 4, 8), torch.empty(2, 0, dtype=torch.int64)
    similarity, target = matching.best_destinations(x, none, torch.arange(4).expand(2, -1))
    assert similarity.shape == target.shape == (2, 0)
