"""How many tokens a merge ratio removes."""

import pytest

from bigain.methods.counts import removed_tokens
from bigain.methods.ids import method_of

CELL = (2, 2)


def test_an_unreachable_ratio_says_what_is_allowed():
    with pytest.raises(ValueError, match=r"merge ratio 0\.8 removes 204 of the 256 .* largest ratio is 0\.75"):
        removed_tokens(0.8, 16, 16, CELL)
    assert removed_tokens(0.75, 16, 16, CELL) == 192


@pytest.mark.parametrize(
    ("ratio", "kept"), [(0.1, 3687), (0.2, 3277), (0.3, 2868), (0.4, 2458), (0.5, 2048), (0.6, 1639), (0.7, 1229)]
)
def test_token_counts_of_the_paper(ratio, kept):
    assert 4096 - removed_tokens(ratio, 64, 64, CELL) == kept


@pytest.mark.parametrize(("height", "width"), [(10, 10), (7, 9), (33, 18), (64, 64)])
def test_the_largest_ratio_is_reached_exactly(height, width):
    left = method_of("tome~clamp-on").tokens_left(0.99, height, width)[0]
    assert left == (height // 2) * (width // 2)
