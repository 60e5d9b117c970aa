"""Jobs on the embedded models: records do not depend on shards, order or resume, and damaged files are errors."""

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from bigain.backbones.devices import missing_compiler
from bigain.backbones.unet import StableDiffusion
from bigain.classifier.classify import Classifier
from bigain.core.columns import column_of
from bigain.core.provenance import checked, provenance_file, write_sealed
from bigain.core.records import canonical
from bigain.jobs.calibrate import calibrate
from bigain.jobs.classify import classify, trials_table
from bigain.jobs.encode import encode_conditions, encode_images
from bigain.jobs.generate import generate
from bigain.jobs.shards import group_after
from tests.helpers.jobs import FASHION, backbone_spec, classification
from tests.helpers.quick import in_turn
from tests.helpers.repository import ROOT
from tests.helpers.results import reseal


@pytest.fixture(autouse=True)
def _in_the_repository(root, monkeypatch):
    monkeypatch.chdir(root)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """Return a function that encodes eight images for a family, once, and returns the folder of what is encoded."""

    @functools.cache
    def encode(family):
        folder = tmp_path_factory.mktemp(family)
        common = {"backbone": backbone_spec(family), "dataset": FASHION, "threads": 1}
        encode_images(common | {"images": 8}, folder / "latents.safetensors")
        encode_conditions(common | {"captions": 40}, folder / "conditions.safetensors")
        return folder

    return encode


@pytest.fixture(params=["unet", "dit"])
def inputs(request, encoded):
    """Family, and the folder with latents and conditions of eight images."""
    return request.param, encoded(request.param)


QUICK_ON_A_DIT = pytest.mark.parametrize(
    "inputs", [pytest.param("unet", marks=pytest.mark.system), "dit"], indirect=True
)  # what does not depend on the model
ON_A_UNET = pytest.mark.parametrize("inputs", ["unet"], indirect=True)


def run(spec: dict, folder: Path, output: Path):
    classify(spec, folder / "latents.safetensors", folder / "conditions.safetensors", output)
    return pq.read_table(output).replace_schema_metadata(None)


def test_what_is_encoded_does_not_depend_on_how_much_else_is(inputs, tmp_path):
    """Latents and captions stay the same to the bit when a study gets more images."""
    family, _ = inputs
    common = {"backbone": backbone_spec(family), "dataset": FASHION}
    for count, name in ((3, "few"), (70, "many")):
        encode_images(common | {"images": count}, tmp_path / f"{name}-latents.safetensors")
        encode_conditions(common | {"captions": count}, tmp_path / f"{name}-conditions.safetensors")
    few, many = (load_file(tmp_path / f"{name}-latents.safetensors")["latents"] for name in ("few", "many"))
    assert torch.equal(many[:3], few)
    few, many = (load_file(tmp_path / f"{name}-conditions.safetensors") for name in ("few", "many"))
    of_few, of_many = (tensors["captions"][tensors["caption_of_image"][:3]] for tensors in (few, many))
    assert torch.equal(of_few, of_many)


def with_latents(folder: Path, target: Path, **tensors) -> Path:
    """Write the inputs of a job into another folder with some of the latents' tensors exchanged."""
    target.mkdir()
    for name in ("conditions.safetensors", "conditions.safetensors.json", "latents.safetensors.json"):
        shutil.copy(folder / name, target)
    save_file(load_file(folder / "latents.safetensors") | tensors, target / "latents.safetensors")
    reseal(target / "latents.safetensors")
    return target


def command(spec: dict, folder: Path, output: Path) -> list[str]:
    """The command line of the same job."""
    files = {name: folder / f"{name}.safetensors" for name in ("latents", "conditions")}
    files |= {"output": output, "info": f"{output}.json"}
    options = [part for option, file in files.items() for part in (f"--{option}", str(file))]
    return [sys.executable, "-m", "bigain", "classify", "--spec", canonical(spec), *options]


