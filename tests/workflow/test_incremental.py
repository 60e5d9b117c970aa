"""What is computed again after a change: the jobs of dry runs on a finished study, and what a larger study keeps."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bigain.cli.study import merged_config
from bigain.reporting.targets import MADE, check_targets
from bigain.study.requirements import device_here
from bigain.study.study import Study
from tests.helpers import shrunken
from tests.helpers.shrunken import STUDY

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

MODELS = (" (images of chunk", "encode the ", "features of the real images", "calibrate for")  # their jobs' messages
DIT, SCENES = "classification/mini_dit/fashion", "classification/mini_unet/fashion_scenes"
GENERATED = "generation/mini_unet/fashion/bigain_td/factor-2/seed-0"
TOME, NONE, OURS = f"{SCENES}/tome/ratio-0.5/seed-0", f"{DIT}/none/full/seed-0", f"{DIT}/bigain_tm/ratio-0.5/seed-0"


def planned(folder: Path) -> dict[str, int]:
    """Return the number of jobs per rule in a dry run."""
    log = dry_run(folder)
    if "Nothing to be done" in log:
        return {}
    rules = re.findall(r"^(\w+) +(\d+)$", log[log.rindex("Job stats:") :], re.M)
    return {rule: int(count) for rule, count in rules if rule != "total"}


def models(folder: Path) -> set[str]:
    """Return the messages of a dry run's jobs that need a model: errors, images and what these share."""
    messages = re.findall(r"^Job \d+: (.*)$", dry_run(folder), re.M)
    return {message for message in messages if any(part in message for part in MODELS)}


def dry_run(folder: Path) -> str:
    before = len((folder / "run.log").read_text())
    return shrunken.run(folder, "--dry-run")[before:]


def jobs(*cells: str, count: int = 2) -> set[str]:
    """Return the messages of the jobs of each cell."""
    return {f"{cell} (images of chunk {chunk})" for cell in cells for chunk in range(count)}


@pytest.fixture
def study(untouched) -> Iterator[Path]:
    """Yield the finished study; restore its config afterwards."""
    yield untouched
    shrunken.write(untouched)


@pytest.fixture
def edited(untouched) -> Iterator[Path]:
    """Yield the finished study; restore its code afterwards."""
    kept = untouched.parent / "bigain-as-it-was"
    shutil.copytree(untouched / "bigain", kept)
    yield untouched
    shutil.rmtree(untouched / "bigain")
    kept.rename(untouched / "bigain")


def edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / "bigain" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def another(task: str, backbone: str, dataset: str, methods: list[str]) -> dict:
    """Return the config's cells and some more."""
    more = {"task": task, "backbone": backbone, "dataset": dataset, "methods": methods}
    return {"cells": [*STUDY["cells"], more]}


CLASSIFIED = {"task": "classification", "backbone": "mini_unet", "dataset": "fashion", "methods": ["none"]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, set(), id="nothing"),
        pytest.param(
            {"strengths": {"merge_ratio": [0.25, 0.5], "downsample_factor": [2]}},
            jobs(TOME.replace("0.5", "0.25"), OURS.replace("0.5", "0.25")),
            id="a ratio",
        ),
        pytest.param(
            another("classification", "mini_dit", "fashion", ["bigain_td"]),
            jobs(f"{DIT}/bigain_td/factor-2/seed-0"),
            id="a method",
        ),
        pytest.param(
            another("classification", "mini_dit", "fashion", ["bigain_tm~score-l2_norm"]),
            jobs(f"{DIT}/bigain_tm~score-l2_norm/ratio-0.5/seed-0"),
            id="a method's option",
        ),
        pytest.param(
            another("classification", "mini_unet", "fashion", ["none"]),
            jobs("classification/mini_unet/fashion/none/full/seed-0") | {"encode the images of fashion with mini_unet"},
            id="a data set",
        ),
        pytest.param(
            {"seeds": [0, 1]},
            jobs(*(cell.replace("seed-0", "seed-1") for cell in (TOME, NONE, OURS, GENERATED))),
            id="a seed",
        ),
        pytest.param(
            {"generation": STUDY["generation"] | {"images": 45}},
            jobs(GENERATED, count=3) | {"encode the candidates and captions of fashion with mini_unet"},
            id="more generated images",
        ),
        pytest.param({"generation": STUDY["generation"] | {"steps": 3}}, jobs(GENERATED), id="steps"),
        pytest.param(
            # Snakemake compares values without their names: two that change places have to be seen all the same.
            {"generation": STUDY["generation"] | {"steps": 5, "block": 2}},
            jobs(GENERATED, count=5),
            id="two values that change places",
        ),
        pytest.param({"backbones": {"mini_dit": {"blocks": [1, 2]}}}, jobs(OURS), id="where a method acts"),
        pytest.param(
            # The conditions of the removed cell have what the new one needs, and captions.
            {"cells": [*STUDY["cells"][:-1], CLASSIFIED]},
            jobs("classification/mini_unet/fashion/none/full/seed-0") | {"encode the images of fashion with mini_unet"},
            id="classified instead of generated",
        ),
    ],
)
def test_a_changed_config_computes_exactly_the_cells_it_changes(study, changes, expected):
    shrunken.write(study, **changes)
    assert models(study) == expected


WITH_MODELS = {"classify", "generate", "calibrate", "encode_images", "encode_conditions", "reference_features"}
WITH_MODELS |= {"efficiency", "probe_tokens", "probe_spectrum", "probe_margins"}


def test_a_new_method_has_its_own_margins_measured_and_no_others(study):
    shrunken.write(study, **another("classification", "mini_dit", "fashion", ["bigain_td"]))
    rules = planned(study)
    assert (rules["probe_margins"], rules["collect_margins"]) == (1, 1)


