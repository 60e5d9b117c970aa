"""Schedules replayed on a synthetic run whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from bigain.classifier.timesteps import midpoints
from bigain.cli.main import app
from bigain.core.records import write_table
from bigain.reporting.elimination import curve

SPEC = {
    "backbone": {"id": "mini_unet"},
    "method": "none",
    "strength": None,
    "dataset": {"reader": "fashion", "path": "resources/fashion"},
}


@pytest.fixture
def run(root, tmp_path, monkeypatch):
    """Forty images whose right class has an error lower by 1 at every trial, plus a little noise."""
    from bigain.datasets import load

    monkeypatch.chdir(root)
    dataset, rng = load(SPEC["dataset"]), np.random.default_rng(0)
    rows = [
        {"image": image, "class": c, "t": t, "stage": 0, "error": shared + (c not in labels) + 0.05 * rng.normal()}
        for image, labels in list(zip(dataset.ids, dataset.labels, strict=True))[:40]
        for t, shared in zip(midpoints(8), rng.normal(size=8), strict=True)
        for c in range(10)
    ]
    path = tmp_path / "run.parquet"
    write_table(path, pd.DataFrame(rows).to_dict("list"), SPEC)
    return path


def test_easy_images_need_the_first_trials_only(run):
    schedules = curve(run).set_index("schedule")
    assert schedules.loc["every class, every trial", ["predictions", "accuracy"]].tolist() == [80, 100]
    assert schedules.loc["z 4, every 2", "accuracy"] == 100
    assert schedules.loc["z 2, every 2", "predictions"] < 25  # two trials of ten classes, then a few
    assert schedules.loc["[1, 8] keep [2, 1]", "predictions"] == 10 + 2 * 7
    chosen = schedules[schedules["chosen"] == True]  # noqa: E712 - pandas compares elementwise
    assert set(chosen["kind"]) == {"stages", "elimination"}
    assert (chosen["held_out_difference"] == 0).all()


def test_the_command_writes_its_files_and_refuses_a_run_with_stages(run, tmp_path):
    from typer.testing import CliRunner

    files = [f"--{form}={tmp_path / 'out'}.{form}" for form in ("csv", "pdf", "png")]
    assert CliRunner().invoke(app, ["elimination", str(run), *files]).exit_code == 0
    assert pd.read_csv(tmp_path / "out.csv")["run"].unique().tolist() == ["mini_unet, none"]
    assert not (tmp_path / "elimination-certificate.json").exists()
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"
    staged = pd.read_parquet(run).iloc[:-1]
    write_table(run, staged.to_dict("list"), SPEC)
    refused = CliRunner().invoke(app, ["elimination", str(run), *files])
    assert refused.exit_code == 2
    assert "run.parquet: image" in refused.output
    assert "run it with one stage" in refused.output
