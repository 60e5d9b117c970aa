"""A z certified on synthetic runs, and what a report says about it."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bigain.classifier.timesteps import midpoints
from bigain.cli.main import app
from bigain.core.records import write_table
from bigain.reporting.certification import calibrate, for_calibration
from bigain.reporting.elimination import ZS
from bigain.reporting.page import facts
from bigain.reporting.protocol import elimination_note, listings
from bigain.study.certificates import read_certificate

SPEC = {
    "backbone": {"id": "mini_unet"},
    "dataset": {"id": "fashion"},
    "method": "bigain_tm",
    "strength": 0.7,
    "seed": 0,
}


def write_run(path, images=600, trials=20, spread=1.0, spec=SPEC):
    """Write errors whose best class of four is ahead by half of what its differences vary."""
    rng = np.random.default_rng(0)
    errors = (
        spread * rng.normal(size=(images, 4, trials))
        + 0.5 * rng.permuted(np.tile(range(4), (images, 1)), axis=1)[:, :, None]
    )
    image, classes, t = np.meshgrid(range(images), range(4), midpoints(trials), indexing="ij")
    columns = {"image": image, "class": classes, "t": t, "stage": np.zeros_like(t), "error": errors}
    write_table(path, pd.DataFrame({name: values.ravel() for name, values in columns.items()}).to_dict("list"), spec)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run.parquet")


def test_half_of_the_images_are_for_calibration_whichever_others_there_are():
    assert sum(map(for_calibration, range(10_000))) == pytest.approx(5000, abs=150)
    assert [image for image in range(12) if for_calibration(image)] == [0, 5, 6, 8, 10, 11]


def test_the_least_cautious_z_before_the_first_failure_is_certified(run):
    calibration = calibrate([run], every=5, rate=0.03, delta=0.05)
    table, certificate = calibration.table, calibration.certificate
    rows = table[table["part"] == "calibration"].set_index("z")
    assert rows.index.tolist() == list(ZS)
    passed = rows["bound_percent"] <= 3
    assert rows["certified"].tolist() == passed.cummin().tolist()
    assert 0 < rows["certified"].sum() < len(ZS)
    assert certificate["z"] == rows.index[rows["certified"]].min()
    (cell,) = certificate["cells"]
    chosen = rows.loc[certificate["z"]]
    assert (cell["images"], cell["disagreements"]) == (chosen["images"], chosen["disagreements"])
    assert cell["images"] + cell["others"]["images"] == 600
    assert cell["predictions"] == chosen["predictions"] < cell["full_predictions"] == 80
    assert table.groupby("z")["disagreements"].sum().iloc[0] > 10  # the least cautious z errs


def test_a_z_has_to_pass_on_every_run(run, tmp_path):
    """On noisier errors, elimination disagrees more often."""
    noisy = write_run(tmp_path / "noisy.parquet", spread=4.0)
    alone, both = (calibrate(runs, 5, 0.03, 0.05).certificate for runs in ([run], [run, noisy]))
    assert both["z"] > alone["z"]
    assert len(both["cells"]) == 2


def test_runs_and_rates_that_cannot_be_calibrated_are_named(run, tmp_path):
    short = write_run(tmp_path / "short.parquet", images=10, trials=8)
    with pytest.raises(ValueError, match="the runs have 8 and 20 trials"):
        calibrate([run, short], 5, 0.03, 0.05)
    with pytest.raises(ValueError, match="rate: 0 is not allowed; must be above 0 and below 1"):
        calibrate([run], 5, 0, 0.05)
    write_table(short, pd.read_parquet(short).iloc[:-1].to_dict("list"), SPEC)
    with pytest.raises(ValueError, match=r"short\.parquet: image 9 lacks classes"):
        calibrate([short], 5, 0.03, 0.05)


def test_the_command_writes_the_certificate_and_its_table(run, tmp_path, monkeypatch):
    monkeypatch.setattr("bigain.reporting.elimination.write_elimination", lambda *_: None)  # has tests of its own
    file = tmp_path / "z.json"
    arguments = ["elimination", str(run), "--calibrate", f"--certificate={file}"]
    completed = CliRunner().invoke(app, [*arguments, "--rate=0.03"])
    assert completed.exit_code == 0, completed.output
    certificate = read_certificate(file)
    assert f"z = {certificate['z']:g} is certified" in completed.output
    assert "bound_percent" in completed.output
    table = pd.read_csv(file.with_suffix(".csv"))
    assert table.loc[table["certified"], "z"].min() == certificate["z"]
    file.unlink()
    refused = CliRunner().invoke(app, [*arguments, "--rate=0.001"])
    assert refused.exit_code == 1
    assert "no z is certified for --rate 0.001" in refused.output
    assert not file.exists()


def test_a_report_says_what_z_is_and_what_is_certified(run):
    certificate = calibrate([run], 5, 0.03, 0.05).certificate
    z = certificate["z"]
    elimination = {"z": z, "every": 5, "certificate": "z.json"}
    classified = {"reader": "fashion", "images": 500, "classes": 10, "stages": [20], "keep": [1]}
    spec = {"study": "s", "datasets": {"fashion": classified}, "classification": {"elimination": elimination}}
    note = elimination_note(spec)
    assert note.startswith(f"after every 5 trials, classes whose mean error exceeds the lowest by more than z = {z:g} ")
    assert note.endswith(
        "z is not an error rate, because the comparison is repeated and the leading class is chosen "
        "from the same trials."
    )
    (cell,) = json.loads(json.dumps(certificate))["cells"]
    certified = elimination_note(spec | {"certificate": certificate})
    assert certified.startswith(note)
    assert "with 95% confidence, at most 3% of the decisions on such images differ" in certified
    assert (
        f"mini_unet on fashion, bigain_tm 0.7, seed 0: {cell['disagreements']} of {cell['images']} images" in certified
    )
    assert listings(spec)[1].caption.endswith(note)
    cell = {"task": "classification", "backbone": "mini_unet", "dataset": "fashion"}
    scored = [{"cell": cell, "seconds": 1.0, "environments": [], "left_out": {}, "warnings": {}}]
    classification = {"elimination": elimination, "timesteps": "grid", "loss": "l2", "noise": "keyed"}
    rows = facts(scored, spec | {"classification": classification, "generation": {"steps": 50}, "seeds": [0]})
    assert ("elimination", note) in rows
    assert elimination_note({"classification": {"elimination": None}}) == ""
