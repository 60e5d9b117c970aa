"""Schedules replayed on a synthetic run whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from bigain.classifier.timesteps import midpoints
from bigain.cli.main import app
from bigain.core.records import write_table
from bigain.datasets.label_tree import read_levels
from bigain.reporting.elimination import curve

SPEC = {
    "backbone": {"id": "mini_unet"},
    "method": "none",
    "strength": None,
    "dataset": {"reader": "fashion", "path": "resources/fashion"},
}


@pytest.fixture
def dataset(root, monkeypatch):
    from bigain.datasets import load

    monkeypatch.chdir(root)
    return load(SPEC["dataset"])


def write_run(path, dataset, behind):
    """Write forty images, of which class c is `behind(c, label)` behind at every trial, plus a little noise."""
    rng = np.random.default_rng(0)
    rows = [
        {"image": image, "class": c, "t": t, "stage": 0, "error": shared + behind(c, *labels) + 0.05 * rng.normal()}
        for image, labels in list(zip(dataset.ids, dataset.labels, strict=True))[:40]
        for t, shared in zip(midpoints(8), rng.normal(size=8), strict=True)
        for c in range(10)
    ]
    write_table(path, pd.DataFrame(rows).to_dict("list"), SPEC)
    return path


@pytest.fixture
def run(dataset, tmp_path):
    """A run whose wrong classes are all as far behind."""
    return write_run(tmp_path / "run.parquet", dataset, lambda c, label: c != label)


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
    tree = tmp_path / "tree.json"
    tree.write_text('{"all": ["bag"]}')
    refused = CliRunner().invoke(app, ["elimination", str(run), f"--tree={tree}", *files])
    assert refused.exit_code == 2
    assert "tree.json: in no group: 't-shirt'" in refused.output
    staged = pd.read_parquet(run).iloc[:-1]
    write_table(run, staged.to_dict("list"), SPEC)
    refused = CliRunner().invoke(app, ["elimination", str(run), *files])
    assert refused.exit_code == 2
    assert "run.parquet: image" in refused.output
    assert "run it with one stage" in refused.output


def test_a_label_tree_wins_where_the_classes_of_a_group_are_alike_and_loses_where_they_are_not(
    run, dataset, root, tmp_path, monkeypatch
):
    monkeypatch.setattr("bigain.reporting.elimination.GROUPS_KEPT", ({"keep": 1},))
    monkeypatch.setattr("bigain.reporting.elimination.REPRESENTATIVES", (1,))
    file, name = root / "config/fashion_tree.json", "tree keep 1 of 1, [2, 8] keep [4, 1]"
    (groups,) = read_levels(file, dataset.class_names)
    group_of = {c: group for group in groups for c in group}
    alike = write_run(
        tmp_path / "alike.parquet", dataset, lambda c, label: (c not in group_of[label]) + 0.5 * (c != label)
    )
    wins, loses = (curve(path, file).set_index("schedule") for path in (alike, run))
    sizes = [len(group_of[labels[0]]) for labels in dataset.labels[:40]]
    spent = [2 * (4 + size - 1) + (6 * min(4, size) if size > 1 else 0) for size in sizes]
    assert wins.loc[name, ["accuracy", "predictions"]].tolist() == [100, np.mean(spent)]
    assert wins.loc["[2, 8] keep [4, 1]", ["accuracy", "predictions"]].tolist() == [100, 2 * 10 + 6 * 4]
    assert wins.loc[wins["chosen"] == True, "kind"].tolist() == [  # noqa: E712 - pandas compares elementwise
        *("stages", "elimination", "tree_stages", "tree_elimination"),
    ]
    assert loses.loc[name, "accuracy"] < 80
    assert set(curve(run)["kind"]) == {"full", "stages", "elimination"}
