"""A finished shrunken study, with which tests compare disturbed ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import shrunken


@pytest.fixture(scope="session")
def untouched(root, tmp_path_factory) -> Path:
    """Run the shrunken study undisturbed and return its folder."""
    folder = shrunken.prepare(root, tmp_path_factory.mktemp("untouched"))
    shrunken.run(folder, *shrunken.TWO_JOBS)
    return folder
