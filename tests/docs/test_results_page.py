"""docs/results.md lists every column, and a study's files have no others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from bigain.core.columns import columns_of, csv_text, described, described_files, documentation
from tests.helpers.described import undescribed
from tests.helpers.repository import ROOT
from tests.helpers.results import CHUNKS, score, write_results

PAGE = ROOT / "docs/results.md"


def test_the_page_lists_the_columns_as_they_are_described():
    _, listed = PAGE.read_text("utf-8").split("## Files\n\n")
    assert listed == documentation(), (
        "docs/results.md: what follows '## Files' has to be the output of "
        "python -c 'from bigain.core.columns import documentation; print(documentation(), end=\"\")'"
    )


def test_every_file_and_column_is_described_in_a_sentence():
    for kind, file in described_files().items():
        assert file.contents.endswith("."), kind
        for name, column in file.columns.items():
            assert column.meaning.endswith("."), (kind, name)
            assert column.values, (kind, name)
            assert "|" not in "".join(column), (kind, name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize("name", ["fashion", "fashion_scenes", "generated"])
def test_a_cell_has_only_described_columns(folder, name):
    results = score(folder, name)
    assert [column for column in results if column not in columns_of("results.parquet")] == []
    assert undescribed("metrics.json", json.loads((folder / "cells" / name / "metrics.json").read_text())) == []
    for chunk in range(CHUNKS):
        if name == "generated":
            with safe_open(folder / f"generated-{chunk}.safetensors", "np") as stored:
                assert set(stored.keys()) <= columns_of("generated").keys()
        else:
            trials = pq.read_schema(folder / f"{name}-{chunk}.parquet")
            assert trials.names == list(columns_of("trials"))
    with safe_open(folder / "reference.safetensors", "np") as stored:
        assert set(stored.keys()) == set(columns_of("reference"))
    provenance = json.loads((folder / "fashion-0.parquet.json").read_text())
    assert undescribed("provenance", provenance) == []


def test_an_undescribed_key_of_a_json_file_is_noticed():
    assert undescribed("metrics.json", {"cell": {"task": "x", "sed": 0}, "metrics": {}}) == ["cell.sed", "metrics"]


def test_parquet_fields_carry_their_descriptions_and_keep_their_metadata():
    table = pa.table({"method": ["none"], "band_12": [1.0]}).replace_schema_metadata({"bigain.spec": "{}"})
    carried = described(table, "spectrum")
    assert carried.schema.field("band_12").metadata[b"description"].startswith(b"Squared error of the wrong class")
    assert carried.schema.metadata == {b"bigain.spec": b"{}"}
    assert carried.equals(table)
    with pytest.raises(ValueError, match=r"trials: unknown column 'clas'\. Did you mean 'class'\?"):
        described(pa.table({"clas": [1]}), "trials")
    with pytest.raises(ValueError, match=r"unknown kind of file 'trial'\. Did you mean 'trials'\?"):
        columns_of("trial")


def test_csv_files_have_the_described_columns_and_ten_digits():
    rows = [{"score": "a", "formula": 1 / 3}, {"score": "b"}]
    assert csv_text("table13", rows) == "score,formula\na,0.3333333333\nb,\n"
    assert csv_text("table13", []) == "score,formula\n"
    with pytest.raises(ValueError, match=r"table13: unknown column 'scores'\. Did you mean 'score'\?"):
        csv_text("table13", [{"scores": "a"}])


def test_numbers_in_csv_files_are_those_of_the_results(tmp_path):
    values = np.random.default_rng(0).random(100) * 100
    (tmp_path / "t.csv").write_text(csv_text("classes", ({"accuracy": value} for value in values)))
    assert pd.read_csv(tmp_path / "t.csv")["accuracy"].to_numpy() == pytest.approx(values, rel=1e-9)
