"""How the result files of a study on disk compare with the study: made-up results, no model."""

import re
from pathlib import Path

import pytest
import yaml
from safetensors.numpy import load_file, save_file

from bigain.cli.study import study_of
from bigain.core.provenance import (
    ResultError,
    provenance_file,
    read_provenance,
    read_sealed,
    write_provenance,
    write_sealed,
)
from bigain.core.records import canonical
from bigain.study.products import Product, examine, outdated_files
from bigain.study.sealing import seal
from bigain.study.status import phases, summary
from bigain.study.verification import unusable_shards, verify
from tests.helpers.small_study import CONFIG, MadeUpJob, small_study, write_study

CELL = "classification/mini_dit/fashion/none/full/seed-0"


@pytest.fixture
def study(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = small_study(root, tmp_path)
    write_study(study)
    return study


def test_what_was_computed_from_other_latents_of_the_same_settings_is_outdated(study):
    """Latents of another machine have the same spec and other digits."""
    assert outdated_files(study) == []
    latents = Path(study.results, "inputs/mini_dit/fashion/latents.safetensors")
    facts = read_provenance(latents)
    save_file({name: 1.5 * values for name, values in load_file(latents).items()}, latents)
    write_provenance(latents, facts["spec"], facts["inputs"])
    dit = [cell for cell in study.cells if cell.backbone == "mini_dit"]
    chunks = {file for cell in dit for file in study.chunk_files(cell)}
    assert set(outdated_files(study)) == chunks
    findings = {str(finding.file): finding.message for finding in verify(study) if finding.state == "outdated"}
    assert set(findings) == chunks
    assert all("computed from another latents" in message for message in findings.values())
    provenance_file(latents).unlink()  # encoded again by the next run, whose result decides
    assert outdated_files(study) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("inputs/mini_dit/fashion/latents.safetensors.json", {"inputs": []}),
        ("inputs/mini_dit/fashion/latents.safetensors.json", {"inputs": {"weights": {"sha256": "0"}}}),
        (f"cells/{CELL}/metrics.json", {"spec": []}),
        (f"cells/{CELL}/metrics.json", {"inputs": {"chunk-0": "chunk-0.parquet"}}),
        ("cells.json", {"spec": "0123456789abcdef"}),
    ],
)
def test_a_sealed_file_of_another_form_is_named_by_every_command(study, name, change):
    file = Path(study.results, name)
    write_sealed(file, read_sealed(file) | change)
    key = next(iter(change))
    findings = [finding.message for finding in verify(study) if finding.state == "damaged"]
    assert any(message.startswith(f"{file} ") and key in message for message in findings), findings
    with pytest.raises(ResultError, match=f"{re.escape(str(file))} .*{key}"):
        outdated_files(study)
    assert sum(len(phase.jobs) for phase in phases(study)) > 0


@pytest.mark.parametrize(
    ("phase", "of_spec", "is_outdated"),
    [
        ("calibration", {"dataset": {"id": "other"}}, True),
        ("calibration", {"backbone": {"id": "other"}}, False),
        ("measurements", {"seed": 1}, True),
        ("measurements", {"dataset": {"id": "other"}}, False),
        ("inputs", {"dataset": {"id": "other"}}, False),
    ],
)
def test_a_setting_that_no_folder_is_named_after_makes_no_file_foreign(study, phase, of_spec, is_outdated):
    """A calibration's data set and the seed of a probe come from the config, and may change there."""
    file = Path(study.results, "inputs/mini_dit/fashion/latents.safetensors")
    spec = read_provenance(file)["spec"] | {"seed": 0}
    write_provenance(file, spec, {})
    assert examine(Product(phase, file, lambda: canonical(spec)), contents=True) is None
    finding = examine(Product(phase, file, lambda: canonical(spec | of_spec)), contents=True)
    assert finding.state == ("outdated" if is_outdated else "foreign")
    assert " not " in finding.message


@pytest.mark.parametrize(
    "content", [b"", b"backbone,method\nmini_dit,none\n", b"method,strength,seconds,batch\nnone,,", b"\xff"]
)
def test_damaged_measurements_stop_neither_the_status_nor_the_end_of_a_run(study, content):
    file = Path(study.results, "efficiency/mini_dit.csv")
    file.write_bytes(content)
    assert "jobs done" in summary(study)
    assert [finding.file for finding in verify(study) if finding.state == "damaged"] == [file]


def test_a_shard_of_an_earlier_version_is_unsealed_and_not_called_damaged(study):
    MadeUpJob(study, study.cells[0].path).shard()
    (shard,) = Path(study.results, "work").rglob("images-*")
    old = shard.with_name(f"{shard.stem.rpartition('-')[0]}{shard.suffix}")
    shard.rename(old)
    (findings,) = unusable_shards(study)
    assert (findings.file, findings.state) == (old, "unsealed")
    assert (old, "") in list(seal(study))
    assert shard.exists()
    assert list(unusable_shards(study)) == []


@pytest.mark.parametrize("plan", [None, "{", "[]"])
def test_auto_is_the_device_of_this_machine_where_no_plan_says_what_it_was(study, plan, monkeypatch):
    """Results that were copied without their plan are no results of other settings, which `bigain clean` removes."""
    monkeypatch.setattr("bigain.study.requirements.device_here", lambda device: "cpu")
    Path("auto.yaml").write_text(yaml.safe_dump(CONFIG | {"device": "auto"}))
    if plan is not None:
        Path(study.results, "plan.json").write_text(plan)
    assert study_of([Path("auto.yaml")]).config == study.config