@pytest.mark.parametrize(
    ("inputs", "method"), in_turn(("unet", "dit"), ("none", "tome", "bigain_tm", "bigain_td")), indirect=["inputs"]
)
def test_records_are_bit_identical_for_any_shards_and_order(inputs, method, tmp_path):
    family, folder = inputs

    def records(name: str, images: tuple[int, int], shard: int):
        spec = classification(family, method, tmp_path / name[0], images=images, shard=shard)
        return run(spec, folder, tmp_path / f"{name}.parquet")

    whole = records("a", (0, 4), shard=4)
    assert whole.num_rows == 4 * (10 + 2)
    assert records("b", (0, 4), shard=2).equals(whole)
    assert records("c1", (2, 4), shard=2).equals(whole.slice(24))
    assert records("c0", (0, 2), shard=2).equals(whole.slice(0, 24))


@QUICK_ON_A_DIT
def test_records_are_bit_identical_for_one_two_and_seven_shards(inputs, tmp_path):
    """Seven groups of one image each."""
    family, folder = inputs

    def with_shards(shard: int):
        spec = classification(family, "bigain_tm", tmp_path / str(shard), images=(0, 7), shard=shard, block=1)
        return run(spec, folder, tmp_path / f"{shard}.parquet")

    assert with_shards(7).equals(with_shards(4))
    assert with_shards(7).equals(with_shards(1))
    assert len(list((tmp_path / "1/work").rglob("images-*"))) == 7


@QUICK_ON_A_DIT
def test_a_half_done_shard_goes_on_at_its_next_block(inputs, tmp_path, monkeypatch):
    family, folder = inputs
    spec = classification(family, "tome", tmp_path / "a", shard=8)
    blocks = []

    classify_group = Classifier.classify

    def stopping(self, images, coming, after: int):
        if len(blocks) == after:
            raise KeyboardInterrupt
        blocks.append(images.ids)
        return classify_group(self, images, coming)

    monkeypatch.setattr(Classifier, "classify", functools.partialmethod(stopping, after=3))
    with pytest.raises(KeyboardInterrupt):
        run(spec, folder, tmp_path / "a.parquet")
    assert len(list((tmp_path / "a/work").rglob("images-*"))) == 3
    assert not (tmp_path / "a.parquet").exists()
    monkeypatch.setattr(Classifier, "classify", functools.partialmethod(stopping, after=-1))
    resumed = run(spec, folder, tmp_path / "a.parquet")
    assert [len(images) for images in blocks] == [2, 2, 2, 2]
    (shard,) = (tmp_path / "a/work").rglob("images-*")
    assert shard.name.startswith("images-000000-000008-")
    info = json.loads((tmp_path / "a.parquet.json").read_text())
    assert info["images_computed"] == 2
    monkeypatch.undo()
    monkeypatch.chdir(ROOT)
    assert resumed.equals(run(spec | {"results": str(tmp_path / "b")}, folder, tmp_path / "b.parquet"))


@pytest.mark.parametrize(("inputs", "noise"), in_turn(("unet", "dit"), ("keyed", "released")), indirect=["inputs"])
def test_noise_drawn_ahead_for_the_next_group_changes_no_record(inputs, tmp_path, monkeypatch, noise):
    """As on a GPU; also after a resume, and where all images of a group are unreadable."""
    family, folder = inputs
    latents = with_latents(folder, tmp_path / "damaged", unreadable=torch.tensor([4, 5, 6]))

    def records(name: str):
        spec = classification(family, "none", tmp_path / name, shard=4)
        spec["protocol"] |= {"noise": noise}
        return run(spec, latents, tmp_path / f"{name}.parquet")

    plain = records("a")
    monkeypatch.setattr(Classifier, "draws_ahead", True)
    assert records("b").equals(plain)
    for file in (tmp_path / "b/work").rglob("images-000004-*"):
        file.unlink()
    assert records("b").equals(plain)


def test_the_group_after_another_is_that_of_the_job(tmp_path):
    spec = classification("unet", "none", tmp_path, images=(2, 9), shard=5, block=3)
    groups = [[2, 3, 4]]
    while following := group_after(groups[-1], spec):
        groups.append(following)
    assert groups == [[2, 3, 4], [5, 6], [7, 8]]


