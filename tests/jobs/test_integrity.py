"""A number that is shown is the number that was computed: damaged, edited and exchanged results are refused."""

import json
import random
import shutil
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from bigain.core.provenance import as_input, checked, digest, read_sealed, write_sealed
from bigain.core.records import read_table, work_folder
from bigain.core.validation import TRIALS, read_columns, read_features
from bigain.jobs.collect import collect
from bigain.jobs.inputs import calibration_input, shared_input
from bigain.jobs.score import score_classification
from bigain.jobs.score_generation import score_generation
from bigain.reporting.collected import read_cells, read_measurements, read_results
from bigain.reporting.timestep_profiles import read_rows
from bigain.study.products import examine, products
from tests.helpers.mutations import refusal
from tests.helpers.small_study import MadeUpJob, small_study, write_study

NONE = "classification/mini_dit/fashion/none/full/seed-0"
OURS = "classification/mini_dit/fashion/bigain_tm/ratio-0.5/seed-0"
SCENES = "classification/mini_unet/fashion_scenes/bigain_td/factor-2/seed-0"
GENERATED = "generation/mini_unet/fashion/bigain_td/factor-2/seed-0"
FLIPS = 400


@pytest.fixture(scope="module")
def written(root, tmp_path_factory):
    """The study, and a folder with its made-up results and the shards of two cells."""
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study = small_study(root, folder)
        write_study(study)
        for path in (NONE, OURS):
            MadeUpJob(study, path).shard()
    return study, folder


@pytest.fixture
def study(written, tmp_path, monkeypatch):
    """The study in a copy of its folder."""
    study, folder = written
    shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return study


def cell_file(study, path, name="chunk-0.parquet"):
    return Path(study.results, "cells", path, name)


def score(study, path):
    """Score a cell as the workflow does."""
    spec, chunks = json.loads(study.score_spec(path)), [Path(file) for file in study.chunk_files(study.cell(path))]
    output = cell_file(study, path, "metrics.json")
    if study.cell(path).task == "classification":
        score_classification(spec, chunks, output)
    else:
        score_generation(spec, Path(study.results, "inputs/reference/fashion.safetensors"), chunks, output)


def collected(study):
    """Collect the study and read the results and the cells of its report."""
    file = Path(study.results, "results.parquet")
    collect(json.loads(study.collect_spec()), Path(study.results, "cells"), file)
    spec = json.loads(study.report_spec())
    return read_results(file, spec), read_cells(file, spec)


def refused(call, *names, state=None):
    """Check that a call is refused with a message that has all of these names."""
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        call()
    assert all(str(name) in str(raised.value) for name in names), raised.value
    if state is not None:
        assert raised.value.state == state


# -- chunks ------------------------------------------------------------------------------------------------------------


def test_the_chunk_of_another_cell_is_refused_and_both_are_named(study):
    for name in ("chunk-0.parquet", "chunk-0.parquet.json"):
        shutil.copy(cell_file(study, NONE, name), cell_file(study, OURS, name))
    chunk, of_none = cell_file(study, OURS), "was computed for classification, mini_dit, fashion, none, seed 0"
    before = cell_file(study, OURS, "metrics.json").read_bytes()
    refused(lambda: score(study, OURS), chunk, "bigain_tm/ratio-0.5", of_none, state="outdated")
    assert cell_file(study, OURS, "metrics.json").read_bytes() == before


def test_a_chunk_without_its_provenance_is_refused(study):
    shutil.copy(cell_file(study, NONE), cell_file(study, OURS))
    refused(lambda: score(study, OURS), cell_file(study, OURS), "damaged or was replaced", state="damaged")
    cell_file(study, OURS, "chunk-0.parquet.json").unlink()
    refused(lambda: score(study, OURS), "chunk-0.parquet.json is missing", state="missing")


def test_the_other_chunk_of_the_same_cell_is_refused(study):
    for name in ("chunk-1.parquet", "chunk-1.parquet.json"):
        shutil.copy(cell_file(study, OURS, name), cell_file(study, OURS, name.replace("1", "0")))
    refused(lambda: score(study, OURS), cell_file(study, OURS), state="outdated")


def test_a_chunk_of_other_latents_is_refused(study):
    """Their spec is another, though the chunk's own is the study's."""
    chunk = cell_file(study, OURS)
    provenance = read_sealed(f"{chunk}.json")
    provenance["inputs"]["latents"] |= {"spec": "0" * 16, "sha256": "0" * 64}
    write_sealed(f"{chunk}.json", provenance)
    refused(lambda: score(study, OURS), chunk, "computed from latents of other settings or code", state="outdated")
    del provenance["inputs"]["latents"]
    write_sealed(f"{chunk}.json", provenance)
    refused(lambda: score(study, OURS), chunk, "computed from latents of other settings or code", state="outdated")


