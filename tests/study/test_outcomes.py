"""The committed outcomes of a study: what they hold, of which cells, and what is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from bigain.cli.main import app
from bigain.core.files import read_json
from bigain.core.provenance import ResultError, digest, write_sealed
from bigain.core.records import embedded_spec
from bigain.reporting.collected import read_cells, read_measurements, read_results, verified
from bigain.reporting.commands import rendered_files, tables_in_order
from bigain.study import publishing
from bigain.study.outcomes import NAME, Outcomes, OutcomesError
from tests.helpers.small_study import small_study, write_study

NONE = "classification/mini_dit/fashion/none/full/seed-0"
FOLDER = Path("docs/small/outcomes")


@pytest.fixture(scope="module")
def written(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study = small_study(root, folder)
        write_study(study)
    return study, folder


@pytest.fixture
def study(written, tmp_path, monkeypatch):
    """The finished study, but for its probes, in a copy of its folder."""
    study, folder = written
    shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return study


def write(*, succeeds: bool = True) -> str:
    completed = CliRunner().invoke(app, ["outcomes", str(FOLDER), "--configfile", "small.yaml"])
    assert (completed.exit_code == 0) == succeeds, completed.output
    return completed.output


def reseal(**changes) -> None:
    content = read_json(FOLDER / NAME)
    content.pop("seal")
    write_sealed(FOLDER / NAME, content | changes)


def test_collected_results_are_those_of_the_study(study):
    assert "5 of 5 cells" in write()
    for name in ("results.parquet", "images.parquet", "cells.json"):
        assert (FOLDER / name).read_bytes() == Path(study.results, name).read_bytes()


def test_a_report_reads_the_outcomes_as_it_reads_the_study(study):
    write()
    shutil.rmtree("results")
    Path("resources").unlink()
    outcomes = Outcomes(str(FOLDER))
    spec, results = json.loads(outcomes.report_spec()), FOLDER / "results.parquet"
    assert set(read_results(results, spec)["metric"]) >= {"acc@1", "fd"}
    assert len(read_cells(results, spec)) == len(outcomes.cells) == len(study.cells)
    assert len(read_measurements([FOLDER / f"efficiency/{name}.csv" for name in outcomes.backbones()], spec)) == 2
    assert outcomes.reports == "docs/small"


def test_a_report_of_a_finished_study_differs_in_its_files_alone(study):
    write()
    shown, whole = (json.loads(spec.report_spec()) for spec in (Outcomes(str(FOLDER)), study))
    lacking = {f"{study.results}/{Path(file).relative_to(FOLDER)}": spec for file, spec in shown.pop("files").items()}
    assert lacking.items() <= whole.pop("files").items()
    assert (shown.pop("shown_cells"), shown.pop("planned_cells")) == (5, 5)
    assert [text.partition(":")[0] for text in shown.pop("not_shown")] == [
        "spectrum.parquet of mini_dit on fashion",
        "tokens.safetensors of mini_dit on fashion",
    ]
    assert shown == whole | {"probed": False}


def test_accuracy_at_single_timesteps_is_shown_from_the_outcomes_where_it_is_finished(study):
    write()
    outcomes = Outcomes(str(FOLDER))
    (file,) = outcomes.timestep_files()
    spec = json.loads(outcomes.report_spec())
    assert verified(Path(file), spec).read_bytes() == Path(*study.timestep_files()).read_bytes()
    assert {"timesteps.html", "timesteps.png"} <= set(rendered_files(outcomes, "report.tex"))


def test_accuracy_at_single_timesteps_that_is_not_finished_is_named_and_not_run(study):
    Path(*study.timestep_files()).unlink()
    assert "not shown: accuracy by timestep of mini_dit on fashion: results/small/timesteps/mini_dit/" in write()
    outcomes = Outcomes(str(FOLDER))
    assert outcomes.timestep_files() == []
    assert "timesteps" in tables_in_order(outcomes)


def test_outcomes_of_before_single_timesteps_were_scored_are_rendered_as_they_were(study):
    write()
    content = read_json(FOLDER / NAME)
    del content["report"]["timesteps"]
    reseal(report=content["report"])
    outcomes = Outcomes(str(FOLDER))
    assert outcomes.timestep_files() is None
    assert "timesteps" not in tables_in_order(outcomes)
    assert not [name for name in rendered_files(outcomes, "report.tex") if name.startswith("timesteps")]


def test_only_finished_cells_are_in_the_outcomes(study):
    Path(study.results, "cells", NONE, "metrics.json").unlink()
    assert "4 of 5 cells" in write()
    outcomes = Outcomes(str(FOLDER))
    assert [cell.path for cell in outcomes.cells] == [cell.path for cell in study.cells if cell.path != NONE]
    spec = json.loads(outcomes.report_spec())
    assert (spec["shown_cells"], spec["planned_cells"]) == (4, 5)
    cells = read_results(FOLDER / "results.parquet", spec)
    assert set(cells[cells["backbone"] == "mini_dit"]["method"]) == {"bigain_tm"}


def test_collected_results_name_the_specs_of_the_finished_cells(study):
    Path(study.results, "cells", NONE, "metrics.json").unlink()
    write()
    cells = dict(embedded_spec(FOLDER / "results.parquet")["cells"])
    assert cells == {cell.path: digest(study.score_spec(cell.path)) for cell in study.cells if cell.path != NONE}


def test_a_study_without_a_finished_cell_has_no_outcomes(study):
    shutil.rmtree(Path(study.results, "cells"))
    assert "results/small: no cell of small is finished and scored" in write(succeeds=False)
    assert not FOLDER.exists()


def test_missing_measurements_are_named_with_the_command_that_makes_them(study):
    Path(study.results, "efficiency/mini_dit.csv").unlink()
    assert (
        "is missing, and most tables show it: `snakemake --cores 1 results/small/efficiency/mini_dit.csv` with"
        in write(succeeds=False)
    )
    assert not FOLDER.exists()


def test_damaged_metrics_are_refused(study):
    metrics = Path(study.results, "cells", NONE, "metrics.json")
    metrics.write_text(metrics.read_text().replace('"n": 12', '"n": 13'))
    assert "metrics.json was changed after it was written" in write(succeeds=False)


def test_generated_images_that_do_not_fit_are_left_out_and_named(study, monkeypatch):
    without = sum(file.stat().st_size for file in Path(study.results).iterdir() if file.is_file())
    monkeypatch.setattr(publishing, "LARGEST", without)
    assert "not shown: sample sheet of mini_unet on fashion: 0.0 MB, too large to be kept here" in write()
    outcomes = Outcomes(str(FOLDER))
    assert outcomes.sheets() == {}
    assert not (FOLDER / "cells").exists()


def test_sample_sheets_have_a_row_per_generating_cell(study):
    write()
    (sheet,) = Outcomes(str(FOLDER)).sheets().values()
    chunks = [Path(study.chunk_files(cell)[0]) for cell in study.cells if cell.task == "generation"]
    assert [Path(file).relative_to(FOLDER) for file in sheet] == [file.relative_to(study.results) for file in chunks]


def test_every_file_has_its_columns_in_the_data_dictionary(study):
    write()
    text = (FOLDER / "README.md").read_text()
    assert all(f"\n### {kind}\n" in text for kind in publishing.DESCRIBED)
    assert "\n### figure1\n" not in text


def test_a_wrong_checksum_names_the_file(study):
    write()
    images = FOLDER / "images.parquet"
    images.write_bytes(images.read_bytes()[:-1] + b"x")
    with pytest.raises(OutcomesError, match=r"images\.parquet is damaged: .* checksum of outcomes\.json"):
        Outcomes(str(FOLDER))


def test_a_missing_file_is_named(study):
    write()
    (FOLDER / "efficiency/mini_dit.csv").unlink()
    with pytest.raises(OutcomesError, match=r"efficiency/mini_dit\.csv is missing"):
        Outcomes(str(FOLDER))


def test_edited_outcomes_are_refused(study):
    write()
    (FOLDER / NAME).write_text((FOLDER / NAME).read_text().replace('"planned_cells": 5', '"planned_cells": 4'))
    with pytest.raises(ResultError, match="seal does not match"):
        Outcomes(str(FOLDER))


def test_another_schema_version_is_refused_by_name(study):
    write()
    reseal(schema=2)
    with pytest.raises(OutcomesError, match=r"outcomes\.json has schema 2; this version of bigain reads schema 1"):
        Outcomes(str(FOLDER))


def test_a_cell_that_the_config_lacks_is_refused(study):
    write()
    reseal(cells=["generation/mini_dit/fashion/none/full/seed-0"])
    with pytest.raises(OutcomesError, match=r"generation/mini_dit/.* is not a cell of config\.yaml"):
        Outcomes(str(FOLDER))


def test_outcomes_keep_what_the_study_no_longer_has(study):
    write()
    before = {file.relative_to(FOLDER): file.read_bytes() for file in FOLDER.rglob("*") if file.is_file()}
    for part in (f"cells/{NONE}", "cells/generation", "efficiency"):
        shutil.rmtree(Path(study.results, part))
    kept = 1 + sum(cell.task == "generation" for cell in study.cells)
    assert f"5 of 5 cells ({kept} kept from before)" in write()
    assert {file.relative_to(FOLDER): file.read_bytes() for file in FOLDER.rglob("*") if file.is_file()} == before


def test_outcomes_of_other_settings_are_not_kept(study):
    write()
    Path(study.results, "cells", NONE, "metrics.json").unlink()
    small = Path("small.yaml")
    config = yaml.safe_load(small.read_text())
    config["classification"] = config.get("classification", {}) | {"loss": "l1"}
    small.write_text(yaml.safe_dump(config))
    written = write()
    assert "2 of 5 cells, " in written  # the generated ones, which have no loss
    assert "dropped, for they are not in the study or of other settings or code: classification/" in written
    assert NONE in written
    assert {cell.task for cell in Outcomes(str(FOLDER)).cells} == {"generation"}


def test_earlier_outcomes_that_are_damaged_are_refused(study):
    write()
    (FOLDER / "cells.json").write_text("{}")
    assert "cells.json is damaged" in write(succeeds=False)


def test_outcomes_replace_earlier_outcomes_but_nothing_else(study):
    write()
    write()
    (FOLDER / NAME).unlink()
    assert f"{FOLDER} holds something other than outcomes" in write(succeeds=False)
    assert (FOLDER / "results.parquet").exists()


def test_outcomes_of_another_study_and_files_of_others_are_not_replaced(study):
    write()
    (FOLDER / "figures").mkdir()
    (FOLDER / "figures/mine.png").write_text("mine")
    assert f"{FOLDER}/figures/mine.png does not belong to the outcomes" in write(succeeds=False)
    (FOLDER / "figures/mine.png").unlink()
    small = Path("small.yaml")
    small.write_text(yaml.safe_dump(yaml.safe_load(small.read_text()) | {"study": "other"}))
    assert f"{FOLDER} holds the outcomes of small, not of other" in write(succeeds=False)
    assert len(Outcomes(str(FOLDER)).cells) == 5


def test_cells_of_another_study_are_taken_if_this_one_would_compute_them_alike(study):
    write()
    other = yaml.safe_load(Path("small.yaml").read_text()) | {"study": "other"}
    Path("other.yaml").write_text(yaml.safe_dump(other))
    shutil.copytree("results/small/efficiency", "results/other/efficiency")
    command = ["outcomes", "docs/other/outcomes", "--configfile", "other.yaml", "--take-from", str(FOLDER)]
    completed = CliRunner().invoke(app, command)
    assert completed.exit_code == 0, completed.output
    assert "5 of 5 cells (5 taken from other studies)" in completed.output
    taken, source = (Outcomes(f"docs/{name}/outcomes") for name in ("other", "small"))
    numbers = [
        read_results(Path(outcomes.results, "results.parquet"), json.loads(outcomes.report_spec())).drop(columns="spec")
        for outcomes in (taken, source)
    ]
    assert numbers[0].equals(numbers[1])
    again = CliRunner().invoke(app, command[:-2])
    assert "5 of 5 cells (5 kept from before)" in again.output, again.output

    Path("other.yaml").write_text(yaml.safe_dump(other | {"classification": {"block": 4}}))
    shutil.rmtree("docs/other")
    completed = CliRunner().invoke(app, command)
    assert "2 of 5 cells (2 taken from other studies)" in completed.output, completed.output  # those that generate


def test_outcomes_that_are_not_there_are_refused_by_name(study):
    completed = CliRunner().invoke(
        app, ["outcomes", "docs/o", "--configfile", "small.yaml", "--take-from", "docs/nowhere/outcomes"]
    )
    assert completed.exit_code == 1
    assert "docs/nowhere/outcomes holds no outcomes: it has no outcomes.json" in completed.output
