"""config/paper_smoke.yaml from official layouts to tables: with small random models, and with the true architectures.

`make test-slow` runs the second: about half an hour and 8 GB on two cores.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers import official_layouts, random_pipelines
from tests.helpers.repository import copy_repository, snakemake

CONFIGS = ("config/paper.yaml", "config/paper_smoke.yaml")
SMALL = {"backbones": {"sd2": {"architecture": None}, "dit_xl2": {"architecture": None, "blocks": [1, 2]}}}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(True, id="small", marks=[pytest.mark.system, pytest.mark.timeout(2000)]),
        pytest.param(False, id="true", marks=[pytest.mark.slow, pytest.mark.timeout(7200)]),
    ],
)
def workdir(request, root, tmp_path_factory) -> tuple[Path, tuple[str, ...]]:
    """Run the smoke study; yield its folder and configs."""
    folder, configs = tmp_path_factory.mktemp("paper"), CONFIGS
    copy_repository(root, folder)
    random_pipelines.stable_diffusion(folder / "models/random-sd2", small=request.param)
    random_pipelines.dit(folder / "models/random-dit-xl2", small=request.param)
    random_pipelines.inception_weights(folder / "models/random-inception.pth")
    official_layouts.write_pets(folder / "data/rehearsal/pets", size=100)
    official_layouts.write_imagenet(
        folder / "data/rehearsal/imagenet", official_layouts.imagenet.IMAGENET_100, size=100
    )
    official_layouts.write_coco(folder / "data/rehearsal/coco", zipped=True, size=100)
    if request.param:
        (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
        configs = (*CONFIGS, "small.yaml")
    completed = snakemake(folder, configs=configs)
    assert completed.returncode == 0, completed.stderr[-4000:] + completed.stdout[-4000:]
    yield folder, configs
    shutil.rmtree(folder)


def test_every_cell_has_records_and_was_compressed(workdir):
    folder, _ = workdir
    results = folder / "results/paper_smoke"
    cells = yaml.safe_load((folder / CONFIGS[1]).read_text())["cells"]
    metrics = sorted(results.rglob("metrics.json"))
    assert len(metrics) == sum(len(group["methods"]) for group in cells)
    for file in metrics:
        scored = json.loads(file.read_text())
        assert bool(scored["compressed"]) == (scored["cell"]["method"] != "none"), file
        if scored["cell"]["task"] == "generation":
            assert scored["left_out"] == {"fid": "2 generated images; at least 2048 are needed"}
        else:
            records = pq.read_table(file.with_name("chunk-0.parquet"))
            assert records.num_rows == 2 * (3 * 1 + 2 * 1)  # images x (candidates x trials, then survivors x trials)


def test_the_tables_show_what_was_run(workdir):
    folder, _ = workdir
    results = pd.read_parquet(folder / "results/paper_smoke/results.parquet")
    assert {"acc@1", "class_acc@1", "map", "map_released", "map_macro"} == set(results["metric"])
    reports = folder / "reports/paper_smoke"
    for name in ("table1", "table2", "table3", "table4", "table5", "table8", "table11"):
        assert (reports / f"{name}.tex").stat().st_size > 200, name
    page = (reports / "index.html").read_text()
    assert "2 images classified into 3 classes; trials [1, 2], keep [2, 1]" in page
    assert "left out" in page
    efficiency = pd.read_csv(folder / "results/paper_smoke/efficiency/sd2.csv")
    assert set(efficiency["method"]) >= {"none", "tome", "bigain_tm", "bigain_td", "dip_go"}
    assert (efficiency["seconds"] > 0).all()


def test_nothing_is_left_to_do(workdir):
    folder, configs = workdir
    again = snakemake(folder, "-n", configs=configs)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_damaged_images_stop_the_run_with_their_names_unless_they_are_allowed(workdir):
    """A change of the data alone re-runs what depends on it; damaged images are named before the first job."""
    folder, configs = workdir
    first = folder / "data/rehearsal/pets/images/Abyssinian_1.jpg"
    whole = first.read_bytes()
    first.unlink()
    first.write_bytes(whole[:300])
    stopped = snakemake(folder, configs=configs)
    assert stopped.returncode != 0
    output = stopped.stdout + stopped.stderr
    assert "paper_smoke cannot run yet" in output
    assert "1 images cannot be read, and allow_missing is 0" in output
    assert "Abyssinian_1.jpg is damaged" in output
    first.write_bytes(whole)
    assert "Nothing to be done" in snakemake(folder, "-n", configs=configs).stdout