def test_a_reference_of_other_settings_is_refused(study):
    spec, output = json.loads(study.score_spec(GENERATED)), cell_file(study, GENERATED, "metrics.json")
    reference = Path(study.results, "inputs/reference/fashion.safetensors")
    chunks = [Path(file) for file in study.chunk_files(study.cell(GENERATED))]
    score_generation(spec, reference, chunks, output)
    refused(
        lambda: score_generation(spec | {"reference": "0" * 16}, reference, chunks, output), reference, state="outdated"
    )
    shutil.copy(chunks[0], reference)
    refused(lambda: score(study, GENERATED), reference, "damaged or was replaced", state="damaged")


# -- shards ------------------------------------------------------------------------------------------------------------


def shard_of(study, path):
    (shard,) = work_folder(json.loads(study.job_spec(path, 0))).glob("images-*")
    return shard


def reversed_errors(table):
    errors = pa.array(table["error"].to_pylist()[::-1], pa.float32())
    return table.set_column(table.column_names.index("error"), "error", errors)


def test_a_shard_is_read_and_not_computed_again(study):
    job = MadeUpJob(study, OURS)
    assert job.shard().equals(read_table(cell_file(study, OURS)).replace_schema_metadata(None))
    assert job.computed == []
    shard_of(study, OURS).unlink()
    assert job.shard().equals(read_table(cell_file(study, OURS)).replace_schema_metadata(None))
    assert job.computed == [[0, 1, 2], [3, 4, 5]]


def test_a_shard_with_reversed_errors_is_refused_under_its_old_name(study):
    shard, job = shard_of(study, OURS), MadeUpJob(study, OURS)
    table, metadata = job.format.read(shard)
    changed = reversed_errors(table)
    assert not changed.equals(table)
    job.format.write(shard, changed, metadata)
    refused(job.shard, shard, "is damaged: its content does not match the digest in its name")


def test_the_shard_of_another_cell_is_refused_and_named(study):
    """Of the same images and inputs, so that it has the same name but for its content."""
    theirs, ours = shard_of(study, NONE), shard_of(study, OURS)
    assert theirs.name.rpartition("-")[0] == ours.name.rpartition("-")[0]
    ours.unlink()
    copy = Path(shutil.copy(theirs, ours.parent))
    refused(MadeUpJob(study, OURS).shard, copy, "holds classification, mini_dit, fashion, none, seed 0")


def test_a_shard_that_another_process_has_just_joined_is_computed(study, monkeypatch):
    job, shard = MadeUpJob(study, OURS), shard_of(study, OURS)
    expected = job.shard()
    shard.unlink()
    monkeypatch.setattr("bigain.jobs.shards.content_named_files", lambda path: [shard])
    assert job.shard().equals(expected)
    assert job.computed == [[0, 1, 2, 3, 4, 5]]


# -- metrics and what is collected -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), [('"value": ', '"value": 1'), ('"acc@1": [', '"acc@2": ['), ("mini_dit", "u")])
def test_metrics_edited_by_hand_are_not_collected(study, old, new):
    metrics = cell_file(study, OURS, "metrics.json")
    text = metrics.read_text()
    assert old in text
    metrics.write_text(text.replace(old, new, 1))
    refused(lambda: collected(study), metrics, "was changed after it was written", state="damaged")


def test_the_metrics_of_another_cell_are_not_collected(study):
    metrics = Path(shutil.copy(cell_file(study, NONE, "metrics.json"), cell_file(study, OURS, "metrics.json")))
    refused(lambda: collected(study), metrics, state="outdated")


def edit_table(file):
    """Change one number of a parquet file as an editor would, its metadata kept."""
    table = read_table(file)
    name = "value" if "value" in table.column_names else "acc@1"
    changed = pc.subtract(100 if name == "value" else 1, table[name]).cast(table[name].type)
    pq.write_table(table.set_column(table.column_names.index(name), name, changed), file)


@pytest.mark.parametrize("name", ["results.parquet", "images.parquet", "cells.json"])
def test_collected_results_edited_by_hand_are_not_shown(study, name):
    file, spec = Path(study.results, name), json.loads(study.report_spec())
    if name == "cells.json":
        file.write_text(file.read_text().replace('"value": ', '"value": 1', 1))
    else:
        edit_table(file)
    read = read_results if name == "results.parquet" else read_cells
    refused(lambda: read(file.with_name("results.parquet"), spec), file, state="damaged")


