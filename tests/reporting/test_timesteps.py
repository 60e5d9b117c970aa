"""Where in t the class is, written for a synthetic run that shows it in the last quarter of t."""

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from bigain.classifier.timesteps import midpoints
from bigain.cli.main import app
from bigain.core.records import write_table
from bigain.datasets import load

SPEC = {
    "backbone": {"id": "mini_mmdit"},
    "method": "none",
    "strength": None,
    "dataset": {"reader": "fashion", "path": "resources/fashion"},
}
GRID = midpoints(8)


def stored(folder, spec):
    """A run of forty images whose right class has a lower error at t above 750 only."""
    dataset, rng = load(spec["dataset"]), np.random.default_rng(0)
    rows = [
        {
            "image": image,
            "class": c,
            "t": t,
            "stage": 0,
            "error": 1 - 0.1 * (t > 750) * (c in labels) + 0.05 * rng.normal(),
        }
        for image, labels in list(zip(dataset.ids, dataset.labels, strict=True))[:40]
        for t in GRID
        for c in range(10)
    ]
    path = folder / "run.parquet"
    write_table(path, pd.DataFrame(rows).to_dict("list"), spec)
    return path


def command(run, folder):
    files = [f"--{form}={folder / 'timesteps'}.{form}" for form in ("csv", "pdf", "png")]
    return CliRunner().invoke(app, ["timesteps", str(run), *files, f"--weights={folder / 'weights.csv'}"])


def test_the_command_writes_accuracy_by_timestep_and_weights_judged_on_other_images(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    result = command(stored(tmp_path, SPEC), tmp_path)
    assert result.exit_code == 0, result.output
    profile = pd.read_csv(tmp_path / "timesteps.csv")
    assert profile["run"].unique().tolist() == ["mini_mmdit, none"]
    assert profile["t"].tolist() == GRID
    late = profile["t"] > 750
    assert profile[late]["low"].min() > profile["chance"].max()
    assert profile[late]["accuracy"].min() > profile[~late]["accuracy"].max()
    weights = pd.read_csv(tmp_path / "weights.csv").set_index("weights")
    assert weights.loc["fitted, polynomial", "accuracy"] > weights.loc["exp(-7t)", "accuracy"]
    assert (weights["images"] + weights["fitted_on"].max() == 40).all()
    assert (tmp_path / "timesteps.png").read_bytes()[:4] == b"\x89PNG"


def test_a_run_whose_images_have_several_classes_is_an_error_that_names_it(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    run = stored(tmp_path, SPEC | {"dataset": {"reader": "fashion_scenes", "path": "resources/fashion"}})
    result = command(run, tmp_path)
    assert result.exit_code == 2
    assert "several classes" in result.output
