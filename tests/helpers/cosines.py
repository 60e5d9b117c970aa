"""What the similarity kernel has to return, computed with torch; without pytest, so that any process can import it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bigain.tokens import kernels, matching


def split_at_random(batch, tokens, destinations, seed=0):
    """Draw the sources and destinations of a batch."""
    order = torch.rand(batch, tokens, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)
    return matching.split(order[:, :destinations], tokens)


def all_cosines(unit, sources, destinations):
    return matching.rows(unit, sources) @ matching.rows(unit, destinations).transpose(1, 2)


def check_random_vectors(batch, tokens, destinations, channels, device):
    """The kernel finds the largest cosine of unit vectors; its place may differ between near ties only."""
    x = torch.randn(batch, tokens, channels, generator=torch.Generator().manual_seed(1))
    unit = F.normalize(x, dim=-1)
    places = split_at_random(batch, tokens, destinations)
    cosines = all_cosines(unit, *places)
    similarity, place = kernels.best_destinations(*(part.to(device) for part in (unit, *places)))
    torch.testing.assert_close(similarity.cpu(), cosines.amax(dim=-1), atol=1e-5, rtol=0)
    chosen = cosines.gather(-1, place.cpu().unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(chosen, cosines.amax(dim=-1), atol=1e-5, rtol=0)


def check_ties(batch, tokens, destinations, channels, device):
    """The first of equal cosines wins: whole numbers add up exactly, some vectors are zero, some tokens equal."""
    x = torch.randint(-2, 3, (batch, tokens, channels), generator=torch.Generator().manual_seed(2)).float()
    x[:, ::5] = 0
    x[:, tokens // 2 :] = x[:, : tokens - tokens // 2].clone()
    places = split_at_random(batch, tokens, destinations)
    cosines = all_cosines(x, *places)
    similarity, place = kernels.best_destinations(*(part.to(device) for part in (x, *places)))
    assert torch.equal(place.cpu(), cosines.argmax(dim=-1))
    assert torch.equal(similarity.cpu(), cosines.amax(dim=-1))
