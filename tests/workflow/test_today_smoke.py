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
from bigain.core.files import read_json
from bigain.core.provenance import read_provenance, read_sealed, write_provenance
from bigain.study.study import Study
from tests.helpers import official_layouts, random_pipelines
from tests.helpers.repository import copy_repository, snakemake

pytestmark = [pytest.mark.system, pytest.mark.timeout(2000)]

CONFIGS = ("config/today.yaml", "config/today_smoke.yaml")
LIMIT = 22  # tokens that both models read: fewer than captions of images with six digits have


@pytest.fixture(scope="module")
def workdir(root, tmp_path_factory) -> Path:
    """Run the smoke study; yield its folder."""
    folder = tmp_path_factory.mktemp("today")
    copy_repository(root, folder)
    for model in (
        random_pipelines.sd35_medium(folder / "models/random-sd35-medium"),
        random_pipelines.flux1_dev(folder / "models/random-flux1-dev"),
    ):
        for file in model.glob("tokenizer*/tokenizer_config.json"):
            file.write_text(json.dumps(read_json(file) | {"model_max_length": LIMIT}))
    random_pipelines.inception_weights(folder / "models/random-inception.pth")
    official_layouts.write_pets(folder / "data/rehearsal/pets", size=64)
    official_layouts.write_coco(folder / "data/rehearsal/coco", zipped=False, size=64)
    _write_reference(folder)
    done = snakemake(folder, configs=CONFIGS)
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]
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


def test_captions_that_are_cut_off_are_counted_up_to_the_page(workdir):
    for backbone in ("sd35_medium", "flux1_dev"):
        conditions = workdir / f"results/today_smoke/inputs/{backbone}/coco2017/conditions.safetensors"
        cut = len(read_provenance(conditions)["cut_off"]["captions"])
        assert cut
        reason = f"{cut} of 2 images have captions longer than the {LIMIT} tokens that {backbone} reads"
        for file, scored in metrics_of(workdir).items():
            if (scored["cell"]["task"], scored["cell"]["backbone"]) == ("generation", backbone):
                assert scored["warnings"]["captions"] == reason, file
        assert f"captions: {reason} (1 cells)" in (workdir / "reports/today_smoke/index.html").read_text()


def test_tables_and_page_show_what_was_run(workdir):
    reports = workdir / "reports/today_smoke"
    for name in ("table2", "table4", "table11"):
        assert (reports / f"{name}.tex").stat().st_size > 200, name
    assert "2 images classified into 3 classes; trials [1, 2], keep [2, 1]" in (reports / "index.html").read_text()


def test_nothing_is_left_to_do(workdir):
    again = snakemake(workdir, "-n", configs=CONFIGS)
    assert "Nothing to be done" in again.stdout + again.stderr
