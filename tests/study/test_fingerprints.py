"""Which results a change of the code concerns: fingerprints of what jobs run, and what is recorded of them."""

import shutil

import pytest

from bigain.core.files import write_json
from bigain.study import fingerprints as code
from bigain.study.spec_parts import model_code


@pytest.fixture(scope="module")
def record():
    """What is recorded of the code as it is, if all of it gives numbers of its own."""
    return {part: dict.fromkeys(("code", "numbers"), code.fingerprint(part)) for part in code.parts()}


@pytest.fixture
def package(root, tmp_path, monkeypatch, record):
    """A copy of the package, all of it recorded, whose code can be changed."""
    shutil.copytree(root / "bigain", tmp_path / "bigain", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "PACKAGE", tmp_path / "bigain")
    monkeypatch.setattr(code, "RECORD", tmp_path / "fingerprints.json")
    write_json(code.RECORD, record)
    yield tmp_path / "bigain"
    forget()


def forget():
    """As a fresh process would."""
    for remembered in vars(code).values():
        if hasattr(remembered, "cache_clear"):
            remembered.cache_clear()


def changed() -> list[str]:
    forget()
    return code.changed()


def edit(package, file, old, new):
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))


def test_the_record_is_of_this_code():
    """`bigain accept NAME` if the numbers are what they were; `bigain accept NAME --new-numbers` if they are not."""
    assert code.changed() == []


def test_every_choice_is_a_part_and_none_is_missing():
    from bigain.datasets import SOURCES
    from bigain.methods.presets import METHODS

    assert set(code.READER_PARTS) == set(SOURCES)
    assert set(code.operators()) == {method.operator for method in METHODS.values()} - {""}
    assert set(code.recorded()) == set(code.parts())
    for part in code.parts():
        assert code.closure(part) >= {code.module_of(part)}


def test_nothing_chosen_is_in_what_chooses():
    for start in code.JOB_PARTS:
        assert not code.closure(start) & {*map(code.module_of, code.selectable_parts()), *code.STRUCTURAL_MODULES}
    assert "tokens.scores" in code.closure("tokens.merge")
    assert "calibration.pruner" in code.closure("structural.dip_go")
    assert "calibration.obs" in code.closure("structural.mosaicdiff")
    assert "backbones.base" in code.closure("jobs.classify")
    assert not code.closure("jobs.generate") & {"classifier.classify", "jobs.score", "cli.report"}


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("tokens/merge.py", "\nfrom", "\n# why\nfrom", []),
        ("tokens/scores.py", '"""', '"""Said otherwise. ', []),
        ("classifier/classify.py", "keep: int) -> list[int]", "keep: object) -> list", []),
        ("classifier/classify.py", "(means[c], c)", "(means[c], -c)", ["jobs.classify"]),
        ("sampling/generate.py", "* 255).round() / 255", "* 255) / 255", ["jobs.generate"]),
        ("backbones/dit.py", "class DiT", "X = 1\n\n\nclass DiT", ["backbones.dit"]),
        ("calibration/obs.py", "import torch", "import torch\n\nX = 1", ["structural.mosaicdiff"]),
        ("reporting/names.py", "METRICS", "X = 1\nMETRICS", ["cli_report"]),
        (
            "metrics/frechet.py",
            "import numpy as np",
            "import numpy as np\n\nX = 1",
            ["jobs.reference", "jobs.score_generation"],
        ),
        ("datasets/coco.py", "CLASSES", "X = 1\nCLASSES", ["datasets.coco"]),
        ("tokens/prune.py", "import torch\n", "import torch\n\nX = 1\n", ["tokens.fusion", "tokens.prune"]),
        ("study/input_specs.py", "REFERENCE_BATCH = 50", "REFERENCE_BATCH = 51", []),  # it stands in specs
    ],
)
def test_a_change_concerns_the_parts_that_run_it(package, file, old, new, expected):
    edit(package, file, old, new) if old not in ('"""', "\nfrom", "METRICS", "CLASSES") else _first(
        package, file, old, new
    )
    assert changed() == expected


def _first(package, file, old, new):
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new, 1))


def test_a_new_method_changes_no_part_but_its_own_module(package):
    """One function, one preset: nothing that is there is computed again for it."""
    edit(package, "tokens/__init__.py", "        smoothest,\n", "        smoothest,\n        no_tokens,\n")
    edit(
        package,
        "tokens/__init__.py",
        "from bigain.tokens.prune",
        "from bigain.tokens.none import no_tokens\nfrom bigain.tokens.prune",
    )
    (package / "tokens/none.py").write_text("def no_tokens(keys):\n    return keys\n")
    edit(
        package,
        "methods/presets.py",
        '        Method("none"',
        '        _downsampling("nothing", "no tokens", "no_tokens", {}),\n        Method("none"',
    )
    assert changed() == ["tokens.none"]


def test_a_table_beside_a_module_belongs_to_it(package):
    edit(package, "datasets/imagenet_classes.csv", "tench", "tensch")
    assert changed() == ["datasets.imagenet"]


def test_accepted_code_keeps_the_numbers_of_before_and_new_numbers_are_its_own(monkeypatch, tmp_path):
    def changes(now):
        code.identity.cache_clear()
        monkeypatch.setattr(code, "fingerprint", lambda part: now if part == "score" else "first")

    monkeypatch.setattr(code, "RECORD", tmp_path / "fingerprints.json")
    changes("first")
    code.accept(code.parts(), new_numbers=True)
    assert code.code_of("score") == {"score": "first"}
    changes("second")
    assert code.changed() == ["score"]
    assert code.code_of("score") == {"score": "second"}
    code.accept(["score"], new_numbers=False)
    assert code.changed() == []
    assert code.code_of("score", "jobs.encode") == {"score": "first", "jobs.encode": "first"}
    changes("third")
    code.accept(["score"], new_numbers=True)
    assert code.code_of("score") == {"score": "third"}
    with pytest.raises(ValueError, match="Did you mean 'score'"):
        code.accept(["scores"], new_numbers=False)
    code.identity.cache_clear()


@pytest.mark.parametrize(
    ("device", "methods", "expected"),
    [
        ("cuda", ["bigain_tm"], ["backbones.dit", "tokens.merge", "tokens.kernels"]),
        ("auto", ["none", "todo"], ["backbones.dit", "tokens.downsample", "tokens.kernels"]),
        ("cpu", ["bigain_tm"], ["backbones.dit", "tokens.merge"]),
        ("cuda", ["none", "dip_go"], ["backbones.dit", "structural.dip_go"]),
    ],
)
def test_token_methods_on_a_gpu_depend_on_kernels(device, methods, expected):
    """They round otherwise than torch, so new kernels can give new numbers on a GPU and keep those of a CPU."""
    assert model_code({"device": device, "backbones": {"mini": {"family": "dit"}}}, "mini", methods) == expected
