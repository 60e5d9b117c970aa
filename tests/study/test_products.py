"""How the result files of a study on disk compare with the study: made-up results, no model."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from bigain.core.provenance import provenance_file, read_provenance, write_provenance
from bigain.study.products import outdated_files
from bigain.study.sealing import seal
from bigain.study.verification import unusable_shards, verify
from tests.helpers.small_study import MadeUpJob, small_study, write_study


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
    found = {str(finding.file): finding.message for finding in verify(study) if finding.state == "outdated"}
    assert set(found) == chunks
    assert all("computed from another latents" in message for message in found.values())
    provenance_file(latents).unlink()  # encoded again by the next run, whose result decides
    assert outdated_files(study) == []


def test_a_shard_of_an_earlier_version_is_unsealed_and_not_called_damaged(study):
    MadeUpJob(study, study.cells[0].path).shard()
    (shard,) = Path(study.results, "work").rglob("images-*")
    old = shard.with_name(f"{shard.stem.rpartition('-')[0]}{shard.suffix}")
    shard.rename(old)
    (found,) = unusable_shards(study)
    assert (found.file, found.state) == (old, "unsealed")
    assert f"sealed {old}" in list(seal(study))
    assert shard.exists()
    assert list(unusable_shards(study)) == []
