"""Accuracy at single timesteps of a study's cells, from their stored errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bigain.core.columns import columns_of
from bigain.core.provenance import (
    ResultError,
    as_input,
    digest,
    read_provenance,
    read_sealed,
    write_provenance,
    write_sealed,
)
from bigain.core.records import write_table
from bigain.core.rng import is_for_fitting
from bigain.jobs.score_timesteps import score_timesteps
from bigain.metrics.accuracy import accuracy
from bigain.metrics.significance import paired
from tests.helpers.results import METADATA

GRID, LONG = [100, 300, 500, 900], [100, 300, 500, 700, 900]  # weights are judged on five timesteps or more
IMAGES, CLASSES = 60, 4
LABELS = np.arange(IMAGES) % CLASSES
CHUNKS = 2


def errors(seed, informative=(300, 500), size=0.15, grid=GRID):
    """Errors [N, K, M] of noise, but that the right class is lower at the informative timesteps."""
    values = np.random.default_rng(seed).normal(1, 0.1, (IMAGES, CLASSES, len(grid)))
    values[np.arange(IMAGES), LABELS] -= size * np.isin(grid, informative)
    return values


def write_cell(cells, method, strength, values, *, seed=0, images=IMAGES, kept_at=(), grid=GRID):
    """Write the chunks and the metrics of a cell; at some timesteps only classes 0 and 1 were tried."""
    path = f"classification/b/d/{method}/{strength}/seed-{seed}"
    folder = cells / path
    cell = {"task": "classification", "backbone": "b", "dataset": "d", "method": method, "strength": strength}
    cell |= {"strength_kind": "none" if strength is None else "merge_ratio", "seed": seed}
    specs, inputs = [], {}
    for number, part in enumerate(np.array_split(np.arange(images), CHUNKS)):
        rows = [
            (image, c, t, int(t in kept_at), values[image, c, m])
            for image in part.tolist()
            for m, t in enumerate(grid)
            for c in range(2 if t in kept_at else CLASSES)
        ]
        names = ("image", "class", "t", "stage", "error")
        spec, chunk = cell | {"number": number}, folder / f"chunk-{number}.parquet"
        folder.mkdir(parents=True, exist_ok=True)
        write_table(chunk, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)), spec)
        write_provenance(chunk, spec, {}, **METADATA)
        specs.append(digest(spec))
        inputs[chunk.stem] = as_input(chunk, read_provenance(chunk))
    items = {"image": list(range(images)), "label": LABELS[:images].tolist()}
    content = {"spec": {"cell": cell, "chunks": specs}, "inputs": inputs, "cell": cell, "items": items}
    empty = {"metrics": {}, "left_out": {}, "warnings": {}, "classes": list("abcd")}
    write_sealed(folder / "metrics.json", content | empty | METADATA)
    return path, digest(content["spec"])


def scored(cells, written):
    spec = {"backbone": "b", "dataset": "d", "cells": written, "code": {}}
    output = cells.parent / "timesteps/b/d.parquet"
    score_timesteps(spec, cells, output)
    assert read_provenance(output, digest(spec))["inputs"].keys() == dict(written).keys()
    table = pd.read_parquet(output)
    assert list(table) == list(columns_of("timesteps"))
    return table


def hits_of(values, t):
    return values[:, :, GRID.index(t)].argmin(axis=1) == LABELS


def test_accuracy_at_a_timestep_and_the_difference_from_the_uncompressed_model(tmp_path):
    none, tome = errors(0), errors(1, size=0.05)
    cells = tmp_path / "cells"
    table = scored(cells, [write_cell(cells, "tome", 0.5, tome), write_cell(cells, "none", None, none)])
    for method, values in (("none", none), ("tome", tome)):
        rows = table[(table["method"] == method) & table["t"].notna()].set_index("t")
        assert rows.index.tolist() == GRID
        for t in GRID:
            estimate = accuracy(hits_of(values, t))
            assert rows.loc[t, ["accuracy", "low", "high"]].tolist() == [estimate.value, estimate.low, estimate.high]
            if method == "tome":
                difference = paired(hits_of(tome, t).astype(float) - hits_of(none, t))
                expected = [difference.value, difference.low, difference.high, difference.p, IMAGES]
                numbers = ["difference", "difference_low", "difference_high", "p", "paired_images"]
                assert rows.loc[t, numbers].tolist() == expected
        assert (rows["chance"] == 25).all()
    assert table[table["method"] == "none"].dropna(subset="t")["difference"].isna().all()


def test_weights_are_judged_on_images_that_they_were_not_fitted_on(tmp_path):
    cells = tmp_path / "cells"
    table = scored(cells, [write_cell(cells, "none", None, errors(0, grid=LONG), grid=LONG)])
    weights = table.dropna(subset="weights").set_index("weights")
    fitting = sum(map(is_for_fitting, range(IMAGES)))
    assert (weights["images"] == IMAGES - fitting).all()
    assert weights.loc[["uniform", "fitted, polynomial"], "fitted_on"].tolist() == [0, fitting]
    assert weights.loc["fitted, polynomial", "difference"] > 0


def test_timesteps_of_survivors_are_listed_without_a_number(tmp_path):
    cells = tmp_path / "cells"
    written = [write_cell(cells, "none", None, errors(0), kept_at=(300, 900))]
    table = scored(cells, written).set_index("t")
    assert table.loc[[300, 900], "tried"].tolist() == [2, 2]
    assert table.loc[[300, 900], ["accuracy", "images", "difference"]].isna().all(axis=None)
    assert (table.loc[[300, 900], "left_out"] == "for some image only 2 of 4 classes were tried").all()
    assert table.loc[[100, 500], "accuracy"].notna().all()
    weights = table.dropna(subset="weights")
    assert (weights["left_out"] == "all classes were tried at 2 timesteps; 5 are needed").all()
    assert weights["accuracy"].isna().all()


def test_seeds_are_averaged_and_methods_compared_on_their_common_images(tmp_path):
    cells = tmp_path / "cells"
    runs = {seed: (errors(seed), errors(10 + seed)) for seed in (0, 1)}
    written = [write_cell(cells, "none", None, none, seed=seed) for seed, (none, _) in runs.items()]
    written += [write_cell(cells, "tome", 0.5, tome, seed=seed, images=40) for seed, (_, tome) in runs.items()]
    table = scored(cells, written).dropna(subset="t").set_index(["method", "t"])
    row = table.loc[("tome", 500)]
    ours, theirs = (np.mean([hits_of(runs[seed][k], 500) for seed in runs], axis=0) for k in (1, 0))
    assert (row["seeds"], row["images"], row["paired_images"]) == (2, 40, 40)
    assert row["accuracy"] == pytest.approx(100 * ours[:40].mean())
    assert row["difference"] == pytest.approx(100 * (ours - theirs)[:40].mean())


def test_errors_that_say_nothing_leave_the_weights_out_with_the_reason(tmp_path):
    cells = tmp_path / "cells"
    behind = errors(0, informative=LONG, size=-0.5, grid=LONG)  # the right class is always the worst
    weights = scored(cells, [write_cell(cells, "none", None, behind, grid=LONG)]).dropna(subset="weights")
    assert weights["left_out"].str.startswith("no weights explain the labels better than chance").all()


def test_errors_of_another_run_than_the_metrics_are_refused(tmp_path):
    cells = tmp_path / "cells"
    path, expected = write_cell(cells, "none", None, errors(0))
    chunk = cells / path / "chunk-1.parquet"
    other = read_sealed(f"{chunk}.json")
    table = pd.read_parquet(chunk).assign(error=0.5)
    write_table(chunk, pa.Table.from_pandas(table, preserve_index=False), other["spec"])
    write_provenance(chunk, other["spec"], {}, **METADATA)
    with pytest.raises(ResultError, match=r"metrics\.json was computed from another chunk-1\.parquet"):
        scored(cells, [(path, expected)])


def test_a_cell_whose_classes_can_be_compared_nowhere_has_no_accuracy(tmp_path):
    cells = tmp_path / "cells"
    written = [write_cell(cells, "none", None, errors(0)), write_cell(cells, "tome", 0.5, errors(1), kept_at=GRID[1:])]
    table = scored(cells, written).dropna(subset="t").set_index(["method", "t"])
    assert table.loc[("tome", 100), "difference"] == pytest.approx(
        table.loc[("tome", 100), "accuracy"] - table.loc[("none", 100), "accuracy"]
    )
    assert table.loc["tome"].loc[GRID[1:], "accuracy"].isna().all()
    nowhere = [write_cell(tmp_path / "other" / "cells", "none", None, errors(0), kept_at=GRID)]
    table = scored(tmp_path / "other" / "cells", nowhere)
    assert table["accuracy"].isna().all()
    assert (table["tried"] == 2).sum() == len(GRID)