REORDERED = [entry | {"methods": entry["methods"][::-1]} for entry in reversed(STUDY["cells"])]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"cells": REORDERED}, set(), id="cells in another order"),
        pytest.param({"cells": STUDY["cells"][:-1]}, {"efficiency"}, id="no generation cells"),
        pytest.param(
            {"device": "cpu"},
            set(),
            id="cpu instead of auto",
            marks=pytest.mark.skipif(device_here("auto") == "auto", reason="auto is the GPU here"),
        ),
    ],
)
def test_a_change_that_needs_nothing_new_of_a_model_plans_no_job_with_one(study, changes, expected):
    shrunken.write(study, **changes)
    assert set(planned(study)) & WITH_MODELS == expected


def test_every_file_that_the_workflow_made_may_be_asked_for(study, monkeypatch):
    monkeypatch.chdir(study)
    folders = ("reports/tiny", *(f"results/tiny/{folder}" for folder in MADE))
    files = [str(path) for folder in folders for path in Path(folder).rglob("*.*") if path.is_file()]
    assert len(files) > 50
    check_targets(Study(merged_config([Path("study.yaml")])), files)


@pytest.mark.skipif(device_here("auto") == "auto", reason="auto is the GPU here")
def test_auto_stays_on_a_cluster(study):
    """A node may have the GPU that the machine where the workflow starts lacks."""
    pytest.importorskip("snakemake_executor_plugin_slurm")
    before = len((study / "run.log").read_text())
    log = shrunken.run(study, "--dry-run", "--workflow-profile", "profiles/slurm")[before:]
    assert re.search(r"^classify +6$", log, re.M)


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        pytest.param("classifier/classify.py", "@dataclass", "# A comment.\n@dataclass", set(), id="a comment"),
        pytest.param("reporting/names.py", '"""', '"""Names: ', set(), id="a docstring"),
        pytest.param(
            "methods/presets.py", '"BiGain_TM", "merge_smooth"', '"B_TM", "merge_smooth"', set(), id="a label"
        ),
        pytest.param("methods/presets.py", '"score": "laplacian_l1"', '"score": "l1_norm"', jobs(OURS), id="a preset"),
        pytest.param(
            "tokens/downsample.py",
            "from torch import Tensor\n",
            "from torch import Tensor\n\nX = 1\n",
            jobs(GENERATED),
            id="an operator",
        ),
        pytest.param(
            "tokens/scores.py",
            "import torch\n",
            "import torch\n\nX = 1\n",
            jobs(TOME, OURS, GENERATED),
            id="what operators share",
        ),
        pytest.param(
            "calibration/obs.py", "import torch\n", "import torch\n\nX = 1\n", set(), id="an operator that no cell uses"
        ),
        pytest.param(
            "sampling/generate.py", "import torch\n", "import torch\n\nX = 1\n", jobs(GENERATED), id="the sampler"
        ),
        pytest.param(
            "classifier/classify.py", "(means[c], c)", "(means[c], -c)", jobs(TOME, NONE, OURS), id="the classifier"
        ),
    ],
)
def test_changed_code_computes_exactly_the_cells_that_run_it(edited, file, old, new, expected):
    edit(edited, file, old, new)
    assert models(edited) == expected


def test_changed_reporting_renders_and_computes_nothing(edited):
    edit(
        edited,
        "reporting/names.py",
        "from __future__ import annotations\n",
        "from __future__ import annotations\n\nX = 1\n",
    )
    todo = planned(edited)
    assert {"table", "page"} <= set(todo)
    measured = {"classify", "generate", "encode_images", "reference_features", "efficiency", "probe_spectrum"}
    assert not set(todo) & {*measured, "score_classification", "score_generation", "collect"}


def test_accepted_code_computes_nothing(edited):
    edit(edited, "classifier/classify.py", "import torch\n", "import torch\n\nX = 1\n")
    assert models(edited)
    accept = [sys.executable, "-m", "bigain", "accept"]
    listed = subprocess.run(accept, cwd=edited, capture_output=True, text=True, check=False)
    assert listed.returncode == 1
    assert "jobs.classify has changed since its numbers were recorded" in listed.stdout
    subprocess.run([*accept, "all"], cwd=edited, check=True)
    assert planned(edited) == {}


def test_more_images_keep_what_is_there(untouched, tmp_path):
    """Jobs with new inputs run again, but do not compute what their shards already hold."""
    folder = tmp_path / "more"
    shutil.copytree(untouched, folder, symlinks=True)
    more = {"fashion": {"images": 16}, "fashion_scenes": {"images": 12}}
    shrunken.write(folder, datasets=more, generation=STUDY["generation"] | {"images": 45})
    shrunken.run(folder, "results/tiny/results.parquet", *shrunken.TWO_JOBS)
    for cell, suffix, computed in (
        (NONE, "parquet", [0, 4]),
        (OURS, "parquet", [0, 4]),
        (GENERATED, "safetensors", [0, 0, 5]),
    ):
        files = [folder / f"results/tiny/cells/{cell}/chunk-{k}.{suffix}.json" for k in range(len(computed))]
        assert [json.loads(file.read_text())["images_computed"] for file in files] == computed
    before, now = shrunken.numbers(untouched), shrunken.numbers(folder)
    name = f"errors of cells/{OURS}/chunk-1.parquet"
    assert now[name].startswith(before[name])
    assert len(now[name]) == 2 * len(before[name])
    same = [file for file in before if TOME in file or f"{GENERATED}/chunk" in file]
    assert len(same) == 7
    assert all(now[file] == before[file] for file in same)
