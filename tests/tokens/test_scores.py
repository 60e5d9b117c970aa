"""Every score against its formula in Table 13, written out with numpy."""

import numpy as np
import pytest
import torch

from bigain.methods.ids import SCORE_NAMES
from bigain.tokens import TokenGrid
from bigain.tokens.scores import SCORES
from bigain.tokens.scores import laplacian as laplacian_map

GRID = TokenGrid(4, 5)
C = 6


@pytest.fixture
def x():
    return torch.randn(2, GRID.tokens, C, generator=torch.Generator().manual_seed(0))


def laplacian(m):
    padded = np.pad(m, ((1, 1), (1, 1), (0, 0)))
    return padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * m


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def neighbours(m, i, j):
    places = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
    return [m[p] for p in places if 0 <= p[0] < GRID.height and 0 <= p[1] < GRID.width]


def per_token(function):
    return lambda m: np.array([[function(m, i, j) for j in range(GRID.width)] for i in range(GRID.height)])


def centroid(m, i, j):
    amplitude = np.abs(np.fft.fft(m[i, j]))
    return (np.arange(1, C + 1) * amplitude).sum() / amplitude.sum()


TABLE_13 = {
    "global_mean_deviation": lambda m: np.linalg.norm(m - m.mean(axis=(0, 1)), axis=-1),
    "l1_norm": lambda m: np.abs(m).sum(axis=-1),
    "l2_norm": lambda m: np.linalg.norm(m, axis=-1),
    "channel_variance": lambda m: m.var(axis=-1),
    "laplacian_l1": lambda m: np.abs(laplacian(m)).mean(axis=-1),
    "laplacian_l2": lambda m: np.sqrt((laplacian(m) ** 2).mean(axis=-1)),
    "dft_centroid": per_token(centroid),
    "dft_amplitude": per_token(lambda m, i, j: np.abs(np.fft.fft(m[i, j])).sum()),
    "dft_amplitude_without_dc": per_token(lambda m, i, j: np.abs(np.fft.fft(m[i, j]))[1:].sum()),
    "cosine_to_neighbours": per_token(
        lambda m, i, j: -np.mean([cosine(m[i, j], other) for other in neighbours(m, i, j)])
    ),
    "cosine_to_mean": per_token(lambda m, i, j: -cosine(m[i, j], m.mean(axis=(0, 1)))),
}


@pytest.mark.parametrize("name", SCORE_NAMES)
def test_score_is_its_formula(name, x):
    scores = SCORES[name](x, GRID)
    assert scores.shape == (2, GRID.tokens)
    for sample, score in zip(x, scores, strict=True):
        expected = TABLE_13[name](sample.double().numpy().reshape(GRID.height, GRID.width, C))
        np.testing.assert_allclose(score.numpy(), expected.ravel(), rtol=1e-5, atol=1e-6)


def test_planning_knows_every_score():
    assert set(SCORE_NAMES) == set(SCORES)


@pytest.mark.parametrize("name", SCORE_NAMES)
def test_half_precision_tokens_are_scored_in_float32_and_zeros_give_no_nan(name, x):
    assert SCORES[name](x.half(), GRID).dtype == torch.float32
    assert SCORES[name](torch.zeros_like(x), GRID).isfinite().all()


def test_one_token_has_no_neighbours():
    with pytest.raises(ValueError, match="no neighbours"):
        SCORES["cosine_to_neighbours"](torch.zeros(1, 1, 3), TokenGrid(1, 1))


def test_laplacian_closed_form():
    """Of i^2 + 3j it is 2 inside; of a constant 0 inside, |c| on edges, 2|c| in corners (zero padding)."""
    grid = TokenGrid(6, 5)
    i, j = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    x = (i**2 + 3 * j).reshape(1, -1, 1)
    assert torch.equal(laplacian_map(x, grid)[0, 0, 1:-1, 1:-1], torch.full((4, 3), 2.0))
    constant = SCORES["laplacian_l1"](torch.full((1, 30, 2), -3.0), grid).view(6, 5)
    assert constant[0, 0] == 6
    assert constant[0, 2] == 3
    assert constant[2, 2] == 0
