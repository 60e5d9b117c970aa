"""The tidy results: every row names its environment, and every number is finite."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from bigain.core.files import sha256
from bigain.core.provenance import (
    ResultError,
    checked,
    digest,
    provenance_file,
    read_sealed,
    write_provenance,
    write_sealed,
)
from bigain.core.records import distinct, read_table
from bigain.datasets import load
from bigain.jobs.score_generation import score_generation
from bigain.metrics.frechet import Reference, statistics
from bigain.reporting.page import _remarks
from tests.helpers.layouts import write_fashion
from tests.helpers.results import CELL, CHUNKS, METADATA, SCORED, collected, score, write_results

ENVIRONMENT = {
    "torch": "2.15.0",
    "diffusers": "0.42.1",
    "device": "cpu",
    "machine": "x86_64",
    "cpu": "AVX2",
    "threads": 1,
}
SPEC = SCORED["spec"]


def write(folder, value=80.0, environments=(ENVIRONMENT,), **changes):
    """Write the metrics of a cell and return the folder of cells."""
    estimate = {"value": value, "low": 70.0, "high": 90.0, "n": 100}
    scored = SCORED | {"metrics": {"acc@1": estimate}, "environments": list(environments)} | changes
    write_sealed(folder / "a/metrics.json", scored)
    return folder


def test_every_row_names_its_environment_and_its_spec(tmp_path):
    row = collected(write(tmp_path), {"a": SPEC}).iloc[0]
    assert row["environment"] == "torch 2.15.0, diffusers 0.42.1 on cpu, x86_64 AVX2, threads: 1"
    assert (row["value"], row["strength"]) == (80, 0.5)
    assert (row["config"], row["spec"]) == ("-", digest(SPEC))


def test_environments_of_one_cell_are_listed(tmp_path):
    other = ENVIRONMENT | {"torch": "3.0.0"}
    assert distinct([ENVIRONMENT, other, dict(ENVIRONMENT)]) == [ENVIRONMENT, other]
    environments = collected(write(tmp_path, environments=(ENVIRONMENT, other)), {"a": SPEC})["environment"].item()
    assert "torch 2.15.0" in environments
    assert "torch 3.0.0" in environments


def test_a_number_that_is_not_finite_names_its_file(tmp_path):
    with pytest.raises(ValueError, match=r"metrics\.json: acc@1 is not finite: .*nan"):
        collected(write(tmp_path, float("nan")), {"a": SPEC})
    assert not (tmp_path / "results.parquet").exists()


def test_what_is_collected_lies_in_three_files_that_say_what_they_come_from(tmp_path):
    collected(write(tmp_path), {"a": SPEC})
    spec = {"config": "-", "cells": [["a", digest(SPEC)]], "code": {}}
    metrics = tmp_path / "a/metrics.json"
    inputs = {"a": {"file": str(metrics), "spec": digest(SPEC), "sha256": sha256(metrics)}}
    for name in ("results.parquet", "images.parquet"):
        provenance = checked(tmp_path / name, digest(spec))
        assert (provenance["spec"], provenance["inputs"]) == (spec, inputs)
    (cell,) = read_sealed(tmp_path / "cells.json")["cells"]
    assert cell == {key: json.loads(metrics.read_text())[key] for key in cell}
    assert "items" not in cell
    images = read_table(tmp_path / "images.parquet").to_pylist()
    assert images == [
        CELL | {"image": 3, "label": None, "predicted": 0, "acc@1": 1, "map": None, "map_released": None},
        CELL | {"image": 5, "label": None, "predicted": 1, "acc@1": 0, "map": None, "map_released": None},
    ]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"image": [3, 5], "acc@1": [1]}, "length"),
        ({"image": [[3], [5]], "acc@1": [1, 0]}, "int64"),
        ({"image": [3, 5], "acc@1": [0.5, 0]}, "0.5"),
        ({"image": [3, 5], "acc@1": [1, None]}, "missing or not finite"),
        ({"image": [3, 5], "map": [0.5, float("nan")]}, "missing or not finite"),
    ],
)
def test_outcomes_that_do_not_fit_name_their_file(tmp_path, items, message):
    with pytest.raises(ValueError, match=rf"metrics\.json: items: .*{message}"):
        collected(write(tmp_path, items=items), {"a": SPEC})
    assert not list(tmp_path.glob("*.*"))


def test_metrics_of_other_settings_or_a_missing_cell_are_not_collected(tmp_path):
    with pytest.raises(
        ResultError, match=r"a/metrics\.json was computed with other settings or code than now"
    ) as raised:
        collected(write(tmp_path), {"a": SPEC | {"images": 3}})
    assert raised.value.state == "outdated"
    with pytest.raises(ResultError, match=r"b/metrics\.json is missing") as raised:
        collected(write(tmp_path), {"a": SPEC, "b": SPEC})
    assert raised.value.state == "missing"


def test_a_study_without_any_metric_says_so(tmp_path):
    with pytest.raises(ValueError, match="no cell has a metric"):
        collected(write(tmp_path, metrics={}), {"a": SPEC})
    assert pd.notna(collected(write(tmp_path), {"a": SPEC})["value"]).all()


def score_fid(folder, references, generated, **facts):
    """Score a generated cell with Inception features, of 2 dimensions here, and further facts in its provenance."""
    write_fashion(folder)
    rng = np.random.default_rng(0)
    real = rng.normal(size=(references, 2))
    statistics = {"mu": real.mean(0), "sigma": np.cov(real, rowvar=False)}
    save_file({"features": real.astype(np.float32)} | statistics, folder / "reference.safetensors")
    save_file({"features": rng.normal(size=(generated, 2)).astype(np.float32)}, folder / "chunk.safetensors")
    job, conditions, recipe = {"of": "chunk"}, {"of": "conditions"}, {"of": "reference"}
    write_provenance(folder / "reference.safetensors", recipe, {})
    inputs = {"conditions": {"spec": digest(conditions), "sha256": "-"}}
    write_provenance(folder / "chunk.safetensors", job, inputs, **METADATA, **facts)
    spec = {"cell": CELL, "network": "inception", "chunks": [digest(job)], "reference": digest(recipe)}
    spec |= {"inputs": {"conditions": digest(conditions)}, "dataset": {"reader": "fashion", "path": str(folder)}}
    score_generation(spec, folder / "reference.safetensors", [folder / "chunk.safetensors"], folder / "metrics.json")
    return read_sealed(folder / "metrics.json")


def test_a_fid_against_a_small_reference_is_kept_with_a_warning(tmp_path, capsys):
    scored = score_fid(tmp_path, 1200, 2048)
    reason = "compared with 1200 images; with fewer than 2048, a FID is too large"
    assert scored["warnings"] == {"fid": reason}
    assert set(scored["metrics"]) == {"fid", "fid_inf", "fid_perfect", "kid", "precision", "recall"}
    perfect = scored["metrics"]["fid_perfect"]
    assert perfect["low"] < scored["metrics"]["fid"]["value"] < 4 * perfect["high"]  # it is a perfect generator
    assert f"warnings: fid: {reason}" in capsys.readouterr().out
    assert _remarks([scored, scored], "warnings", "warning") == [("warning", f"fid: {reason} (2 cells)")]


def test_a_fid_is_kept_with_its_values_without_each_block_and_cut_captions_are_counted(tmp_path, capsys):
    cut = {"positions": [3, 2040, 2047], "after": 77}
    scored = score_fid(tmp_path, 2048, 2048, cut_off=cut)
    reason = "3 of 2048 images have captions longer than the 77 tokens that u reads"
    assert scored["warnings"] == {"captions": reason}
    assert f"warnings: captions: {reason}" in capsys.readouterr().out
    assert set(scored["blocks"]["left_out"]) == {"fid", "kid"}
    assert {len(values) for values in scored["blocks"]["left_out"].values()} == {20}
    images = {"captions": digest({"of": "conditions"}), "reference": digest({"of": "reference"})}
    assert scored["blocks"]["images"] == {"n": 2048, "seed": CELL["seed"]} | images
    with pytest.raises(ValueError, match=r"chunk\.safetensors\.json: cut_off\.positions: 'all'"):
        score_fid(tmp_path, 2048, 2048, cut_off=cut | {"positions": "all"})


def test_classes_whose_prompts_are_cut_off_are_counted_over_all_chunks(tmp_path):
    write_results(tmp_path)
    for chunk in range(CHUNKS):
        file = tmp_path / f"fashion-{chunk}.parquet"
        facts = read_sealed(provenance_file(file))
        write_sealed(provenance_file(file), facts | {"cut_off": {"positions": [2, 7], "after": 77}})
    score(tmp_path, "fashion")
    scored = read_sealed(tmp_path / "cells/fashion/metrics.json")
    assert scored["warnings"] == {"prompts": "2 of 10 classes have prompts longer than the 77 tokens that u reads"}


def test_every_block_has_the_same_share_of_every_class(tmp_path):
    write_results(tmp_path)
    score(tmp_path, "generated")
    scored = read_sealed(tmp_path / "cells/generated/metrics.json")
    features = np.concatenate([load_file(tmp_path / f"generated-{chunk}.safetensors")["features"] for chunk in (0, 1)])
    labels = [label for (label,) in load({"reader": "fashion", "path": str(tmp_path)}).cycled(100).labels]
    in_block = np.empty(100, dtype=int)
    in_block[np.argsort(labels, kind="stable")] = np.arange(100) % 20
    counts = pd.crosstab(in_block, labels)
    assert (counts.max() - counts.min()).max() <= 1
    real = load_file(tmp_path / "reference.safetensors")
    reference = Reference(real["mu"], real["sigma"])
    left_out = [reference.distance(*statistics(features[in_block != b])) for b in range(20)]
    assert scored["blocks"]["left_out"]["fd"] == pytest.approx(left_out)


def test_a_fid_of_few_generated_images_is_left_out_and_said_so(tmp_path, capsys):
    scored = score_fid(tmp_path, 2048, 2047)
    assert scored["warnings"] == {}
    assert scored["left_out"] == {"fid": "2047 generated images; at least 2048 are needed"}
    assert "left out: fid: 2047 generated images" in capsys.readouterr().out


@pytest.mark.parametrize("values", [[1.0] * 19, [1.0] * 19 + [float("nan")], [1.0] * 19 + ["x"]])
def test_values_of_other_blocks_name_their_file(tmp_path, values):
    blocks = {"images": {"n": 100, "seed": 0}, "left_out": {"fd": values}}
    with pytest.raises(ValueError, match=r"metrics\.json: blocks.*left_out\.fd"):
        collected(write(tmp_path, blocks=blocks), {"a": SPEC})


def test_the_values_without_each_block_are_collected(tmp_path):
    blocks = {"images": {"n": 100, "seed": 0}, "left_out": {"fd": [1.0] * 20}}
    collected(write(tmp_path, blocks=blocks), {"a": SPEC})
    (cell,) = read_sealed(tmp_path / "cells.json")["cells"]
    assert cell["blocks"] == blocks