@QUICK_ON_A_DIT
def test_what_it_took_and_where_is_kept_over_resumes(inputs, tmp_path, monkeypatch):
    family, folder = inputs
    spec = classification(family, "none", tmp_path, shard=2)
    monkeypatch.setattr("bigain.jobs.shards.environment_of", lambda _: {"device": "an old one"})
    run(spec | {"images": [0, 4]}, folder, tmp_path / "a.parquet")
    before = json.loads((tmp_path / "a.parquet.json").read_text())
    monkeypatch.setattr("bigain.jobs.shards.environment_of", lambda _: {"device": "a new one"})
    run(spec, folder, tmp_path / "b.parquet")
    info = json.loads((tmp_path / "b.parquet.json").read_text())
    assert info["environments"] == [{"device": "an old one"}, {"device": "a new one"}]
    assert info["seconds"] > before["seconds"] > 0
    assert info["images_computed"] == 4


@QUICK_ON_A_DIT
def test_a_shard_of_other_inputs_is_not_used(inputs, tmp_path):
    """Images whose latents changed under the same spec are computed again."""
    family, folder = inputs
    spec = classification(family, "none", tmp_path, shard=2)
    first = run(spec, folder, tmp_path / "a.parquet")
    latents = load_file(folder / "latents.safetensors")["latents"]
    latents[3] *= 0.5
    second = run(spec, with_latents(folder, tmp_path / "other", latents=latents), tmp_path / "b.parquet")
    assert not second.slice(24, 24).equals(first.slice(24, 24))
    assert second.slice(48).equals(first.slice(48))
    assert json.loads((tmp_path / "b.parquet.json").read_text())["images_computed"] == 2


@pytest.mark.system
def test_two_processes_at_the_same_work_do_not_disturb_each_other(inputs, tmp_path):
    """A job whose workflow was killed may still be writing when the next one starts."""
    family, folder = inputs
    spec = classification(family, "tome", tmp_path / "both", shard=4)
    alone = run(spec | {"results": str(tmp_path / "alone")}, folder, tmp_path / "alone.parquet")
    names = ("one", "two")
    jobs = [subprocess.Popen(command(spec, folder, tmp_path / f"{name}.parquet"), cwd=ROOT) for name in names]
    assert [job.wait(timeout=200) for job in jobs] == [0, 0]
    for name in names:
        assert pq.read_table(tmp_path / f"{name}.parquet").replace_schema_metadata(None).equals(alone)
    shards = [file.name.split("-")[1:3] for file in (tmp_path / "both/work").rglob("images-*")]  # of one or both
    assert {tuple(images) for images in shards} == {("000000", "000004"), ("000004", "000008")}


@pytest.mark.parametrize(("inputs", "method"), in_turn(("unet", "dit"), ("dip_go", "mosaicdiff")), indirect=["inputs"])
def test_structural_methods_are_calibrated_and_record_the_same_for_any_shards(inputs, root, method, tmp_path):
    family, folder = inputs
    data = {"id": "c", "reader": "fashion", "path": str(root / "resources/fashion-calibration"), "data": "-"}
    stages = {"stages": [1, 4], "keep": [2, 1]}
    calibration = {
        "backbone": backbone_spec(family),
        "dataset": data,
        "method": method,
        "reduction": 10,
        "seed": 0,
        "threads": 1,
        "images": 4,
        "updates": 1,
        "protocol": stages,
    }
    files = [tmp_path / "a/calibration.safetensors", tmp_path / "b/calibration.safetensors"]
    for file in files[: 2 if family == "unet" else 1]:
        calibrate(calibration, file)
    assert family == "dit" or files[0].read_bytes() == files[1].read_bytes()

    def classified(name, **changes):
        spec = classification(family, method, tmp_path / name, **changes)
        spec["protocol"] |= stages
        return run(
            spec | {"calibration": {"file": str(files[0]), "spec": calibration}}, folder, tmp_path / f"{name}.parquet"
        )

    whole = classified("whole", images=(0, 4), shard=4)
    assert whole.equals(classified("shards", images=(0, 4), shard=2))
    assert whole.slice(2 * 16).equals(classified("part", images=(2, 4), shard=2))
    compressed = json.loads((tmp_path / "whole.parquet.json").read_text())["compressed"]
    assert {row["unit"] for row in compressed} == ({"step"} if method == "dip_go" else {"head", "neuron"})
    assert any(row["kept"] < row["tokens"] for row in compressed)


