"""A shrunken study from config to page, in a copy of the repository: a few cells per backbone, a dozen images."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers.described import undescribed_columns
from tests.helpers.repository import copy_repository, snakemake

pytestmark = [pytest.mark.system, pytest.mark.timeout(1500)]

STUDY = {
    "study": "tiny",
    "datasets": {"fashion": {"images": 12}, "fashion_scenes": {"images": 12}},
    "classification": {"block": 4, "batch": 20},
    "generation": {"images": 40, "steps": 2, "block": 20, "keep_images": 5},
    "probes": {"shown": 2, "draws": 2, "images": 4, "timesteps": 2, "bands": 4, "margin_images": 3},
    "strengths": {"merge_ratio": [0.5], "downsample_factor": [2]},
    "cells": [
        {"task": "classification", "backbone": "mini_unet", "dataset": "fashion_scenes", "methods": ["none", "tome"]},
        {"task": "classification", "backbone": "mini_dit", "dataset": "fashion", "methods": ["none", "bigain_td"]},
        {"task": "generation", "backbone": "mini_unet", "dataset": "fashion", "methods": ["todo"]},
    ],
}


def jobs(folder: Path) -> dict[str, int]:
    """Return the number of jobs per rule in a dry run."""
    completed = snakemake(folder, "-n")
    assert completed.returncode == 0, completed.stderr + completed.stdout
    text = completed.stdout + completed.stderr
    if "Nothing to be done" in text:
        return {}
    block = text[text.rindex("Job stats:") :]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", block, re.M) if rule != "total"}


def write(folder: Path, study: dict) -> None:
    (folder / "study.yaml").write_text(yaml.safe_dump(study))


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    copy_repository(root, folder)
    write(folder, STUDY)
    completed = snakemake(folder)
    assert completed.returncode == 0, completed.stderr[-4000:] + completed.stdout[-4000:]
    return folder


def test_every_result_is_there(finished):
    results = pd.read_parquet(finished / "results/tiny/results.parquet")
    # Multi-label: Acc@1 and three mAPs; single-label: Acc@1 and its class mean; generated: FD, and a perfect one.
    assert len(results) == 2 * 4 + 2 * 2 + 2
    assert set(results["metric"]) == {"acc@1", "class_acc@1", "map", "map_released", "map_macro", "fd", "fd_perfect"}
    assert (results["low"] <= results["value"]).all()
    assert (results["value"] <= results["high"]).all()
    assert results["seconds"].gt(0).all()


def test_records_hold_every_trial(finished):
    cell = finished / "results/tiny/cells/classification/mini_unet/fashion_scenes/tome/ratio-0.5/seed-0"
    table = pq.read_table(cell / "chunk-0.parquet")
    assert table.num_rows == 12 * (10 * 1 + 3 * 4)
    assert json.loads(table.schema.metadata[b"bigain.spec"])["strength"] == 0.5
    info = json.loads((cell / "chunk-0.parquet.json").read_text())
    assert len(info["compressed"]) == 5
    assert {(site["tokens"], site["kept"]) for site in info["compressed"]} == {(256, 128)}
    (environment,) = info["environments"]
    assert {"torch", "diffusers", "device", "cpu", "threads"} <= set(environment)


def test_the_latex_is_a_booktabs_table(finished):
    source = (finished / "reports/tiny/table4.tex").read_text()
    assert source.count(r"\toprule") == source.count(r"\bottomrule") == 1
    assert source.count("{") == source.count("}")
    widths = {row.count("&") for row in source.splitlines() if row.endswith(r"\\") and "multicolumn" not in row}
    assert widths == {2}
    assert re.search(
        r"Acc@1 ToMe & \d+ \{.*\} & \d+ \{.*\}", source
    )  # uncompressed, compressed; 12 images carry no decimals
    assert re.search(r"mAP ToMe & [\d.]+ \{.*\} & [\d.]+ \{.*\}", source)
    assert "textbf" not in source  # nothing to compare with
    assert re.search(r"BiGain\\textsubscript\{TM\} &  & -- \\\\", source)  # the study has no such cell
    assert not re.search(r"(?<!\\)_|nan|None", source.replace(r"\label", ""))


def test_csv_and_html(finished):
    numbers = pd.read_csv(finished / "reports/tiny/table3.csv")
    assert not (numbers["method"] == "todo").any()  # the study has no such cell
    assert numbers[numbers["method"] == "none"]["strength"].isna().all()
    assert not numbers.duplicated(["backbone", "dataset", "metric", "method", "strength"]).any()
    results = pd.read_parquet(finished / "results/tiny/results.parquet")
    ours = results[(results["method"] == "bigain_td") & (results["metric"] == "acc@1")]["value"].item()
    printed = numbers[(numbers["method"] == "bigain_td") & (numbers["metric"] == "acc@1")]["value"].item()
    assert printed == pytest.approx(ours, rel=1e-9)
    assert "BiGain<sub>TD</sub>" in (finished / "reports/tiny/table3.html").read_text()


def test_every_column_is_described(finished):
    results = finished / "results/tiny"
    assert undescribed_columns(results, finished / "reports/tiny") == []
    tables = [*results.glob("*.parquet"), *results.glob("[cpt]*/**/*.parquet")]  # cells, probes, timesteps
    assert len(tables) > 5
    assert all(b"description" in (field.metadata or {}) for file in tables for field in pq.read_schema(file))


def test_the_schedules_list_what_was_compressed(finished):
    schedules = pd.read_csv(finished / "reports/tiny/schedules.csv")
    results = pd.read_parquet(finished / "results/tiny/results.parquet")
    assert set(schedules["method"]) == set(results["method"]) - {"none"}
    td = schedules[schedules["method"] == "bigain_td"]
    assert td["block"].str.match(r"transformer_blocks\.[1-4]").all()
    assert (td["queries"] == td["of"]).all()
    assert (td["keys_values"] < td["of"]).all()


def test_table_11_counts_and_times_every_method(finished):
    table = pd.read_csv(finished / "reports/tiny/table11.csv")
    results = pd.read_parquet(finished / "results/tiny/results.parquet")
    for backbone, part in table.groupby("backbone"):
        assert set(part["method"]) == set(results[results["backbone"] == backbone]["method"]) | {"none"}
    plain = table["method"] == "none"
    assert (table[plain]["saved_percent"] == 0).all()
    assert (table[~plain]["saved_percent"] > 0).all()
    assert (table["seconds"] > 0).all()
    assert r"\toprule" in (finished / "reports/tiny/table11.tex").read_text()


def test_table_1_joins_savings_and_results(finished):
    table = pd.read_csv(finished / "reports/tiny/table1.csv")
    results = pd.read_parquet(finished / "results/tiny/results.parquet")
    saved = table[table["metric"] == "saved_percent"]
    assert len(table) - len(saved) == results["metric"].isin(["acc@1", "map", "fd"]).sum()
    assert saved[saved["method"] == "none"]["value"].eq(0).all()
    assert saved[saved["method"] != "none"]["value"].gt(0).all()


def test_figure_and_page(finished):
    reports = finished / "reports/tiny"
    assert (reports / "figure1.pdf").read_bytes().startswith(b"%PDF")
    assert (reports / "figure1.png").read_bytes().startswith(b"\x89PNG")
    classes = pd.read_csv(reports / "classes.csv").query("backbone == 'mini_dit' and method == 'bigain_td'")
    mean = pd.read_parquet(finished / "results/tiny/results.parquet").query("backbone == 'mini_dit'")
    mean = mean[(mean["metric"] == "acc@1") & (mean["method"] == "bigain_td")]["value"].item()
    assert (classes["accuracy"] * classes["images"]).sum() / classes["images"].sum() == pytest.approx(mean)
    page = (reports / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 9  # eight figures, one sheet
    assert not re.findall(r'src="(?!data:)', page)  # self-contained
    for link in re.findall(r'href="([^"#][^"]*)"', page):
        assert (reports / link).is_file(), link
    for expected in ("mini_unet", "mini_dit", "Table 3", "Table 4", "Table 11", "job time", "12 images classified"):
        assert expected in page


def test_the_theorem_was_measured_on_the_one_label_data(finished):
    table = pd.read_csv(finished / "reports/tiny/theorem1.csv")
    assert table[["backbone", "dataset", "method"]].drop_duplicates().to_numpy().tolist() == [
        ["mini_dit", "fashion", "bigain_td"]
    ]
    assert table["band"].dropna().tolist() == [0, 1, 2, 3]
    results = pd.read_parquet(finished / "results/tiny/results.parquet")
    accuracy = results[(results["backbone"] == "mini_dit") & (results["metric"] == "acc@1")].set_index("method")[
        "value"
    ]
    assert table["accuracy_points"].iloc[0] == pytest.approx(accuracy["bigain_td"] - accuracy["none"], abs=1e-3)


def test_snakemake_s_report_has_everything_under_its_heading(finished):
    completed = snakemake(finished, "--report", "own.html")
    assert completed.returncode == 0, completed.stderr[-2000:]
    report = (finished / "own.html").read_text()
    for expected in ("Theorem 1", "Figures", "Samples", "The paper", "Trade-off", "index.html", "tiny"):
        assert expected in report, expected


def test_nothing_is_left_to_do_even_after_a_checkout_touched_every_file(finished):
    assert jobs(finished) == {}
    time.sleep(1.1)
    for path in finished.rglob("*"):
        if path.is_file() and not {"results", ".snakemake"} & set(path.relative_to(finished).parts):
            path.touch()
    assert jobs(finished) == {}


def test_a_typo_stops_the_dry_run_with_one_message(finished):
    write(finished, STUDY | {"devise": "cpu"})
    completed = snakemake(finished, "-n")
    write(finished, STUDY)
    assert completed.returncode != 0
    text = completed.stdout + completed.stderr
    assert "unknown key 'devise'. Did you mean 'device'?" in text
    assert "Traceback" not in text


def test_a_truncated_input_is_named_and_nothing_half_written_is_kept(finished):
    cell = finished / "results/tiny/cells/classification/mini_dit/fashion/none/full/seed-0"
    chunk = cell / "chunk-0.parquet"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2])
    (cell / "metrics.json").unlink()
    completed = snakemake(finished, "results/tiny/cells/classification/mini_dit/fashion/none/full/seed-0/metrics.json")
    chunk.write_bytes(whole)
    assert completed.returncode != 0
    assert "chunk-0.parquet is damaged or was replaced" in completed.stdout + completed.stderr
    assert not (cell / "metrics.json").exists()
    again = snakemake(finished)
    assert again.returncode == 0, again.stderr[-2000:]
