"""Fourier Token Merging: its metric in closed form, and that it depends on the order of the channels."""

import pytest
import torch
import torch.nn.functional as F

from bigain.tokens import TokenGrid
from bigain.tokens.fourier import merge_fourier, spectra
from bigain.tokens.merge import soft_matching
from tests.helpers.tokens import random_tokens

CELL, GRID = (2, 2), TokenGrid(8, 8)
OFFSETS = torch.randint(4, (1, 16), generator=torch.Generator().manual_seed(3))


def test_the_real_part_of_a_cosine_wave_is_two_spikes():
    wave = torch.cos(2 * torch.pi * 3 * torch.arange(16) / 16).view(1, 1, 16)
    expected = torch.zeros(1, 1, 16)
    expected[..., 3] = expected[..., 13] = 8  # C / 2, at k and C - k
    torch.testing.assert_close(spectra(wave, 1.0), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(spectra(wave, 0.6), expected[..., :9], atol=1e-4, rtol=0)
    assert spectra(wave.sin(), 1.0).shape == (1, 1, 16)


def test_all_bins_compare_the_even_parts_of_the_tokens():
    """Parseval: the cosine of two real parts is that of the even parts (x_c + x_{-c}) / 2, over channels modulo C."""
    x = random_tokens(GRID, channels=12)
    even = (x + x[..., -torch.arange(12) % 12]) / 2
    full, closed = (F.normalize(y, dim=-1) @ F.normalize(y, dim=-1).transpose(1, 2) for y in (spectra(x, 1.0), even))
    torch.testing.assert_close(full, closed, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rho", [0.6, 1.0])
def test_it_is_tome_on_spectra(rho):
    x = random_tokens(GRID, channels=12)
    plan = merge_fourier(x, GRID, 0.5, CELL, rho, "none", OFFSETS)
    dft = torch.stack([(x * torch.cos(2 * torch.pi * k * torch.arange(12) / 12)).sum(-1) for k in range(int(12 * rho))])
    expected = soft_matching(dft.permute(1, 2, 0), plan.destinations, 32)
    assert torch.equal(plan.place(), expected.place())


def test_permuted_channels_merge_other_tokens_but_tome_the_same():
    x = random_tokens(GRID, channels=12)
    plain, permuted = (merge_fourier(x, GRID, 0.5, CELL, 1.0, how, OFFSETS) for how in ("none", "channels"))
    assert not torch.equal(plain.merged.sort().values, permuted.merged.sort().values)
    shuffled = spectra(x, 1.0, "channels")
    assert torch.equal(shuffled, spectra(x, 1.0, "channels"))  # the same shuffle for every token, block and run
    assert not torch.allclose(shuffled, spectra(x, 1.0))
    torch.testing.assert_close(shuffled[..., 0], x.sum(dim=-1))
