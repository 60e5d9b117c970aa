"""Methods from outside on a model: what they return is checked, copies run their code, and saved models find it."""

import copy
import io
import os

import pytest
import torch

import bigain
from bigain.methods import outside
from tests.helpers.extending import example
from tests.helpers.models import one_block_unet, run_unet

KEYS = """
METHODS = {"mine": {"acts_on": "keys_values", "strength_kind": "downsample_factor", "operator": "f"}}
def f(metric, grid, factor):
    return RESULT
"""
TOKENS = """
from dataclasses import dataclass
METHODS = {"mine": {"acts_on": "tokens", "strength_kind": "merge_ratio", "operator": "f"}}
@dataclass
class Whole:
    reduce = restore = of_rows = around = lambda self, x: x
def f(metric, grid, ratio):
    return RESULT
"""


@pytest.fixture(autouse=True)
def _forgotten():
    yield
    outside.forget()


def added(folder, text, result="metric[:, ::4]"):
    file = folder / "mine.py"
    file.write_text(text.replace("RESULT", result))
    bigain.add_methods(file)
    return file


@pytest.mark.parametrize(
    ("result", "returned"),
    [
        ("metric", r"a tensor \[2, 256, 16\]"),
        ("metric[:, :65]", r"a tensor \[2, 65, 16\]"),
        ("metric[:1, :64]", r"a tensor \[1, 64, 16\]"),
        ("None", "None"),
        ("(metric, metric)", "a tuple"),
    ],
)
def test_keys_of_another_shape_are_refused(tmp_path, result, returned):
    added(tmp_path, KEYS, result)
    message = r"mine: its operator, on 16x16 tokens at strength 2, has to return a tensor \[2, 64, 16\], not "
    model = one_block_unet()
    with bigain.compressed(model, "mine", factor=2), pytest.raises(ValueError, match=message + returned):
        run_unet(model)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("Whole()", r"reduce of its plan, .* has to return a tensor \[2, 128, 16\], not a tensor \[2, 256, 16\]"),
        ("None", "mine: its operator has to return a plan, with reduce, restore, around, of_rows, not None"),
    ],
)
def test_plans_that_merge_nothing_are_refused(tmp_path, result, message):
    added(tmp_path, TOKENS, result)
    model = one_block_unet()
    with bigain.compressed(model, "mine", ratio=0.5), pytest.raises(ValueError, match=message):
        run_unet(model)


def test_a_relative_path_names_the_same_file_in_another_folder(tmp_path, monkeypatch):
    added(tmp_path, KEYS)
    outside.forget()
    monkeypatch.chdir(tmp_path)
    bigain.add_methods("mine.py")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    model = one_block_unet()
    with bigain.compressed(model, "mine", factor=2) as attachment:
        run_unet(model)
    assert attachment.report()[0]["keys"] == 64
    assert outside.registered()["mine"].source == "mine.py"


def test_copies_and_saved_models_run_the_code_that_was_applied(tmp_path):
    file = added(tmp_path, KEYS)
    model, buffer = one_block_unet(), io.BytesIO()
    with bigain.compressed(model, "mine", factor=2):
        torch.save(model, buffer)
        copies = [copy.deepcopy(model), torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)]
        expected = run_unet(model)
    added(tmp_path, KEYS, "metric[:, 1::4]")
    assert all(torch.equal(run_unet(network), expected) for network in copies)
    with pytest.raises(ValueError, match=f"mine was saved with other code than that of {file}"):
        torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    outside.forget()
    with pytest.raises(ValueError, match="'mine' is a method from outside that was not added"):
        torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)


def test_the_example_of_the_page_is_accepted(tmp_path):
    file = tmp_path / "quincunx.py"
    file.write_text(example())
    (id,) = bigain.add_methods(os.path.relpath(file))
    model = one_block_unet()
    plain = run_unet(model)
    with bigain.compressed(model, id, ratio=0.4):
        assert not torch.allclose(run_unet(model), plain, atol=1e-4)