@QUICK_ON_A_DIT
def test_released_noise_depends_on_an_images_place_not_on_shards(inputs, tmp_path):
    """One stream in the data set's order: a job on the last images draws the same for them as a job on all images."""
    family, folder = inputs

    def released(name: str, **more):
        spec = classification(family, "none", tmp_path / name, **more)
        spec["protocol"] = spec["protocol"] | {"noise": "released", "loss": "huber"}
        return run(spec, folder, tmp_path / f"{name}.parquet")

    whole, second = released("a", shard=8), released("b", images=(4, 8), shard=2)
    assert second.equals(whole.slice(len(whole) - len(second)))
    keyed = run(classification(family, "none", tmp_path / "c"), folder, tmp_path / "c.parquet")
    assert not keyed["error"].equals(whole["error"])


@QUICK_ON_A_DIT
def test_images_that_could_not_be_read_are_left_out(inputs, tmp_path):
    family, folder = inputs
    whole = run(classification(family, "tome", tmp_path / "a"), folder, tmp_path / "a.parquet")
    others = with_latents(folder, tmp_path / "damaged", unreadable=torch.tensor([2, 3, 5]))
    left = run(classification(family, "tome", tmp_path / "b"), others, tmp_path / "b.parquet").to_pandas()
    ids = whole["image"].unique().to_pylist()
    assert left["image"].unique().tolist() == [ids[k] for k in (0, 1, 4, 6, 7)]
    same = whole.to_pandas().set_index(["image", "class", "t"])["error"]
    first = left[left["image"].isin(ids[:2])].set_index(["image", "class", "t"])["error"]
    assert (same.loc[first.index] == first).all()  # a block without unreadable images is the same to the bit


@QUICK_ON_A_DIT
def test_a_changed_setting_never_meets_an_old_shard(inputs, tmp_path):
    family, folder = inputs
    first = run(classification(family, "none", tmp_path), folder, tmp_path / "a.parquet")
    second = run(classification(family, "none", tmp_path) | {"seed": 1}, folder, tmp_path / "b.parquet")
    assert not first.equals(second)


