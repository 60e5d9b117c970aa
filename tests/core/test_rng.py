"""Random numbers are keyed: stable, distinct, and without effect on the global generators."""

import torch

from bigain.core.rng import numpy_generator, seed_for, torch_generator


def test_keys_are_stable_and_distinct():
    assert seed_for(0, "noise", 1, 2, 0) == 2756095978363133803
    keys = [(0, "noise", 1, 2), (0, "noise", 12), (0, "noise", "1", 2), (1, "noise", 1, 2), (0, "x_T", 1, 2)]
    assert len({seed_for(*key) for key in keys}) == len(keys)


def test_drawing_does_not_touch_the_global_generators():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    torch.randn(3, generator=torch_generator(0, "a"))
    assert torch.equal(before, torch.get_rng_state())
    assert numpy_generator(0, "a").random() == numpy_generator(0, "a").random()