@pytest.mark.parametrize("name", ["results.parquet", "images.parquet", "cells.json"])
def test_results_of_another_config_are_not_shown(study, name):
    results, spec = Path(study.results, "results.parquet"), json.loads(study.report_spec())
    now = json.loads(study.collect_spec())
    read = read_results if name == "results.parquet" else read_cells
    file = Path(study.results, name)
    if name == "cells.json":
        write_sealed(file, read_sealed(file) | {"spec": now | {"config": "another"}})
    else:
        write_sealed(f"{file}.json", read_sealed(f"{file}.json") | {"spec": now | {"config": "another"}})
    refused(lambda: read(results, spec), file, state="outdated")


def test_what_is_shown_is_what_the_metrics_files_hold(study):
    """Cells in the config's order, with strengths of either type, and only the outcomes that they have."""
    results, cells = collected(study)
    scored = [read_sealed(cell_file(study, path, "metrics.json")) for path in (cell.path for cell in study.cells)]
    assert [cell["cell"] for cell in cells] == [metrics["cell"] for metrics in scored]
    kept = ("cell", "metrics", "items", "left_out", "seconds", "environments", "compressed")
    for cell, metrics in zip(cells, scored, strict=True):
        assert {key: cell[key] for key in kept} == {key: metrics[key] for key in kept}
        assert cell.get("classes") == metrics.get("classes")
        assert {name: list(map(type, values)) for name, values in cell["items"].items()} == {
            name: list(map(type, values)) for name, values in metrics["items"].items()
        }
    items = {cell["cell"]["method"]: set(cell["items"]) for cell in cells if cell["cell"]["task"] == "classification"}
    assert items["none"] == items["bigain_tm"] == {"image", "label", "predicted", "acc@1"}
    assert items["bigain_td"] == {"image", "map", "map_released", "predicted", "acc@1"}
    assert [cell["cell"]["strength"] for cell in cells] == [cell.strength for cell in study.cells]
    assert {type(cell.strength) for cell in study.cells} == {float, int, type(None)}
    values = {
        (*(metrics["cell"][key] for key in ("task", "method")), name): estimate["value"]
        for metrics in scored
        for name, estimate in metrics["metrics"].items()
    }
    shown = results.set_index(["task", "method", "metric"])["value"].to_dict()
    assert shown == values
    assert len(shown) == 2 * 2 + 4 + 2 * 3


# -- inputs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 7}, "threads 1 instead of 7"),
        ({"backbone": {"weights": "abc"}}, "backbone.weights WEIGHTS instead of abc"),
        ({"backbone": {"dtype": "float16"}}, "backbone.dtype float32 instead of float16"),
        ({"backbone": {"id": "mini_unet"}}, "backbone.id mini_dit instead of mini_unet"),
        ({"dataset": {"id": "other"}}, "dataset.id fashion instead of other"),
        ({"dataset": {"data": "abc"}}, "dataset.data DATA instead of abc"),
    ],
)
@pytest.mark.parametrize("name", ["latents", "conditions"])
def test_inputs_of_another_model_data_set_or_number_of_threads_are_refused(study, name, change, message):
    file = Path(study.results, "inputs/mini_dit/fashion", f"{name}.safetensors")
    spec = json.loads(study.job_spec(OURS, 0))
    record = shared_input(file, spec)
    assert record == {"file": str(file), "spec": record["spec"], "sha256": checked(file)["sha256"]}
    message = message.replace("WEIGHTS", spec["backbone"]["weights"]).replace("DATA", spec["dataset"]["data"])
    for key, value in change.items():
        spec[key] = spec[key] | value if isinstance(value, dict) else value
    refused(lambda: shared_input(file, spec), file, f"was computed with {message}", state="foreign")


def test_keys_that_only_a_job_has_are_not_asked_of_its_inputs(study):
    file, spec = Path(study.results, "inputs/mini_dit/fashion/latents.safetensors"), json.loads(study.job_spec(OURS, 0))
    assert "blocks" not in read_sealed(f"{file}.json")["spec"]["backbone"]
    assert shared_input(file, spec | {"backbone": spec["backbone"] | {"blocks": [1]}}) == shared_input(file, spec)


