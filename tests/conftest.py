"""Fixtures for all tests: tiny real models instead of mocks, no network, one thread."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

from tests.helpers.repository import ROOT
from tests.helpers.shared_models import shared_model


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    import torch  # here and below, so that the process that hands tests to others starts without it

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def unet():
    yield from shared_model("unet")


@pytest.fixture
def dit():
    yield from shared_model("dit")


@pytest.fixture
def mmdit():
    yield from shared_model("mmdit")


@pytest.fixture
def flux():
    yield from shared_model("flux")
