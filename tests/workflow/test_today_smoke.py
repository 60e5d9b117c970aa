"""config/today_smoke.yaml from official layouts to the page: the rules of config/today.yaml on small random models.

Features of the real images are made up: tests/workflow/test_paper_smoke.py computes such.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import save_file

from bigain.cli.study import merged_config
from bigain.core.provenance import read_sealed, write_provenance
from bigain.study.study import Study
from tests.helpers import official_layouts, random_pipelines
from tests.helpers.repository import copy_repository, snakemake

pytestmark = [pytest.mark.system, pytest.mark.timeout(2000)]

CONFIGS = ("config/today.yaml", "config/today_smoke.yaml")


@pytest.fixture(scope="module")
def workdir(root, tmp_path_factory) -> Path:
    """Run the smoke study; yield its folder."""
    folder = tmp_path_factory.mktemp("today")
    copy_repository(root, folder)
    random_pipelines.sd35_medium(folder / "models/random-sd35-medium")
    random_pipelines.flux1_dev(folder / "models/random-flux1-dev")
    random_pipelines.inception_weights(folder / "models/random-inception.pth")
    official_layouts.write_pets(folder / "data/rehearsal/pets", size=64)
    official_layouts.write_coco(folder / "data/rehearsal/coco", zipped=False, size=64)
    _write_reference(folder)
    completed = snakemake(folder, configs=CONFIGS)
    assert completed.returncode == 0, completed.stderr[-4000:] + completed.stdout[-4000:]
    yield folder
    shutil.rmtree(folder)


def _write_reference(folder: Path) -> None:
    """Write what stands for the features of COCO's images."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        study = Study(merged_config([Path(config) for config in CONFIGS]))
        file = Path(study.results, "inputs/reference/coco2017.safetensors")
        features = torch.randn(4, 2048, generator=torch.Generator().manual_seed(0))
        statistics = {
            "mu": features.double().mean(0),
            "sigma": torch.from_numpy(np.cov(features.numpy(), rowvar=False)),
        }
        file.parent.mkdir(parents=True)
        save_file({"features": features, **statistics}, file)
        write_provenance(file, json.loads(study.reference_spec("coco2017")), {}, seconds=0.0, environments=[])
    finally:
        os.chdir(here)


def metrics_of(folder):
    return {file: read_sealed(file) for file in sorted((folder / "results/today_smoke").rglob("metrics.json"))}


def test_every_cell_has_records_and_was_compressed(workdir):
    cells = yaml.safe_load((workdir / CONFIGS[1]).read_text())["cells"]
    every = metrics_of(workdir)
    assert len(every) == sum(len(group["methods"]) for group in cells)
    for file, scored in every.items():
        assert bool(scored["compressed"]) == (scored["cell"]["method"] != "none"), file
        if scored["cell"]["task"] == "classification":
            assert pq.read_metadata(file.with_name("chunk-0.parquet")).num_rows == 2 * (3 * 1 + 2 * 1)
