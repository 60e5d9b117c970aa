"""`bigain compare`, from a study that is run and published to the paired tests of a method in a file."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import yaml

from tests.helpers.repository import copy_repository, snakemake

CONFIG = {
    "study": "table",
    "datasets": {"fashion": {"images": 6}},
    "classification": {"block": 3},
    "cells": [
        {
            "task": "classification",
            "backbone": "mini_unet",
            "dataset": "fashion",
            "methods": ["none", "tome_fixed", "todo"],
            "strengths": {"merge_ratio": [0.5], "downsample_factor": [2]},
        }
    ],
}
CORNER = '''"""ToMe whose destinations are the first token of every cell, as those of tome_fixed."""

from bigain.tokens import matching
from bigain.tokens.merge import soft_matching

METHODS = {
    "corner": {
        "acts_on": "tokens",
        "strength_kind": "merge_ratio",
        "operator": "merge_corner",
        "options": {"cell": (2, 2)},
    }
}


def merge_corner(metric, grid, ratio, cell):
    """Tokens [B, N, C] -> the plan that merges the int(N * ratio) sources most like a destination."""
    cells = (grid.height // cell[0], grid.width // cell[1])
    destinations = matching.at_offsets(metric.new_zeros(cells, dtype=int).view(1, -1), grid, cell)
    return soft_matching(metric, destinations, removed=int(grid.tokens * ratio))
'''

pytestmark = pytest.mark.system


def bigain(folder, *arguments):
    command = [sys.executable, "-m", "bigain", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_method_that_equals_a_stored_one_is_found_equal_image_by_image(root, tmp_path):
    copy_repository(root, tmp_path)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "corner.py").write_text(CORNER)
    cells = "results/table/cells/classification/mini_unet/fashion"
    arms = ("none/full", "tome_fixed/ratio-0.5", "todo/factor-2")
    completed = snakemake(
        tmp_path, *(f"{cells}/{arm}/seed-0/metrics.json" for arm in arms), "results/table/efficiency/mini_unet.csv"
    )
    assert completed.returncode == 0, completed.stderr
    written = bigain(tmp_path, "outcomes", "docs/table/outcomes", "--configfile", "study.yaml")
    assert written.returncode == 0, written.stderr

    compared = bigain(tmp_path, "compare", "corner.py", "--against", "docs/table", "--strength", "0.5")
    assert compared.returncode == 0, compared.stderr
    head, _, *rows = compared.stdout.splitlines()
    assert re.match(r"mini_unet, fashion, Acc@1 \(%\): corner 0\.5: [\d.]+ \(11\.1% of operations saved", head)
    equal = next(row for row in rows if row.strip().startswith("ToMe, top-left 0.5"))
    assert re.search(r"[+]0\.?0* \(", equal)
    assert re.search(r" 6 +1\.000 ", equal)  # images, p
    assert any(row.strip().startswith("no compression") for row in rows)
    assert any(row.strip().startswith("ToDo 2x") for row in rows)
    assert "another environment" not in compared.stdout
    stored = (tmp_path / cells / "tome_fixed/ratio-0.5/seed-0/chunk-0.parquet").read_bytes()
    made = "results/compare_corner/cells/classification/mini_unet/fashion/corner/ratio-0.5/seed-0/chunk-0.parquet"
    assert _errors(stored, tmp_path / "stored") == _errors((tmp_path / made).read_bytes(), tmp_path / "made")

    (tmp_path / "bigain/tokens/merge.py").write_text((tmp_path / "bigain/tokens/merge.py").read_text() + "\nNEW = 1\n")
    refused = bigain(tmp_path, "compare", "corner.py", "--against", "docs/table", "--strength", "0.5")
    assert refused.returncode == 2
    assert "were computed with other settings, models, data or code than now" in refused.stderr


def _errors(content, file):
    import pyarrow.parquet as pq

    file.write_bytes(content)
    return pq.read_table(file)["error"].to_pylist()
