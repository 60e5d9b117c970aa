"""Fixtures for all tests: tiny real models instead of mocks, no network, one thread."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

from tests.helpers.repository import ROOT


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    import torch  # here and below, so that the process that hands tests to others starts without it

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def unet():
    from tests.helpers.models import tiny_unet

    return tiny_unet()


@pytest.fixture(scope="session")
def dit():
    from tests.helpers.models import tiny_dit

    return tiny_dit()


@pytest.fixture(scope="session")
def mmdit():
    from tests.helpers.models import tiny_mmdit

    return tiny_mmdit()


@pytest.fixture(scope="session")
def flux():
    from tests.helpers.models import tiny_flux

    return tiny_flux()
