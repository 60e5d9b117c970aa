"""The number that is shown is the number that was computed: recomputations that fail, and files that go missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.helpers import shrunken
from tests.helpers.shrunken import STUDY

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

SMALL = {
    "datasets": {"fashion": {"images": 8}},
    "shards": {"blocks": 2, "per_job": 1},
    "cells": [{"task": "classification", "backbone": "mini_dit", "dataset": "fashion", "methods": ["none", "tome"]}],
}
CELL = "cells/classification/mini_dit/fashion/tome/ratio-0.5/seed-0"
RECOMPUTED = {"classification": STUDY["classification"] | {"stages": [2], "keep": [1]}}  # before: stages of 1 and 5
# In the study's folder, where every job's Python looks first: fails the command that the file `fail` names.
SABOTAGE = """
import os, pathlib, signal, sys
order = pathlib.Path(__file__).with_name("fail")
if order.exists() and set(sys.orig_argv) >= {"-m", "bigain", order.read_text().split()[0]}:
    if order.read_text().endswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit("no reason")
"""


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory) -> Path:
    """Run a study of two cells and return its folder."""
    folder = shrunken.prepare(root, tmp_path_factory.mktemp("finished"), **SMALL)
    (folder / "sitecustomize.py").write_text(SABOTAGE)
    shrunken.run(folder)
    return folder


@pytest.fixture
def study(finished, tmp_path) -> Path:
    """Copy the finished study."""
    return Path(shutil.copytree(finished, tmp_path / "study", symlinks=True))


@pytest.fixture
def small_disk(study) -> Iterator[Path]:
    """Mount a small file system for the study's shards, which is full after the first few."""
    place = study / "results/tiny/work"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fails(folder: Path) -> None:
    assert shrunken.start(folder).wait(600) != 0


def trials_per_class(folder: Path) -> set[int]:
    """Return how many trials every class has in a cell's records; nothing if it has none."""
    files = (folder / "results/tiny" / CELL).glob("chunk-*.parquet")
    tables = [pq.read_table(file).to_pandas() for file in files]
    return {count for table in tables for count in table.groupby(["image", "class"]).size()}


def accuracies(folder: Path) -> dict[str, float]:
    """Return the accuracy of the cell in every file that shows it, and as its records give it."""
    results = folder / "results/tiny"
    scored = json.loads((results / CELL / "metrics.json").read_text())
    rows = pd.read_parquet(results / "results.parquet").query("metric == 'acc@1' and method == 'tome'")
    table = pd.read_csv(folder / "reports/tiny/table1.csv").query("metric == 'acc@1' and method == 'tome'")
    trials = pd.concat(pq.read_table(file).to_pandas() for file in (results / CELL).glob("chunk-*.parquet"))
    mean = trials.groupby(["image", "class"])["error"].mean().reset_index()
    predicted = mean.loc[mean.groupby("image")["error"].idxmin()].set_index("image")["class"]
    labels = pd.Series(scored["items"]["label"], index=scored["items"]["image"])
    return {
        "records": round(100 * float((predicted == labels).mean()), 6),
        "metrics": round(scored["metrics"]["acc@1"]["value"], 6),
        "results": round(float(rows["value"].iloc[0]), 6),
        "table": round(float(table["value"].iloc[0]), 6),
    }


def check_recomputed(folder: Path) -> None:
    """Check that the next run after a failed recomputation shows the new numbers, and has nothing left to do."""
    assert trials_per_class(folder) != {2}  # nothing was computed anew so far
    shrunken.run(folder)
    assert trials_per_class(folder) == {2}
    assert len(set(accuracies(folder).values())) == 1
    assert "Nothing to be done" in shrunken.run(folder, "--dry-run")[-400:]
    assert verify(folder).returncode == 0


