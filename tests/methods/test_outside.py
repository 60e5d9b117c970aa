"""Methods from outside: their facts are read without running the file; what is wrong with it is named."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import bigain
from bigain.methods import outside
from bigain.methods.ids import method_of
from bigain.methods.method import Draw
from bigain.tokens.outside import operator_of

FACTS = {"acts_on": "tokens", "strength_kind": "merge_ratio", "operator": "f", "options": {"cell": (2, 2)}}


@pytest.fixture(autouse=True)
def _forgotten():
    yield
    outside.forget()


def written(folder: Path, facts=FACTS, id="mine", name="mine.py", rest="") -> Path:
    file = folder / name
    file.write_text(f'raise RuntimeError("it runs")\nMETHODS = {{{id!r}: {facts!r}}}\ndef f(x): return x\n{rest}')
    return file


def test_planning_knows_a_method_without_running_its_file(tmp_path):
    draws = FACTS | {"draws": {"offsets": "places"}, "label": "Mine", "plan_for": "stage"}
    assert bigain.add_methods(written(tmp_path, draws)) == ["mine"]
    method = method_of("mine~cell-4x4")
    assert (method.id, method.label, method.operator) == ("mine~cell-4x4", "Mine (cell: 4x4)", "outside:mine")
    assert method.options == {"cell": (4, 4), "offsets": Draw.PLACES}
    assert method.tokens_left(0.9, 16, 16) == (26, 26)
    with pytest.raises(ValueError, match=r"unknown method 'mime'\. Did you mean 'mine'"):
        method_of("mime")


def test_counts_without_a_cell(tmp_path):
    whole = {"acts_on": "tokens", "strength_kind": "merge_ratio", "operator": "f"}
    bigain.add_methods(written(tmp_path, whole))
    assert method_of("mine").tokens_left(0.9, 8, 8) == (64 - 57, 64 - 57)
    bigain.add_methods(written(tmp_path, whole | {"strength_kind": "threshold"}))
    assert method_of("mine").tokens_left(0.9, 8, 8) == (1, 1)


def test_a_changed_file_is_read_anew_and_comments_keep_its_fingerprint(tmp_path):
    bigain.add_methods(written(tmp_path))
    first = outside.registered()["mine"].fingerprint
    bigain.add_methods(written(tmp_path, rest="# a comment\n"))
    assert outside.registered()["mine"].fingerprint == first
    bigain.add_methods(written(tmp_path, FACTS | {"label": "Other"}))
    assert outside.registered()["mine"].fingerprint != first
    assert method_of("mine").label == "Other"


def test_a_refused_file_registers_none_of_its_methods(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(f"METHODS = {{'mine': {FACTS!r}, 'tome': {FACTS!r}}}\ndef f(x): return x\n")
    with pytest.raises(ValueError, match="'tome' is the id of a method of this package"):
        bigain.add_methods(file)
    assert outside.registered() == {}


def test_a_file_that_was_changed_before_its_first_use_does_not_run(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(f"METHODS = {{'mine': {FACTS!r}}}\ndef f(x): return x\n")
    bigain.add_methods(file)
    file.write_text(file.read_text().replace("return x", "return -x"))
    with pytest.raises(ValueError, match="was changed since its methods were added"):
        operator_of("outside:mine")
    bigain.add_methods(file)
    assert operator_of("outside:mine")(1) == -1


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (FACTS | {"strenght": 1}, r"METHODS\['mine'\]: unknown key 'strenght'\. Did you mean 'strength_kind'"),
        ({"acts_on": "tokens", "operator": "f"}, "lacks 'strength_kind'"),
        (FACTS | {"acts_on": "model"}, "acts_on: unknown value 'model'. Allowed: tokens, keys_values"),
        (FACTS | {"strength_kind": "downsample_factor"}, "Allowed: merge_ratio, threshold"),
        (FACTS | {"operator": "g"}, "operator: unknown value 'g'. Did you mean 'f'|Allowed: f"),
        (FACTS | {"options": [1]}, "options and draws are dicts"),
        (FACTS | {"options": {"cell": (1, 1)}}, r"cell: \(1, 1\) is not allowed"),
        (FACTS | {"draws": {"noise": "normal"}}, "draws.noise: unknown value 'normal'. Did you mean 'normals'"),
        (FACTS | {"options": {}, "draws": {"at": "places"}}, "options need one, as in 'cell': "),
        (FACTS | {"draws_per": "image"}, "draws_per: unknown value 'image'"),
        (3, "has to be a dict with the keys"),
    ],
)
def test_wrong_facts_name_file_key_and_what_is_allowed(tmp_path, facts, message):
    with pytest.raises(ValueError, match=message) as error:
        bigain.add_methods(written(tmp_path, facts))
    assert "mine.py" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(x:\n", "is not a Python file"),
        ("x = 1\n", "needs one top-level line METHODS"),
        ("METHODS = dict(mine={})\n", "has to be a literal"),
        ("METHODS = {}\n", "has to be a dict of methods by id"),
        ("METHODS = {'Mine!': {}}\n", "an id is lower-case letters"),
        ("METHODS = {'a': {},\n'a': {}}\n", r"mine\.py: METHODS has 'a' twice, in lines 1 and 2"),
        ("METHODS = {'a': {'operator': 'f', 'operator': 'g'}}\n", "METHODS has 'operator' twice"),
    ],
)
def test_a_file_without_methods_says_what_belongs_there(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ValueError, match=message):
        bigain.add_methods(tmp_path / "mine.py")


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    file = written(tmp_path)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert outside.add_methods(file) == ["mine"]


def test_ids_are_taken_once(tmp_path):
    with pytest.raises(ValueError, match="'tome' is the id of a method of this package"):
        bigain.add_methods(written(tmp_path, id="tome"))
    bigain.add_methods(written(tmp_path))
    with pytest.raises(ValueError, match=r"'mine' is the id of a method of .*mine\.py"):
        bigain.add_methods(written(tmp_path, name="other.py"))


def test_a_missing_file_and_an_unknown_entry_point_are_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py: there is no such file of methods"):
        bigain.add_methods("nowhere.py")
    with pytest.raises(FileNotFoundError, match=r"unknown entry point of bigain\.methods 'nothing'"):
        bigain.add_methods("nothing")


def test_an_entry_point_is_found_without_importing_its_package(tmp_path, monkeypatch):
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package/__init__.py").write_text("raise RuntimeError\n")
    written(tmp_path / "their_package")

    class Distribution:
        def locate_file(self, path):
            return tmp_path / path

    point = EntryPoint("theirs", "their_package.mine", "bigain.methods")._for(Distribution())
    monkeypatch.setattr(outside, "entry_points", lambda group: [point])
    assert bigain.add_methods("theirs") == ["mine"]
    assert "their_package" not in sys.modules
    assert outside.registered()["mine"].source == "theirs"
