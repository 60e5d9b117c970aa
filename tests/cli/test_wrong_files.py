"""Commands that read or write a file name it if it is not what they need, without a traceback."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from bigain.cli.main import app
from tests.helpers.repository import ROOT


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["init", "a.txt"], "a.txt cannot be created: "),
        (["init", "a.txt/sub"], "a.txt/sub cannot be created: "),
        (["fetch", "pets", "--spec", "not json"], "Invalid value for '--spec': 'not json' is not JSON"),
        (["fetch", "pets", "--spec", "[]"], "'[]' is not a JSON object"),
        (["fetch", "pets", "--spec", '{"reader": "pets"}'], "--spec: its content: 'path' is a required property"),
        (["fetch", "pets", "--spec", '{"reader": "cats", "path": "a"}'], "--spec: reader: 'cats' is not one of"),
        (["fetch", "inception", "--spec", "{}"], "--spec: its content: 'weights' is a required property"),
        (["report", "a.tex", "--spec", "x", "--output", "b"], "Invalid value for '--spec': 'x' is not JSON"),
        (["power", "--pilot", "nofile.parquet"], "nofile.parquet is missing: name the results.parquet"),
        (["checksums", "nowhere"], "nowhere is not a folder"),
        (["checksums", "a.txt"], "a.txt is not a folder"),
        (["statistics", "--reference", "nowhere", "--output", "b.npz"], "nowhere holds no statistics of real images"),
        (["statistics", "--reference", "a.txt", "--output", "b.npz"], "a.txt holds no statistics of real images"),
    ],
)
def test_a_file_that_does_not_fit_is_named(command, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    completed = CliRunner().invoke(app, command)
    assert completed.exit_code == 2
    assert message in completed.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_key_that_a_job_lacks_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = ["--latents", "a", "--conditions", "b"]
    outputs = ["--output", "c.parquet", "--info", "c.parquet.json"]
    for spec, key in (
        ("{}", "device"),
        ('{"backbone": {"family": "dit"}}', "device"),
        ('{"backbone": {"device": "cpu"}}', "threads"),
    ):
        completed = CliRunner().invoke(app, ["classify", "--spec", spec, *inputs, *outputs])
        assert completed.exit_code == 2
        assert completed.stderr.startswith(f"error: --spec lacks the key '{key}'")
    assert list(tmp_path.iterdir()) == []


def run(*command):
    return CliRunner().invoke(app, list(map(str, command)))


def test_a_bundle_replaces_no_config_and_is_written_to_no_folder(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text(text := "study: mine\n")
    other = run("export", "--output", config)
    same = run("export", "--configfile", config, "--output", tmp_path / "a/../mine.yaml")
    folder = run("export", "--output", tmp_path)
    for completed, message in (
        (other, f"--output {config} exists and is not a bundle that `bigain export` wrote"),
        (same, "mine.yaml is the file that --configfile reads, and would be replaced"),
        (folder, f"--output {tmp_path} is a folder; a file is needed"),
    ):
        assert (completed.exit_code, message in completed.stderr) == (2, True), completed.stderr
    assert config.read_text() == text


def test_statistics_replace_only_statistics(tmp_path):
    mu, sigma = np.zeros(2), np.eye(2)
    reference = tmp_path / "reference.safetensors"
    save_file({"mu": mu, "sigma": sigma}, reference)
    np.savez(tmp_path / "other.npz", mu=mu)
    for output, fault in (
        ("reference.safetensors", "is the file that --reference reads"),
        ("other.npz", "is not statistics"),
    ):
        before = (tmp_path / output).read_bytes()
        completed = run("statistics", "--reference", reference, "--output", tmp_path / output)
        assert (completed.exit_code, fault in completed.stderr) == (2, True), completed.stderr
        assert (tmp_path / output).read_bytes() == before
    for _ in range(2):  # the second replaces the first
        assert run("statistics", "--reference", reference, "--output", tmp_path / "new.npz").exit_code == 0


@pytest.mark.parametrize("command", ["elimination", "timesteps"])
def test_replays_replace_only_tables_and_figures(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.csv").write_text("mine")
    (tmp_path / "run.parquet").write_text("PAR1")
    for options, fault in (
        (["--csv", "notes.csv"], "--csv notes.csv exists and is not an earlier table of this command"),
        (["--pdf", "run.parquet"], "--pdf run.parquet is the file that the command reads"),
        (["--png", "notes.csv"], "--png notes.csv exists and is not a PNG"),
        (["--pdf", "a.x", "--png", "a.x"], "--pdf and --png are both a.x"),
    ):
        completed = run(command, "run.parquet", *options)
        assert (completed.exit_code, fault in completed.stderr) == (2, True), completed.stderr
    assert (tmp_path / "notes.csv").read_text() == "mine"


def test_prompts_that_are_the_output_of_an_earlier_run(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "table.csv").write_text(
        "file,predicted,probability,calibrated,margin,fault,p(bag)\n0.png,bag,1,,1,,1\n"
    )
    (tmp_path / "settings.json").write_text('{\n  "seed": 0\n}\n')
    model = ["--model", ROOT / "resources/mini-unet"]
    for name in ("table.csv", "settings.json"):
        for command in (
            ["classify-images", tmp_path / "images", "--out", tmp_path / "new.csv"],
            ["generate-images", "--out", tmp_path / "new"],
        ):
            completed = run(*command, *model, "--prompts", tmp_path / name)
            assert completed.exit_code == 2
            assert f"{name} is a file that bigain wrote, not a list of prompts" in completed.stderr
