"""A job killed in the middle goes on at its next shard, and nothing is lost or half written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bigain.records import canonical
from tests.test_jobs import FASHION, backbone, classification

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def command(spec: dict, folder: Path, name: str) -> list[str]:
    files = {"latents": "latents.safetensors", "conditions": "conditions.safetensors"}
    files |= {"output": f"{name}.parquet", "info": f"{name}.parquet.json"}
    options = [part for option, file in files.items() for part in (f"--{option}", str(folder / file))]
    return [sys.executable, "-m", "bigain", "classify", "--spec", canonical(spec), *options]


def test_a_killed_job_resumes_and_equals_the_undisturbed_one(root, tmp_path, monkeypatch):
    from bigain.inputs import encode_conditions, encode_images

    monkeypatch.chdir(root)
    common = {"backbone": backbone("unet"), "dataset": FASHION}
    encode_images(common | {"images": 60}, tmp_path / "latents.safetensors")
    encode_conditions(common | {"captions": 0}, tmp_path / "conditions.safetensors")

    def spec(name: str) -> dict:
        return classification("unet", "bigain_tm", tmp_path / name, images=(0, 60), shard=4)

    killed = subprocess.Popen(command(spec("killed"), tmp_path, "killed"), cwd=root)
    while not list((tmp_path / "killed").rglob("*.parquet")):
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = len(list((tmp_path / "killed").rglob("images-*.parquet")))
    assert 1 <= kept < 15
    assert not (tmp_path / "killed.parquet").exists()

    subprocess.run(command(spec("killed"), tmp_path, "killed"), cwd=root, check=True)
    subprocess.run(command(spec("whole"), tmp_path, "whole"), cwd=root, check=True)
    one, other = (
        pq.read_table(tmp_path / f"{name}.parquet").replace_schema_metadata(None) for name in ("killed", "whole")
    )
    assert one.equals(other)
    computed = json.loads((tmp_path / "killed.parquet.json").read_text())["images_computed"]
    assert computed == 60 - 4 * kept
