"""Fetching from a hub that is a folder: files are chosen, verified and resumed, and failures name their reason."""

import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from bigain.cli.main import app
from bigain.core.files import read_json, sha256
from bigain.datasets import download
from bigain.datasets.manifest import MANIFEST

COMMIT = "c0ffee"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Make a model repository with files that no pipeline needs, behind the two calls of the hub's client."""
    source = tmp_path / "hub"
    contents = {
        "model_index.json": b"{}",
        "README.md": b"words",
        "512-base-ema.ckpt": b"a checkpoint of another program",
        "unet/config.json": b'{"sample_size": 64}',
        "unet/diffusion_pytorch_model.safetensors": bytes(1000),
        "unet/diffusion_pytorch_model.bin": b"the same as a pickle",
        "unet/diffusion_pytorch_model.fp16.safetensors": b"half",
        "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors": b"a part of the half",
        "text_encoders/t5xxl_fp16.safetensors": b"what another program loads",
        "tokenizer/vocab.json": b"{}",
        "tokenizer/merges.txt": b"",
    }
    for name, content in contents.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    (source / "text_encoder").mkdir()
    (source / "text_encoder" / "config.json").write_bytes(b"{}")
    torch.save({"weight": torch.arange(6.0)}, source / "text_encoder" / "pytorch_model.bin")
    calls = []

    def model_info(self, hub, revision, files_metadata):
        if hub != "someone/model":
            raise ConnectionError("401 for this page")
        files = [path for path in source.rglob("*") if path.is_file()]
        siblings = [
            SimpleNamespace(
                rfilename=str(path.relative_to(source)),
                size=path.stat().st_size,
                lfs=SimpleNamespace(sha256=sha256(path)) if path.suffix in (".safetensors", ".bin") else None,
            )
            for path in files
        ]
        return SimpleNamespace(sha=revision or COMMIT, siblings=siblings)

    def snapshot_download(hub, revision, local_dir, allow_patterns):
        calls.append(allow_patterns)
        for name in allow_patterns:
            target = Path(local_dir) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target)
            if len(calls) == 1 and (source / "cut").exists():
                raise ConnectionError("connection lost")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return SimpleNamespace(source=source, calls=calls)


def settings(path, **more):
    return {"hub": "someone/model", "revision": None, "path": str(path)} | more


def test_a_pipeline_is_fetched_once_each_part_whole_and_without_pickles(hub, tmp_path):
    path = download.backbone("sd2", settings(tmp_path / "model"))
    files = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    assert files == {
        "model_index.json",
        MANIFEST,
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
    }
    assert load_file(path / "text_encoder/model.safetensors")["weight"].tolist() == [0, 1, 2, 3, 4, 5]
    manifest = read_json(path / MANIFEST)
    assert (manifest["hub"], manifest["revision"]) == ("someone/model", COMMIT)
    known = manifest["files"]["unet/diffusion_pytorch_model.safetensors"]
    assert known == {"size": 1000, "sha256": hashlib.sha256(bytes(1000)).hexdigest()}


def test_what_is_there_is_verified_without_a_network(hub, tmp_path, monkeypatch):
    path = download.backbone("sd2", settings(tmp_path / "model"))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", None)
    download.backbone("sd2", settings(path))
    assert len(hub.calls) == 1
    with pytest.raises(
        download.FetchError, match=r"holds someone/model at revision c0ffee, and the config wants .* at other"
    ):
        download.backbone("sd2", settings(path, revision="other"))


def test_a_damaged_file_is_fetched_again(hub, tmp_path):
    path = download.backbone("sd2", settings(tmp_path / "model"))
    weights = path / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(bytes(999) + b"1")
    with pytest.raises(download.FetchError, match=r"was missing or damaged\. Run the same command again"):
        download.backbone("sd2", settings(path))
    assert not weights.exists()
    download.backbone("sd2", settings(path))
    assert weights.read_bytes() == bytes(1000)


def test_a_download_that_stopped_goes_on(hub, tmp_path):
    (hub.source / "cut").mkdir()
    with pytest.raises(download.FetchError, match=r"stopped \(connection lost\)\. Run the same command to resume"):
        download.backbone("sd2", settings(tmp_path / "model"))
    assert not (tmp_path / "model" / MANIFEST).exists()
    download.backbone("sd2", settings(tmp_path / "model"))
    assert (tmp_path / "model" / MANIFEST).exists()


def test_a_gated_model_says_that_its_licence_and_a_token_are_needed(hub, tmp_path, monkeypatch):
    def refused(*args, **settings):
        raise OSError("401 Client Error. Cannot access gated repo for url https://huggingface.co/someone/model")

    info = SimpleNamespace(sha=COMMIT, siblings=[], gated="auto")
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *args, **settings: info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refused)
    advice = r"gated: accept its licence on https://huggingface\.co/someone/model and log in with a token"
    with pytest.raises(download.FetchError, match=advice):
        download.backbone("sd35_medium", settings(tmp_path / "model"))


def test_what_arrives_wrong_is_removed(hub, tmp_path, monkeypatch):
    def damaged(hub, revision, local_dir, allow_patterns):
        for name in allow_patterns:
            (Path(local_dir) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(local_dir) / name).write_bytes(b"x")

    monkeypatch.setattr("huggingface_hub.snapshot_download", damaged)
    with pytest.raises(download.FetchError, match=r"model_index\.json is not what the hub has"):
        download.backbone("sd2", settings(tmp_path / "model"))
    assert not (tmp_path / "model/model_index.json").exists()
    assert not (tmp_path / "model" / MANIFEST).exists()


def test_no_space_and_no_hub_are_said_before_anything_is_loaded(hub, tmp_path, monkeypatch):
    with pytest.raises(download.FetchError, match=r"gone/model at revision main cannot be reached: 401.*`hub: null`"):
        download.backbone("sd2", settings(tmp_path / "model", hub="gone/model"))
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=100))
    with pytest.raises(download.FetchError, match="GB are needed"):
        download.backbone("sd2", settings(tmp_path / "model"))
    assert hub.calls == []


def test_imagenet_is_not_downloaded(tmp_path):
    place = {"reader": "imagenet1k", "path": str(tmp_path / "imagenet")}
    with pytest.raises(download.FetchError, match=r"ILSVRC2012_img_val\.tar and ILSVRC2012_devkit.*--archives FOLDER"):
        download.dataset("imagenet1k", place, None)
    with pytest.raises(download.FetchError, match=r"ILSVRC2012_img_val\.tar is missing"):
        download.dataset("imagenet1k", place, tmp_path)
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(b"no tar")
    (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"no tar")
    with pytest.raises(download.FetchError, match="corrupted"):
        download.dataset("imagenet1k", place, tmp_path)


def test_the_command_knows_the_names_of_its_config(root, monkeypatch):
    monkeypatch.chdir(root)
    result = CliRunner().invoke(app, ["fetch", "sd3"])
    assert result.exit_code == 2
    assert "unknown name 'sd3'. Did you mean 'sd2'" in result.output
    result = CliRunner().invoke(app, ["fetch", "fashion"])
    assert result.exit_code == 1
    assert "part of this repository" in result.output
    result = CliRunner().invoke(app, ["check", "--configfile", "config/paper.yaml"])
    assert result.exit_code == 1
    assert "- backbones.sd2: models/stable-diffusion-2-base/model_index.json is missing" in result.output
    result = CliRunner().invoke(app, ["plan", "--configfile", "config/nowhere.yaml"])
    assert "config/nowhere.yaml is missing" in result.output
