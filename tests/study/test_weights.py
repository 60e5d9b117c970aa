"""A folder of weights is what the config says it is, or the message says what it is instead."""

import json

import pytest

from bigain.core.files import read_json, sha256, write_json
from bigain.datasets.manifest import MANIFEST
from bigain.study import weights
from bigain.study.denoisers import denoiser_of
from bigain.study.weights import ABSENT, WeightsError, check, identity


@pytest.fixture
def backbone(tmp_path):
    """The true configs of SD 2.0, without weights."""
    folder = tmp_path / "sd2"
    write_json(folder / "unet" / "config.json", read_json(weights.ARCHITECTURES / "sd2.json"))
    write_json(folder / "scheduler" / "scheduler_config.json", {"prediction_type": "epsilon"})
    write_json(folder / "model_index.json", {})
    mine = {"family": "unet", "architecture": "sd2", "path": str(folder), "hub": None, "revision": None}
    weights.digest.cache_clear()
    return mine


def changed(backbone, file, **values):
    from pathlib import Path

    path = Path(backbone["path"]) / file
    write_json(path, read_json(path) | values)


def test_the_papers_model_passes(backbone):
    check("sd2", backbone)
    assert denoiser_of(backbone).grid == (64, 64)


def test_a_v_prediction_model_is_not_the_papers(backbone):
    changed(backbone, "scheduler/scheduler_config.json", prediction_type="v_prediction")
    with pytest.raises(WeightsError, match=r"'v_prediction': .*2-base \(512 px\), epsilon.*architecture: null"):
        check("sd2", backbone)
    check("own", backbone | {"architecture": None})


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"prediction_type": "sample"}, r"prediction_type is 'sample'; supported are 'epsilon' and 'v_prediction'"),
        ({"rescale_betas_zero_snr": True}, r"alpha_bar_T = 0 .* cannot be sampled from a predicted eps"),
        ({"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}, ""),
    ],
)
def test_what_cannot_be_sampled_is_refused_before_any_job(backbone, scheduler, message):
    changed(backbone, "scheduler/scheduler_config.json", **scheduler)
    mine = backbone | {"architecture": None}
    if not message:
        check("own", mine)
        return
    with pytest.raises(WeightsError, match=message):
        check("own", mine)


def test_a_768_model_is_refused(backbone):
    changed(backbone, "unet/config.json", sample_size=96)
    with pytest.raises(WeightsError, match=r"sample_size is 96, and sd2 has 64.*768 px model"):
        check("sd2", backbone)


def test_another_width_is_refused(backbone):
    changed(backbone, "unet/config.json", cross_attention_dim=768)
    with pytest.raises(WeightsError, match="cross_attention_dim is 768, and sd2 has 1024: this is another model"):
        check("sd2", backbone)


def test_no_weights_say_how_to_get_them(backbone, tmp_path):
    backbone |= {"path": str(tmp_path / "none"), "hub": "someone/sd2"}
    with pytest.raises(WeightsError, match="bigain fetch sd2` downloads someone/sd2"):
        check("sd2", backbone)
    assert identity(backbone) == ABSENT
    assert denoiser_of(backbone).grid == (64, 64)  # of the architecture, so that a dry run works


def test_a_fetched_folder_is_of_its_revision_and_whole(backbone):
    from pathlib import Path

    folder = Path(backbone["path"])
    files = {"model_index.json": {"size": (folder / "model_index.json").stat().st_size, "sha256": "-"}}
    write_json(folder / MANIFEST, {"hub": "someone/sd2", "revision": "abc", "files": files})
    backbone |= {"hub": "someone/sd2", "revision": "abc"}
    assert identity(backbone) == sha256(folder / MANIFEST)
    with pytest.raises(WeightsError, match="at revision abc, and the config says revision def"):
        check("sd2", backbone | {"revision": "def"})
    (folder / "model_index.json").write_text(json.dumps({"more": "bytes"}))
    with pytest.raises(WeightsError, match=r"model_index\.json has 17 bytes; \d+ bytes were fetched"):
        check("sd2", backbone)


def test_large_files_are_read_once(backbone, tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "LARGE", 10)
    read = []
    monkeypatch.setattr(weights, "sha256", lambda path: read.append(path) or sha256(path))
    before = identity(backbone)
    count = len(read)
    weights.digest.cache_clear()
    assert identity(backbone) == before
    assert len(read) - count == 1  # model_index.json alone is small
    (Path(backbone["path"]) / "unet" / "config.json").write_text("{ }           ")
    weights.digest.cache_clear()
    assert identity(backbone) != before
