"""How many images a paired comparison needs."""

from __future__ import annotations

import pytest

from bigain.metrics.power import detectable_difference, images_for_equivalence, images_for_noninferiority, images_needed


@pytest.mark.parametrize("discordance", [0.05, 0.29])
def test_as_many_images_are_needed_as_show_the_difference(discordance):
    for images in (200, 500, 1000, 2000):
        assert images_needed(discordance, detectable_difference(discordance, images)) == pytest.approx(images, abs=1)


def test_equivalence_needs_both_of_two_one_sided_tests():
    # pi (z_.95 + z_.9)^2 / margin^2: each test at 5%, and each fails in 10% of studies where there is no difference
    assert images_for_equivalence(0.05, 0.01) == pytest.approx(0.05 * (1.64485 + 1.28155) ** 2 / 0.01**2, abs=1)
    assert images_for_equivalence(0, 0.5) == 1


def test_noninferiority_needs_a_single_test():
    assert images_for_noninferiority(0.05, 0.01) == pytest.approx(0.05 * (1.64485 + 0.84162) ** 2 / 0.01**2, abs=1)
    assert images_for_noninferiority(0.05, 0.01) < images_for_equivalence(0.05, 0.01)


def test_an_equivalence_margin_is_a_positive_share():
    with pytest.raises(ValueError, match="margin is 0; above 0, up to 1 is allowed"):
        images_for_equivalence(0.05, 0)
