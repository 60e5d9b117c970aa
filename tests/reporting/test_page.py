"""The page: its gains, its commit, and the size of the one that the documentation shows."""

import json
import re

import pandas as pd
import pytest

from bigain.reporting import page
from bigain.reporting.contents import TableEntry
from bigain.reporting.scores import Scores

TABLE = {
    "title": "t",
    "caption": "c",
    "families": ["unet"],
    "strength_kind": "merge_ratio",
    "methods": ["tome", "tome_fixed", "bigain_tm"],
    "delta": {"of": "bigain_tm", "against": "tome"},
}


def classified(method, strength, hits):
    """A classified cell of which the first images are right: `hits` of 100."""
    place = {"backbone": "u", "dataset": "d", "method": method, "strength": strength, "seed": 0}
    items = {"image": list(range(100)), "acc@1": [int(k < hits) for k in range(100)]}
    return {"cell": place, "items": items, "metrics": {}}


def test_gains_are_those_of_the_main_method_over_each_other_one_and_the_note_says_what_they_could_show():
    cells = [classified("bigain_tm", 0.5, 80), classified("bigain_tm", 0.7, 70), classified("tome", 0.5, 60)]
    tables = {"one": TableEntry.parse("one", TABLE), "two": TableEntry.parse("two", TABLE)}
    (gain,) = page.gains(Scores(cells), tables)  # only once, though two tables show it
    assert (gain.ours.strength, gain.against) == (0.5, "tome")
    assert abs(gain.difference.value - 20) < 1e-9
    note = page.note([gain])
    assert note.startswith("Methods are compared on the same 100 images")
    assert f"of {gain.difference.detectable:.0f} points" in note
    assert page.note([]) == "This study compares no accuracies."


@pytest.mark.parametrize(
    ("known", "shown"),
    [
        ({"commit": "4a1b", "code": "as committed"}, [("page made by commit", "4a1b")]),
        ({"commit": "4a1b", "code": "changed"}, [("page made by commit", "4a1b+")]),
        ({"python": "3.12"}, []),  # installed, or without git
    ],
)
def test_the_page_names_the_commit_of_its_code_and_not_of_the_folder_it_is_made_in(known, shown, monkeypatch):
    monkeypatch.setattr(page, "environment", lambda: known)
    assert page._commit() == shown


def test_the_committed_study_is_small_and_complete(root):
    decisive = root / "docs/decisive"
    outcomes, whole = (
        sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        for folder in (decisive / "outcomes", decisive)
    )
    assert outcomes < 10e6
    assert whole < 15e6
    assert not re.findall(r'src="(?!data:)', (decisive / "index.html").read_text())
    links = re.findall(r'href="([^"#][^"]*)"', (decisive / "index.html").read_text())
    links += re.findall(r"\]\(([^)]+)\)", (decisive / "README.md").read_text())
    assert len(links) > 30
    for link in links:
        assert (decisive / link).exists(), link


SPEC = {
    "study": "s",
    "of_paper": False,
    "probed": False,
    "seeds": [0],
    "datasets": {},
    "classification": {"timesteps": 20, "loss": "l2", "noise": "keyed", "map": [], "elimination": None},
    "generation": {"steps": 50},
}


def rendered(folder, warnings):
    """The page of two cells, an uncompressed and a compressed one, with these warnings each."""
    for name in ("answers", "claims", "audit", "table4"):
        (folder / f"{name}.html").write_text(f'<table id="{name}"></table>')
    for name in ("figure1", "tradeoff", "classes"):
        (folder / f"{name}.png").write_bytes(b"")
    facts = {"left_out": {}, "compressed": [], "environments": [], "seconds": 5400.0}
    arms = (("none", None), ("tome", 0.5))
    scored = [classified(*arm, 80) | facts | {"warnings": of_cell} for arm, of_cell in zip(arms, warnings, strict=True)]
    for cell in scored:
        cell["cell"]["task"] = "classification"
    columns = ["backbone", "dataset", "method", "metric", "value", "low", "high", "n"]
    results = pd.DataFrame([["u", "d", "none", "acc@1", 80.0, 71.1, 86.7, 100]], columns=columns)
    tables = folder / "tables.yaml"
    tables.write_text(json.dumps({"table4": TABLE}))  # JSON is YAML
    page.write_page(results, scored, tables, folder / "report.pdf", [], SPEC, folder / "index.html")
    return (folder / "index.html").read_text()


def test_the_page_answers_first_then_shows_figure_1_then_what_was_run_then_tables(tmp_path):
    text = rendered(tmp_path, [{"fd": "compared with 500 images"}] * 2)
    parts = ['id="answers"', "figure1.pdf", 'id="setup"', "3.0 hours", 'id="claims"', 'id="table4"', "tradeoff.pdf"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "80.0 <small>(71.1 to 86.7)</small>" in text
    assert "fd: compared with 500 images (2 cells)" in text


def test_the_page_warns_of_prompts_and_captions_that_a_model_does_not_read_to_their_end(tmp_path):
    prompts = {"prompts": "2 of 10 classes have prompts longer than the 77 tokens that u reads"}
    captions = {"captions": "3 of 2048 images have captions longer than the 77 tokens that u reads"}
    rows = re.findall(r'<td class="name">warning</td><td class="name">(.*?)</td>', rendered(tmp_path, [prompts] * 2))
    assert rows == [f"prompts: {prompts['prompts']} (2 cells)"]
    text = rendered(tmp_path, [prompts, captions])
    assert f"prompts: {prompts['prompts']} (1 cells)" in text
    assert f"captions: {captions['captions']} (1 cells)" in text
    assert 'class="name">warning' not in rendered(tmp_path, [{}, {}])
