"""Rendered files that were changed, or rendered before the settings changed, are found and rendered again."""

import json
import os
from pathlib import Path

import pytest

from bigain.core.provenance import digest, read_sealed, write_sealed
from bigain.reporting.manifest import NAME, write_manifest
from bigain.reporting.verification import to_render_again, verify_rendered

SPEC = {"study": "small"}
FILES = ["table1.csv", "table1.html", "index.html"]


@pytest.fixture
def reports(tmp_path) -> Path:
    for name in FILES:
        (tmp_path / name).write_text("61.5\n")
    write_manifest([tmp_path / name for name in FILES], SPEC, tmp_path / NAME)
    return tmp_path


def again(reports, spec=SPEC):
    return {Path(file).name for file in to_render_again(reports, digest(spec))}


def test_nothing_is_rendered_again_as_long_as_nothing_has_changed(reports):
    assert again(reports) == set()
    (reports / "table1.csv").unlink()  # Snakemake itself finds what is missing
    assert again(reports) == set()


def test_an_edited_number_is_rendered_again_however_new_or_old_the_file_looks(reports):
    (reports / "table1.csv").write_text("99.9\n")
    (reports / "table1.html").write_text("99.9\n")
    os.utime(reports / "table1.html", (0, 0))
    assert again(reports) == {"table1.csv", "table1.html"}
    assert {finding.file.name for finding in verify_rendered(reports, [*FILES, NAME], digest(SPEC))} == again(reports)


def test_a_report_of_other_settings_is_rendered_again_but_not_what_was_rendered_since_then(reports):
    os.utime(reports / "table1.csv", (1e9, 4e9))
    assert again(reports, {"study": "other"}) == {"table1.html", "index.html"}


def test_nothing_is_taken_from_an_edited_manifest(reports):
    manifest = json.loads((reports / NAME).read_text())
    (reports / NAME).write_text(json.dumps(manifest | {"files": {}}))
    assert again(reports) == {*FILES, NAME}


def test_a_report_that_was_never_finished_has_nothing_to_compare_with(reports):
    (reports / NAME).unlink()
    assert again(reports) == set()
    assert to_render_again(reports / "missing", digest(SPEC)) == []


@pytest.mark.parametrize("change", [{"files": []}, {"files": {"table1.csv": 5}}, {"spec": None}])
def test_a_sealed_manifest_of_another_form_is_damaged(reports, change):
    write_sealed(reports / NAME, read_sealed(reports / NAME) | change)
    assert again(reports) == {*FILES, NAME}
    (finding,) = verify_rendered(reports, [*FILES, NAME], digest(SPEC))
    assert (finding.file, finding.state) == (reports / NAME, "damaged")
    assert next(iter(change)) in finding.message
