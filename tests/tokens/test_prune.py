"""Pruning as SiTo does it: which tokens go, whose copies they become, and that chunks change nothing."""

import pytest
import torch

from bigain.methods.presets import METHODS
from bigain.tokens import TokenGrid, matching
from bigain.tokens.prune import prune_similar
from tests.helpers.tokens import random_tokens

CELL = (2, 2)
GRID = TokenGrid(16, 16)


def sito(x, ratio, noise, **changes):
    return prune_similar(x, GRID, ratio, **{**METHODS["sito"].options, "noise": noise, **changes})


def test_pruning_in_chunks_is_pruning_at_once(monkeypatch):
    x = random_tokens(GRID, batch=3)
    noise = torch.randn(3, 256, generator=torch.Generator().manual_seed(3))
    whole = sito(x, 0.5, noise)
    for limit in (2 * 256**2, 256**2, 1000):  # two samples at once, one, chunks of one
        monkeypatch.setattr(matching, "SIMILARITIES", limit)
        parts = sito(x, 0.5, noise)
        for name in ("kept", "pruned", "target"):
            assert torch.equal(getattr(whole, name), getattr(parts, name))


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.75])
def test_pruning_without_the_gram_matrix_is_the_same(ratio):
    x = random_tokens(GRID, batch=3)
    noise = torch.randn(3, 256, generator=torch.Generator().manual_seed(3))
    whole = sito(x, ratio, noise)
    quick = sito(x, ratio, noise, full_gram=False)
    for name in ("kept", "pruned", "target"):
        assert torch.equal(getattr(whole, name), getattr(quick, name))


def test_pruning_drops_the_most_redundant_and_copies_from_the_most_similar_kept():
    """Four orthogonal directions, one a cell; one cell holds a near copy of its neighbour's direction."""
    grid = TokenGrid(4, 4)
    x = torch.zeros(1, 16, 16)
    x[0, range(16), range(16)] = 1  # all different ...
    x[0, 5] = x[0, 0] * 2  # ... but 5 points as 0 does, in the same cell
    noise = torch.zeros(1, 16)
    plan = prune_similar(x, grid, 1 / 16, CELL, similarity_weight=1.0, noise_weight=0.1, noise=noise)
    assert plan.pruned.tolist() == [[5]]  # 0 is the base: both have the highest sum, the first wins
    y = plan.restore(plan.reduce(x))
    assert torch.equal(y[0, 5], x[0, 0])
    assert torch.equal(y[0, :5], x[0, :5])
    assert plan.reduce(x).shape == (1, 15, 16)


def test_a_pruned_token_may_copy_from_a_kept_token_that_is_not_a_base():
    grid = TokenGrid(2, 2)
    x = torch.tensor([[[1.0, 0.0], [1.0, 0.05], [1.0, 0.3], [1.0, 0.31]]])
    plan = prune_similar(x, grid, 0.25, CELL, similarity_weight=1.0, noise_weight=0.0, noise=torch.zeros(1, 4))
    pruned, source = int(plan.pruned[0, 0]), int(plan.kept[0, plan.target[0, 0]])
    cosine = torch.nn.functional.cosine_similarity(x[0, pruned].expand(4, 2), x[0], dim=-1)
    cosine[pruned] = -1
    assert source == int(cosine.argmax())


def test_noise_moves_the_base_tokens():
    x = random_tokens(GRID)
    quiet, loud = torch.zeros(2, 256), 1e4 * torch.randn(2, 256, generator=torch.Generator().manual_seed(3))
    first, second = (sito(x, 0.5, noise) for noise in (quiet, loud))
    assert not torch.equal(first.pruned, second.pruned)