def test_a_calibration_of_another_spec_or_that_was_changed_is_refused(study):
    file = Path(study.results, "inputs/mini_dit/fashion/latents.safetensors")  # any result file will do
    spec = read_sealed(f"{file}.json")["spec"]
    job = {"calibration": {"file": str(file), "spec": spec}}
    assert calibration_input(job) == {"calibration": as_input(file, checked(file))}
    assert calibration_input({}) == {}
    other = {"calibration": {"file": str(file), "spec": spec | {"images": 13}}}
    refused(lambda: calibration_input(other), file, "computed with images 12 instead of 13", state="outdated")
    other["calibration"]["spec"] = spec | {"dataset": spec["dataset"] | {"id": "d"}}
    refused(lambda: calibration_input(other), file, "holds mini_dit, fashion, not mini_dit, d", state="foreign")
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    refused(lambda: calibration_input(job), file, state="damaged")


# -- bits --------------------------------------------------------------------------------------------------------------


def readers(study):
    """Return every file of the study by the function that reads it and returns all of its content that is used."""
    root, report = Path(study.results), json.loads(study.report_spec())
    job = json.loads(study.job_spec(OURS, 0))
    read = {}

    def chunk(path, file, number):
        provenance = checked(file, digest(study.job_spec(path, number)))
        is_table = file.suffix == ".parquet"
        return provenance, read_columns(file, TRIALS).to_pydict() if is_table else read_features(file)[
            "features"
        ].tolist()

    for cell in study.cells:
        for number, file in enumerate(map(Path, study.chunk_files(cell))):
            read[file] = partial(chunk, cell.path, file, number)
    for name in ("latents", "conditions"):
        file = root / f"inputs/mini_dit/fashion/{name}.safetensors"
        read[file] = lambda file=file: (shared_input(file, job), load_file(file)[name_of(file)].tolist())
    reference = root / "inputs/reference/fashion.safetensors"
    read[reference] = lambda: (
        checked(reference, digest(study.reference_spec("fashion"))),
        {name: values.tolist() for name, values in read_features(reference, with_statistics=True).items()},
    )
    measured = root / "efficiency/mini_dit.csv"
    read[measured] = lambda: (checked(measured), read_measurements([measured], report).to_dict("list"))
    results = root / "results.parquet"
    read[results] = lambda: (checked(results), read_results(results, report).to_csv())
    timesteps = root / "timesteps/mini_dit/fashion.parquet"
    read[timesteps] = lambda: (checked(timesteps), read_rows([timesteps]).to_csv())
    read[root / "images.parquet"] = lambda: (checked(root / "images.parquet"), read_cells(results, report))
    for file in list(read):
        read[Path(f"{file}.json")] = read[file]
    read[root / "cells.json"] = lambda: read_cells(results, report)
    for file in map(Path, study.score_files()):
        read[file] = partial(read_sealed, file)
    for path in (NONE, OURS):
        read[shard_of(study, path)] = lambda path=path: shard_content(study, path)
    return read


def name_of(file):
    return file.name.partition(".")[0]


def shard_content(study, path):
    job = MadeUpJob(study, path)
    content = job.shard().to_pydict()
    assert job.computed == []
    return content


def test_no_single_bit_changes_a_number(study):
    """Random flips, over every file: its reader refuses it by its name or returns exactly what it returned before."""
    draw, read = random.Random(0), readers(study)
    before = {file: reader() for file, reader in read.items()}
    on_disk = {file for file in Path(study.results).rglob("*") if file.is_file()}
    assert {file for file in on_disk if file not in read and "mini_unet" not in str(file)} == set()
    outcomes = {"refused": 0, "harmless": 0}
    for number in range(FLIPS):
        file = list(read)[number % len(read)]
        whole = file.read_bytes()
        changed, place = bytearray(whole), draw.randrange(len(whole))
        changed[place] ^= 1 << draw.randrange(8)
        file.write_bytes(changed)
        contents: list = []
        message = refusal(lambda file=file, contents=contents: contents.append(read[file]()), ValueError)
        if message is None:
            assert contents == [before[file]], (file, place)
        else:
            assert str(file).removesuffix(".json") in message
        outcomes["harmless" if message is None else "refused"] += 1
        file.write_bytes(whole)
    assert sum(outcomes.values()) == FLIPS
    assert outcomes["refused"] > 0.9 * FLIPS


@pytest.mark.parametrize(("content", "state"), [(None, "missing"), (b"PAR1", "damaged")])
def test_an_unsealed_result_that_is_lost_or_damaged_is_a_finding(study, content, state):
    chunk = cell_file(study, OURS)
    Path(f"{chunk}.json").write_text("{}")
    chunk.unlink()
    if content is not None:
        chunk.write_bytes(content)
    (finding,) = [examine(product) for product in products(study) if product.file == chunk]
    assert (finding.file, finding.state) == (chunk, state)
    assert str(chunk) in finding.message
