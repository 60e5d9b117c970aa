"""CA-ToMe: what is merged lies above the threshold, each sample by itself; at its limits it is ToMe or nothing."""

import pytest
import torch
import torch.nn.functional as F

from bigain.methods.presets import METHODS
from bigain.tokens import TokenGrid
from bigain.tokens.adaptive import merge_above
from bigain.tokens.merge import merge_random
from tests.helpers.tokens import random_tokens

CELL, GRID = (2, 2), TokenGrid(8, 8)
OFFSETS = torch.randint(4, (1, 16), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("threshold", [0.7, 0.8, 0.9])
def test_a_source_is_merged_if_its_best_cosine_reaches_the_threshold(threshold):
    x = random_tokens(GRID)
    plan = merge_above(x, GRID, threshold, CELL, OFFSETS)
    for sample, of_sample in zip(F.normalize(x, dim=-1), plan.plans, strict=True):
        cosines = sample @ sample[of_sample.destinations[0]].T
        best, target = cosines.max(dim=1)
        sources = set(range(64)) - set(of_sample.destinations[0].tolist())
        above = {token for token in sources if best[token] >= threshold}
        assert set(of_sample.merged[0].tolist()) == above
        assert of_sample.target[0].tolist() == target[of_sample.merged[0]].tolist()
    left = [64 - of_sample.merged.shape[1] for of_sample in plan.plans]
    assert plan.tokens_left == left
    assert 16 < min(left) < 64


def test_the_lowest_threshold_merges_as_tome_does_at_its_largest_ratio():
    x = random_tokens(GRID).abs()  # all cosines are above zero
    everything = merge_above(x, GRID, 0.0, CELL, OFFSETS)
    assert everything.tokens_left == [METHODS["ca_tome"].tokens_left(0.0, 8, 8)[0]] * 2 == [16, 16]
    tome = merge_random(x, GRID, 0.75, CELL, OFFSETS)
    torch.testing.assert_close(everything.around(lambda t: t, x), tome.around(lambda t: t, x))


def test_a_threshold_that_nothing_reaches_changes_nothing():
    x = random_tokens(GRID)
    assert torch.equal(merge_above(x, GRID, 1.0, CELL, OFFSETS).around(lambda tokens: tokens, x), x)


def test_a_sample_s_number_does_not_depend_on_its_batch():
    x = random_tokens(GRID, batch=3)
    together, alone = merge_above(x, GRID, 0.8, CELL, OFFSETS), merge_above(x[2:], GRID, 0.8, CELL, OFFSETS)
    assert together.tokens_left[2:] == alone.tokens_left
    assert torch.equal(together.plans[2].reduce(x[2:]), alone.plans[0].reduce(x[2:]))


def test_operations_that_depend_on_the_image_are_not_counted():
    with pytest.raises(ValueError, match="depends on the image: nothing to count"):
        merge_above(torch.empty(1, 64, 5, device="meta"), GRID, 0.5, CELL, OFFSETS)
