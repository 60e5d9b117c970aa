"""Keyed random numbers: the published generator, the right distributions, and a draw of its own for every key."""

import torch
from scipy import stats

from bigain.tokens.draws import GOLDEN, bits, mixed, normals, uniform_places

SEEDS = torch.arange(50)


def test_it_is_splitmix64():
    """The first numbers that the reference implementation gives for seed 0."""
    state = torch.arange(1, 4) * GOLDEN
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(z) % 2**64 for z in mixed(state)] == expected


def test_places_are_equally_likely():
    counts = torch.bincount(uniform_places(SEEDS, 7, 2000, 6).flatten(), minlength=6)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_normals_are_normal():
    assert stats.kstest(normals(SEEDS, 7, 2000).flatten().numpy(), "norm").pvalue > 1e-3


def test_seed_salt_and_place_all_matter():
    first = bits(SEEDS, 1, 100)
    assert first.unique().numel() == first.numel()
    assert not (first == bits(SEEDS, 2, 100)).any()
    assert torch.equal(bits(SEEDS[7:9], 1, 30), first[7:9, :30])
    assert torch.equal(bits(SEEDS, 1, 60, skip=40), first[:, 40:])
