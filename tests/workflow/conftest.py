"""One finished shrunken study for all tests that compare a disturbed one with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import shrunken


@pytest.fixture(scope="session")
def untouched(root, tmp_path_factory) -> Path:
    """The shrunken study, run without disturbance."""
    folder = shrunken.prepare(root, tmp_path_factory.mktemp("untouched"))
    shrunken.run(folder, *shrunken.TWO_JOBS)
    return folder
