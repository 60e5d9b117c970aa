"""A method against stored outcomes: what is run, and which outcomes are refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from bigain.cli import compare
from bigain.cli.main import app
from bigain.measure import budgets
from bigain.methods import outside
from bigain.study import measurement_specs
from bigain.study.comparing import StoredStudy, method_named
from bigain.study.outcomes import OutcomesError
from bigain.study.study import Study
from tests.helpers.extending import example
from tests.helpers.small_study import small_study, write_study

FOLDER = Path("docs/small/outcomes")
BOTH = ("classification", "generation")


@pytest.fixture(scope="module")
def written(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_study(small_study(root, folder))
        completed = CliRunner().invoke(app, ["outcomes", str(FOLDER), "--configfile", "small.yaml"])
        assert completed.exit_code == 0, completed.output
        (folder / "quincunx.py").write_text(example())
    return folder


@pytest.fixture
def stored(written, monkeypatch):
    monkeypatch.chdir(written)
    yield StoredStudy(FOLDER)
    outside.forget()


def test_a_method_is_named_by_its_id_or_by_its_file(stored):
    assert method_named("bigain_tm~destinations-random") == ("tome", [])
    assert method_named("quincunx.py") == ("quincunx", ["quincunx.py"])
    assert method_named("quincunx.py:quincunx~cell-4x4") == ("quincunx~cell-4x4", ["quincunx.py"])
    with pytest.raises(ValueError, match=r"quincunx.py: unknown method 'quincux'\. Did you mean 'quincunx'"):
        method_named("quincunx.py:quincux")
    two = example().replace(
        '"quincunx": {',
        '"other": {"acts_on": "tokens", "strength_kind": "merge_ratio", '
        '"operator": "merge_quincunx", "options": {"cell": (2, 2)}},\n    "quincunx": {',
    )
    Path("two.py").write_text(two.replace('"quincunx": {', '"another": {'))
    with pytest.raises(ValueError, match=r"two\.py has several methods: name one, as in two\.py:other"):
        method_named("two.py")


def test_only_the_new_cells_are_run_with_the_settings_of_the_stored_study(stored):
    method, sources = method_named("quincunx.py")
    pairs = stored.pairs(None, BOTH)
    assert [(cell.task, cell.backbone) for cell in pairs] == [
        ("classification", "mini_dit"),
        ("generation", "mini_unet"),
    ]
    new = Study(stored.with_method(method, sources, {"mini_dit": 0.5, "mini_unet": 0.25}, pairs, images=5))
    assert [cell.path for cell in new.cells] == [
        "classification/mini_dit/fashion/quincunx/ratio-0.5/seed-0",
        "generation/mini_unet/fashion/quincunx/ratio-0.25/seed-0",
    ]
    assert new.results == "results/compare_quincunx"
    assert [new.images(cell) for cell in new.cells] == [5, 40]
    ours, theirs = ({**study.config} for study in (new, stored.now))
    for config in (ours, theirs):
        for key in ("study", "cells", "methods_from", "datasets"):
            config.pop(key, None)
    assert ours == theirs


def test_what_is_not_stored_is_refused_by_name(stored):
    with pytest.raises(ValueError, match=r"unknown backbone 'mini_dat'\. Did you mean 'mini_dit'"):
        stored.pairs(["mini_dat"], BOTH)
    pairs = stored.pairs(None, ("classification",))
    for images in (1, 13):
        with pytest.raises(ValueError, match=f"--images {images} is not allowed; 2 to 12 are stored of fashion"):
            stored.check_images(pairs, images)
    stored.check_images(pairs, 12)


def test_outcomes_of_other_code_are_refused_and_what_differs_is_named(stored, monkeypatch):
    pairs = stored.pairs(None, BOTH)
    stored.refuse_other_code(pairs)
    from bigain.study import cell_specs

    known = cell_specs.code_of

    def changed(*parts):
        return {**known(*parts), "jobs.classify": "000000000000"} if "jobs.classify" in known(*parts) else known(*parts)

    monkeypatch.setattr(cell_specs, "code_of", changed)
    with pytest.raises(OutcomesError, match=r"2 of 4 stored cells .* What differs: the data, the classifier"):
        stored.refuse_other_code(pairs)
    measured = measurement_specs.code_of
    monkeypatch.setattr(measurement_specs, "code_of", lambda *parts: {**measured(*parts), "jobs.efficiency": "0"})
    with pytest.raises(OutcomesError, match=r"What differs: mini_dit: code\.jobs\.efficiency \w+ instead of 0"):
        stored.refuse_other_code(pairs)


def test_the_command_prints_what_is_refused(stored):
    completed = CliRunner().invoke(app, ["compare", "none", "--against", "docs/small"])
    assert completed.exit_code == 2
    assert "name another method" in completed.output
    completed = CliRunner().invoke(app, ["compare", "tome", "--against", "docs/small", "--strength", "2"])
    assert completed.exit_code == 2
    assert "tome: strength 2.0 is not allowed; it takes a merge ratio" in completed.output
    completed = CliRunner().invoke(app, ["compare", "tome", "--against", "docs/smal"])
    assert completed.exit_code == 2
    assert "--against docs/smal: neither it nor its folder `outcomes` holds outcomes.json" in completed.output
    Path("bad.py").write_text(example().replace("return soft_matching", "return metric\n    return soft_matching"))
    completed = CliRunner().invoke(app, ["compare", "bad.py", "--against", "docs/small", "--strength", "0.5"])
    assert completed.exit_code == 2
    assert "quincunx: fails `runs on random tokens`: it returns a Tensor, not a plan" in completed.output
    assert "`bigain check-method bad.py` tests all of it" in completed.output


def test_a_strength_is_chosen_on_a_model_of_the_package_from_any_folder(stored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(budgets, "nearest_strength", lambda *of: budgets.Matched(of[0].config.num_layers, of[2]))
    outcomes = SimpleNamespace(budget=lambda backbone: 10.0)
    assert compare._strength("tome", None, "mini_dit", outcomes, stored.now.config) == 6