@QUICK_ON_A_DIT
def test_a_truncated_shard_is_an_error_that_names_it(inputs, tmp_path):
    family, folder = inputs
    run(classification(family, "none", tmp_path), folder, tmp_path / "a.parquet")
    shard = next((tmp_path / "work").rglob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:100])
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(ValueError, match=shard.name):
        run(classification(family, "none", tmp_path), folder, tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()


def test_generation_records_features_and_the_first_images(inputs, root, tmp_path):
    family, folder = inputs
    weights = str(root / "resources/fashion-net/fashion-net.safetensors")
    network = {"name": "fashion-net", "weights": weights, "sha256": "-"}
    protocol = {"steps": 2, "guidance": 2.0, "keep_images": 3, "encoding": "float", "feature_network": network}

    def generated(name: str, shard: int):
        spec = classification(family, "bigain_td", tmp_path / name, images=(0, 8), shard=shard)
        spec |= {"task": "generation", "protocol": protocol}
        output = tmp_path / f"{name}.safetensors"
        generate(spec, folder / "conditions.safetensors", output)
        return load_file(output)

    one_shard, many_shards = generated("one_shard", 8), generated("many_shards", 2)
    assert one_shard["features"].shape == (8, 64)
    assert one_shard["images"].shape == (3, 1, 32, 32)
    assert all(torch.equal(one_shard[name], many_shards[name]) for name in one_shard)


def test_missing_and_damaged_models_are_named(inputs, tmp_path):
    family, folder = inputs
    spec = classification(family, "none", tmp_path)
    spec["backbone"]["path"] = "resources/nowhere"
    with pytest.raises(FileNotFoundError, match=r"resources/nowhere/model_index\.json is missing"):
        run(spec, folder, tmp_path / "a.parquet")


def small_memory(monkeypatch, rows):
    """Simulate a device whose memory holds this many rows."""
    predict = StableDiffusion.predict

    def limited(self, x_t, t, conditions):
        if len(x_t) > rows:
            raise torch.OutOfMemoryError("made up")
        return predict(self, x_t, t, conditions)

    monkeypatch.setattr(StableDiffusion, "predict", limited)


@ON_A_UNET
def test_out_of_memory_names_the_setting_to_lower(inputs, tmp_path, monkeypatch):
    family, folder = inputs
    small_memory(monkeypatch, 5)
    with pytest.raises(ValueError, match="a batch of 7 rows does not fit into the memory of cpu: set `classif"):
        run(classification(family, "none", tmp_path), folder, tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()


@ON_A_UNET
def test_the_smaller_batch_is_used_where_allowed_and_recorded(inputs, tmp_path, monkeypatch):
    """Records equal those of a study that uses the smaller batch from the start."""
    family, folder = inputs
    small = classification(family, "none", tmp_path / "small")
    small["protocol"]["batch"] = 4
    run(small, folder, tmp_path / "small.parquet")
    small_memory(monkeypatch, 5)
    spec = classification(family, "none", tmp_path / "own")
    spec["protocol"]["smaller_batch"] = 4
    run(spec, folder, tmp_path / "own.parquet")
    info = json.loads((tmp_path / "own.parquet.json").read_text())
    assert [environment["batch"] for environment in info["environments"]] == [4]
    assert pq.read_table(tmp_path / "own.parquet").equals(pq.read_table(tmp_path / "small.parquet"))
    spec["protocol"]["smaller_batch"] = 6
    with pytest.raises(ValueError, match="a batch of 6 rows does not fit"):
        run(spec | {"results": str(tmp_path / "again")}, folder, tmp_path / "again.parquet")


@QUICK_ON_A_DIT
def test_without_a_compiler_a_job_runs_as_it_is_and_says_so(inputs, tmp_path, monkeypatch):
    family, folder = inputs
    spec = classification(family, "none", tmp_path)
    run(spec, folder, tmp_path / "plain.parquet")
    monkeypatch.setattr("bigain.backbones.devices.missing_compiler", lambda device: "no C++ compiler")
    spec = spec | {"backbone": spec["backbone"] | {"compile": "default"}, "results": str(tmp_path / "other")}
    inputs = shutil.copytree(folder, tmp_path / "inputs")
    for file in (inputs / "latents.safetensors", inputs / "conditions.safetensors"):  # encoded under the same config
        provenance = checked(file)
        write_sealed(provenance_file(file), provenance | {"spec": provenance["spec"] | {"backbone": spec["backbone"]}})
    run(spec, inputs, tmp_path / "asked.parquet")
    info = json.loads((tmp_path / "asked.parquet.json").read_text())
    assert [environment["compile"] for environment in info["environments"]] == ["off: no C++ compiler"]
    assert pq.read_table(tmp_path / "asked.parquet").equals(pq.read_table(tmp_path / "plain.parquet"))


def test_a_missing_compiler_is_noticed(monkeypatch):
    from torch._inductor.exc import InvalidCxxCompiler

    def none():
        raise InvalidCxxCompiler

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", none)
    assert missing_compiler(torch.device("cpu")) == "no C++ compiler"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert missing_compiler(torch.device("cuda")) == "no Triton"


def test_columns_of_trials_carry_their_descriptions():
    fields = trials_table([]).schema
    assert fields.names == ["image", "class", "t", "stage", "error"]
    assert fields.field("t").metadata[b"description"] == str(column_of("trials", "t")).encode()
