"""A study's finished work goes on in another folder; a bundle that is not whole is refused before a file appears."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bigain.cli.main import app
from bigain.core.bundles import MANIFEST, BundleError, read_bundle, unpack
from bigain.core.files import sha256
from bigain.core.provenance import SEAL, ResultError, digest
from bigain.core.records import work_folder
from bigain.study.carrying import export
from bigain.study.products import examine, products
from tests.helpers.small_study import MadeUpJob, small_study, write_study

NONE = "classification/mini_dit/fashion/none/full/seed-0"
OURS = "classification/mini_dit/fashion/bigain_tm/ratio-0.5/seed-0"
IMAGES = 3 * 12 + 2 * 40  # of all cells


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """A folder in which a study ran, and of two cells the first shards are left, and its bundle."""
    folder = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study = small_study(root, folder)
        write_study(study)
        for file in Path(study.results, "cells").rglob("*.json"):
            file.unlink()
        for path in (NONE, OURS):
            MadeUpJob(study, path).shard()
        carried = export(study, Path("bundle.tar"))
    return study, folder / "bundle.tar", carried


@pytest.fixture
def elsewhere(finished, root, tmp_path, monkeypatch):
    """The study in another folder, which has its config alone, and the bundle."""
    monkeypatch.chdir(tmp_path)
    return small_study(root, tmp_path), finished[1]


def results(folder: Path = Path("results")) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def rewritten(bundle: Path, change) -> Path:
    """Write a copy of a bundle whose members `change` has changed, and whose manifest fits."""
    with tarfile.open(bundle) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    manifest = json.loads(members.pop(MANIFEST))
    manifest.pop(SEAL)
    change(manifest, members)
    copy = Path("changed.tar")
    with tarfile.open(copy, "w") as tar:
        for name, content in {MANIFEST: json.dumps({**manifest, SEAL: digest(manifest)}).encode(), **members}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return copy


def test_imported_shards_are_joined_without_computing_an_image(elsewhere):
    study, bundle = elsewhere
    unpack(bundle)
    for path in (NONE, OURS):
        job = MadeUpJob(study, path)
        job.shard()
        assert job.computed == []


def test_imported_inputs_are_those_that_the_study_expects(elsewhere):
    study, bundle = elsewhere
    unpack(bundle)
    inputs = [product for product in products(study) if product.phase == "inputs"]
    assert [examine(product, contents=True) for product in inputs] == [None] * len(inputs)


def test_a_bundle_says_how_many_images_are_finished(finished):
    _, _, carried = finished
    assert (carried.finished, carried.images) == (12, IMAGES)  # a shard of 6 images in each of two cells


def test_the_same_work_gives_the_same_bytes(finished, monkeypatch):
    study, bundle, _ = finished
    monkeypatch.chdir(bundle.parent)
    export(study, Path("again.tar"))
    assert sha256("again.tar") == sha256(bundle)


def test_an_output_whose_shards_were_removed_is_carried_itself(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = small_study(root, tmp_path)
    write_study(study)
    carried = export(study, Path("bundle.tar"))
    assert carried.finished == carried.images == IMAGES
    shutil.rmtree("results")
    unpack(Path("bundle.tar"))
    assert [examine(product) for product in products(study) if product.file.name.startswith("chunk-")] == [None] * 8


def test_importing_twice_changes_nothing(elsewhere):
    _, bundle = elsewhere
    _, written = unpack(bundle)
    assert len(written) == len(results())
    assert unpack(bundle)[1] == []


def test_an_input_that_was_computed_in_both_places_keeps_its_own_provenance(elsewhere):
    study, bundle = elsewhere
    unpack(bundle)
    provenance = Path(study.results, "inputs/mini_dit/fashion/latents.safetensors.json")
    provenance.write_text(edited := provenance.read_text().replace('"seconds": 3.0', '"seconds": 4.0'))
    assert unpack(bundle)[1] == []
    assert provenance.read_text() == edited


def test_a_file_with_other_content_is_never_replaced(elsewhere):
    study, bundle = elsewhere
    latents = Path(study.results, "inputs/mini_dit/fashion/latents.safetensors")
    latents.parent.mkdir(parents=True)
    latents.write_bytes(b"other")
    with pytest.raises(BundleError, match=r"other content than .*latents\.safetensors; nothing was unpacked"):
        unpack(bundle)
    assert results() == [latents]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_bundle_that_is_cut_off_is_refused(elsewhere, share):
    _, bundle = elsewhere
    content = bundle.read_bytes()
    end = len(content.rstrip(b"\0"))
    Path("cut.tar").write_bytes(content[: int(share * end)])
    with pytest.raises(BundleError, match=r"cut\.tar"):
        unpack(Path("cut.tar"))
    assert results() == []


def test_a_bundle_without_its_last_file_is_refused(elsewhere):
    study, bundle = elsewhere
    copy = rewritten(bundle, lambda manifest, members: members.popitem())
    with pytest.raises(BundleError, match=rf"cut off: it lacks results/{study.name}/work/"):
        unpack(copy)
    assert results() == []


def test_a_wrong_checksum_names_the_file(elsewhere):
    study, bundle = elsewhere
    name = f"results/{study.name}/inputs/reference/fashion.safetensors"

    def flip(manifest, members):
        members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])

    with pytest.raises(BundleError, match=r"reference/fashion\.safetensors is damaged: .* checksum"):
        unpack(rewritten(bundle, flip))
    assert results() == []


def test_a_changed_manifest_is_refused(elsewhere):
    _, bundle = elsewhere
    content = bundle.read_bytes()
    changed = content.replace(b'"study": "small"', b'"study": "smell"', 1)
    assert changed != content
    Path("changed.tar").write_bytes(changed)
    with pytest.raises(BundleError, match="seal does not match"):
        unpack(Path("changed.tar"))


def test_another_schema_version_is_refused_by_name(elsewhere):
    _, bundle = elsewhere
    copy = rewritten(bundle, lambda manifest, members: manifest.update(schema=2))
    with pytest.raises(BundleError, match=r"changed\.tar has schema 2; this version of bigain reads schema 1"):
        unpack(copy)


@pytest.mark.parametrize(
    "name", ["../out", "/tmp/out", "results/small/../../out", "results/other/out", "results/small"]
)
def test_a_path_outside_of_the_studys_folder_is_refused(elsewhere, name):
    _, bundle = elsewhere

    def add(manifest, members):
        manifest["files"][name] = {"sha256": "", "size": 0}

    with pytest.raises(BundleError, match="is not allowed; must lie in results/small"):
        unpack(rewritten(bundle, add))
    assert results() == []


def test_a_member_that_the_manifest_lacks_is_refused(elsewhere):
    _, bundle = elsewhere
    copy = rewritten(bundle, lambda manifest, members: members.update({"results/small/more": b""}))
    with pytest.raises(BundleError, match="results/small/more is not in its manifest"):
        read_bundle(copy)


def test_a_link_is_refused(elsewhere):
    _, bundle = elsewhere
    shutil.copy(bundle, "linked.tar")
    with tarfile.open("linked.tar", "a") as tar:
        link = tarfile.TarInfo("results/small/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(BundleError, match="results/small/link is not a regular file"):
        unpack(Path("linked.tar"))


def test_a_damaged_shard_is_not_exported(elsewhere):
    study, bundle = elsewhere
    unpack(bundle)
    (shard,) = work_folder(json.loads(study.job_spec(NONE, 0))).glob("images-*")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ResultError, match=f"{shard.name} is damaged"):
        export(study, Path("mine.tar"))
    assert not Path("mine.tar").exists()


def test_nothing_finished_is_nothing_to_export(elsewhere):
    study, _ = elsewhere
    with pytest.raises(ValueError, match="results/small holds no finished work"):
        export(study, Path("mine.tar"))


def test_the_commands_say_what_they_carried(elsewhere):
    _, bundle = elsewhere
    imported = CliRunner().invoke(app, ["import", str(bundle)])
    assert imported.exit_code == 0
    assert "files of small unpacked, 0 were there already" in imported.output
    exported = CliRunner().invoke(app, ["export", "--configfile", "small.yaml", "--output", "mine.tar"])
    assert exported.exit_code == 0, exported.output
    assert f"12 of {IMAGES} images" in exported.output
    assert CliRunner().invoke(app, ["import", "small.yaml"]).exit_code == 1