def verify(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "bigain", "verify", "--configfile", "study.yaml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_full_disk_in_a_recomputation_leaves_no_old_number(study, small_disk):
    shrunken.write(study, **SMALL, **RECOMPUTED)
    fails(study)
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    check_recomputed(study)


@pytest.mark.parametrize("failure", ["classify killed", "encode-images killed"])
def test_a_killed_recomputation_leaves_no_old_number(study, failure):
    shrunken.write(study, **SMALL, **RECOMPUTED)
    if failure.startswith("encode"):  # the latents are computed anew, and with them all cells
        images = {"datasets": {"fashion": {"images": 9}}}
        shrunken.write(study, **SMALL | images, **RECOMPUTED)
    (study / "fail").write_text(failure)
    fails(study)
    (study / "fail").unlink()
    check_recomputed(study)


def test_a_failed_score_in_a_recomputation_leaves_no_old_number(study):
    shrunken.write(study, **SMALL, **RECOMPUTED)
    (study / "fail").write_text("score-classification fails")
    fails(study)
    (study / "fail").unlink()
    assert trials_per_class(study) == {2}
    shrunken.run(study)
    assert len(set(accuracies(study).values())) == 1
    assert "Nothing to be done" in shrunken.run(study, "--dry-run")[-400:]


def test_one_table_alone_is_never_rendered_from_old_numbers(study):
    """A target that is older than a failed recomputation asks for it again."""
    shrunken.write(study, **SMALL, **RECOMPUTED)
    (study / "fail").write_text("classify killed")
    fails(study)
    (study / "fail").unlink()
    shrunken.run(study, "reports/tiny/table1.csv")
    assert trials_per_class(study) == {2}
    assert len(set(accuracies(study).values())) == 1


def test_settings_are_compared_without_snakemakes_records(study):
    """Results that were copied from elsewhere come without the records that Snakemake compares settings with."""
    shutil.rmtree(study / ".snakemake")
    shrunken.write(study, **SMALL, **RECOMPUTED)
    before = len((study / "run.log").read_text())
    planned = shrunken.run(study, "--dry-run")[before:]
    assert len(re.findall(r"^Job \d+: classification/.* \(images of chunk \d+\)$", planned, re.M)) == 4
    assert "encode the images" not in planned
    shrunken.write(study, **SMALL)
    assert "Nothing to be done" in shrunken.run(study, "--dry-run")[-1000:]


@pytest.mark.parametrize(
    "file",
    [
        "results/tiny/inputs/mini_dit/fashion/latents.safetensors",
        "results/tiny/inputs/mini_dit/fashion/conditions.safetensors.json",
        f"results/tiny/{CELL}/chunk-0.parquet",
        f"results/tiny/{CELL}/chunk-1.parquet.json",
        f"results/tiny/{CELL}/metrics.json",
        "results/tiny/results.parquet",
        "results/tiny/images.parquet",
        "results/tiny/cells.json",
        "results/tiny/efficiency/mini_dit.csv",
        "results/tiny/probes/mini_dit/fashion/spectrum.parquet",
        "results/tiny/probes/mini_dit/fashion/tokens.safetensors.json",
        "reports/tiny/table1.csv",
        "reports/tiny/table9.csv",
        "reports/tiny/claims.tex",
        "reports/tiny/audit.html",
        "reports/tiny/figure1.pdf",
        "reports/tiny/classes.csv",
        "reports/tiny/figure3.png",
        "reports/tiny/schedules.csv",
        "reports/tiny/report.tex",
        "reports/tiny/manifest.json",
    ],
)
def test_a_missing_file_is_made_again(finished, file):
    place, aside = finished / file, finished / "aside"
    place.rename(aside)
    try:
        before = len((finished / "run.log").read_text())
        assert file in shrunken.run(finished, "--dry-run")[before:]
    finally:
        aside.rename(place)


def test_a_missing_folder_of_results_is_made_again(study):
    shutil.rmtree(study / "results")
    planned = shrunken.run(study, "--dry-run")[-3000:]
    assert re.search(r"^classify +4$", planned, re.M)


def test_verify_names_what_is_wrong(study):
    assert verify(study).returncode == 0
    results, other = study / "results/tiny", CELL.replace("tome/ratio-0.5", "none/full")
    for name in ("chunk-0.parquet", "chunk-0.parquet.json"):  # another cell's records
        shutil.copy(results / other / name, results / CELL / name)
    with open(results / "inputs/mini_dit/fashion/latents.safetensors", "r+b") as handle:  # one bit
        handle.seek(-1, 2)
        byte = handle.read(1)[0] ^ 4
        handle.seek(-1, 2)
        handle.write(bytes([byte]))
    metrics = results / other / "metrics.json"  # edited by hand
    metrics.write_text(metrics.read_text().replace('"value": ', '"value": 1', 1))
    shutil.copytree(results / CELL, results / CELL.replace("tome", "sito"))  # of no cell
    (study / "reports/tiny/table1.csv").write_text("a,b\n1,2\n")
    (study / "reports/tiny/samples-old-fashion.png").write_bytes(b"")
    report = verify(study)
    assert report.returncode == 1
    lines = report.stdout
    chunk = f"results/tiny/{CELL}/chunk-0.parquet"
    assert f"foreign: {chunk} holds classification, mini_dit, fashion, none, seed 0, not" in lines
    assert "damaged: results/tiny/inputs/mini_dit/fashion/latents.safetensors is damaged" in lines
    assert f"damaged: results/tiny/{other}/metrics.json was changed after it was written" in lines
    assert "orphaned: results/tiny/cells/classification/mini_dit/fashion/sito/ratio-0.5/seed-0/chunk-0.parquet" in lines
    assert "damaged: reports/tiny/table1.csv was changed after it was rendered" in lines
    assert "orphaned: reports/tiny/samples-old-fashion.png" in lines
    # Planning refuses the foreign and the edited file with their names; it reads no content but provenance.
    assert shrunken.start(study, "--dry-run").wait(120) != 0
    log = (study / "run.log").read_text()[-3000:]
    assert f"{chunk} holds classification, mini_dit, fashion, none" in log
    assert f"{other}/metrics.json was changed" in log


def test_an_edited_table_reaches_neither_the_page_nor_the_manifest(study):
    reports = study / "reports/tiny"
    before = (reports / "table1.csv").read_text()
    (reports / "table1.csv").write_text(before.replace("acc@1", "99.9"))
    fragment = reports / "table1.html"
    fragment.write_text(fragment.read_text().replace("</td>", " 99.9</td>"))
    assert verify(study).returncode == 1
    shrunken.run(study)
    assert (reports / "table1.csv").read_text() == before
    assert " 99.9</td>" not in (reports / "index.html").read_text()
    assert verify(study).returncode == 0
    assert "Nothing to be done" in shrunken.run(study, "--dry-run")[-400:]


def test_a_figure_of_other_settings_is_not_kept_for_want_of_records(study):
    shutil.rmtree(study / ".snakemake")
    shrunken.write(study, **SMALL, probes={**STUDY["probes"], "draws": 3})
    before = len((study / "run.log").read_text())
    planned = shrunken.run(study, "reports/tiny/figure2.png", "--dry-run")[before:]
    assert re.search(r"^probe_tokens +1$", planned, re.M)
    assert re.search(r"^token_figures +1$", planned, re.M)


def test_clean_frees_what_belongs_to_no_cell(study):
    results = study / "results/tiny"
    shutil.copytree(results / CELL, results / CELL.replace("tome", "sito"))
    (results / "work/0123456789abcdef").mkdir()
    (results / "work/0123456789abcdef/images-000000-000002-aa-bb.parquet").write_bytes(b"x" * 1000)
    (study / "reports/tiny/samples-old-fashion.png").write_bytes(b"")
    clean = [sys.executable, "-m", "bigain", "clean", "--configfile", "study.yaml"]
    run = subprocess.run(clean, cwd=study, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    assert "nothing was removed" in run.stdout
    assert (results / "work/0123456789abcdef").exists()
    subprocess.run([*clean, "--yes"], cwd=study, capture_output=True, check=True)
    assert not (results / "work/0123456789abcdef").exists()
    assert not (results / CELL.replace("tome", "sito")).exists()
    assert not (study / "reports/tiny/samples-old-fashion.png").exists()
    assert verify(study).returncode == 0
    cell = CELL.removeprefix("cells/")
    subprocess.run([*clean, cell, "--yes"], cwd=study, capture_output=True, check=True)
    shrunken.run(study)
    info = json.loads((results / CELL / "chunk-0.parquet.json").read_text())
    assert info["images_computed"] == 4  # anew, not from shards
    assert verify(study).returncode == 0
