"""How many images claims need: closed forms for stated discordances, and what a pilot's own cells say."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from bigain.cli.main import app
from bigain.cli.study import merged_config
from bigain.core.provenance import ResultError
from bigain.metrics.power import (
    detectable_difference,
    images_for_equivalence,
    images_for_noninferiority,
    images_needed,
)
from bigain.reporting.claims import read_claims_file
from bigain.reporting.power import needs, read_pilot, summaries
from bigain.reporting.spreads import NO_PILOT, PILOT
from bigain.study.study import Study
from tests.helpers.small_study import CONFIG, small_study, write_study

IMAGES = 12  # classified, by every cell of the small study
CLAIM = {"says": "-", "kind": "better", "of": "bigain_tm", "than": ["none"], "metrics": ["acc@1"]}


@pytest.fixture
def study(root, tmp_path, monkeypatch) -> Study:
    monkeypatch.chdir(tmp_path)
    return small_study(root, tmp_path)


def another(**changes) -> Study:
    """Return the small study with other settings."""
    Path("another.yaml").write_text(yaml.safe_dump({**deepcopy(CONFIG), **changes}))
    return Study(merged_config([Path("another.yaml")]))


def merging() -> Study:
    """Return a study of two merging methods at two strengths."""
    cells = {"task": "classification", "backbone": "mini_dit", "dataset": "fashion"}
    cells["methods"] = ["none", "tome", "bigain_tm"]
    return another(strengths={"merge_ratio": [0.5, 0.7], "downsample_factor": [2]}, cells=[cells])


def claims(margins=None, **claim):
    content = {"margins": margins or {"acc@1": 1, "distance": 0.1}, "claims": {"tried": {**CLAIM, **claim}}}
    Path("claims.yaml").write_text(yaml.safe_dump(content))
    return read_claims_file("claims.yaml")


def test_stated_discordances_give_connors_numbers(study):
    low, high = needs(study, claims(), discordances=(0.05, 0.29))
    assert (low.spread.source, high.spread.source) == ("0.05", "0.29")
    assert low.shows == pytest.approx(100 * detectable_difference(0.05, IMAGES))
    assert high.needed == images_needed(0.29, 0.01)
    assert low.images == high.images == IMAGES


def test_a_stated_difference_replaces_the_margin(study):
    (need,) = needs(study, claims(), discordances=(0.05,), difference=2)
    assert (need.difference, need.needed) == (2, images_needed(0.05, 0.02))


def test_a_pilot_tells_its_own_discordance(study):
    write_study(study)
    pilot = read_pilot(Path(study.results, "results.parquet"))
    (need,) = needs(study, claims(), pilot)
    ours, theirs = need.comparison.cell, need.comparison.than
    discordance = ((pilot.images[ours] - pilot.images[theirs]) ** 2).mean()
    assert need.spread.source == PILOT
    assert need.spread.discordance == pytest.approx(discordance)
    assert need.shows == pytest.approx(100 * detectable_difference(discordance, IMAGES))


def test_what_the_pilot_lacks_keeps_the_stated_discordance(study):
    write_study(study)
    pilot = read_pilot(Path(study.results, "results.parquet"))
    larger = another(strengths={"merge_ratio": [0.5, 0.7], "downsample_factor": [2]})
    sources = [need.spread.source for need in needs(larger, claims(), pilot, discordances=(0.1,))]
    assert sources == [PILOT, "0.1"]


def test_distances_need_a_pilot(study):
    file = claims(of="bigain_td", metrics=["distance"])
    (need,) = needs(study, file)
    assert (need.spread.source, need.shows, need.needed) == (NO_PILOT, None, None)


def test_a_distances_spread_shrinks_with_the_root_of_the_images(study):
    write_study(study)
    pilot, file = read_pilot(Path(study.results, "results.parquet")), claims(of="bigain_td", metrics=["distance"])
    (need,) = needs(study, file, pilot)
    (fourfold,) = needs(another(generation={"images": 160, "block": 20}), file, pilot)
    assert fourfold.shows == pytest.approx(need.shows / 2)
    none = need.comparison.cell._replace(method="none", strength=None)
    assert need.difference == pytest.approx(0.1 * pilot.distances[none].value)
    assert need.needed == math.ceil(40 * (need.shows / need.difference) ** 2)


def test_a_claim_of_a_small_difference_is_one_of_equivalence(study):
    (need,) = needs(study, claims(kind="close", margins={"acc@1": 2}), discordances=(0.05,))
    assert need.needed == images_for_equivalence(0.05, 0.02)


def test_failing_and_staying_stable_are_needs_of_their_kinds(study):
    """A loss of twice the margin, of which at least as many images are discordant; and a single one-sided test."""
    needed = {need.comparison.claimed: need.needed for need in needs(study, claims(kind="fails", margins={"acc@1": 4}))}
    assert needed["stable"] == images_for_noninferiority(0.29, 0.04)
    assert needed["fails"] == images_needed(0.29, 0.04)
    (need, *_) = needs(study, claims(kind="fails", margins={"acc@1": 4}), discordances=(0.01,))
    assert need.comparison.claimed == "fails"
    assert need.needed == images_needed(0.08, 0.04)


def test_leads_of_a_trend_are_taken_as_independent(study):
    (need,) = needs(merging(), claims(kind="grows", than=["tome"]), discordances=(0.1,))
    # lead at 0.7 minus lead at 0.5: each has mean square 0.1, and their difference lies in [-2, 2]
    assert need.shows == pytest.approx(200 * detectable_difference(0.2 / 4, IMAGES))


def test_a_claim_needs_what_its_most_demanding_comparison_needs(study):
    write_study(study)
    pilot = read_pilot(Path(study.results, "results.parquet"))
    larger = another(strengths={"merge_ratio": [0.5, 0.7], "downsample_factor": [2]})
    stated = needs(larger, claims(), discordances=(0.1,))
    (summary,) = summaries(stated)
    assert len(stated) == 2
    assert summary.needed == max(need.needed for need in stated)
    (alone,) = summaries(needs(study, claims(), pilot))
    assert alone.hours_needed == pytest.approx(alone.hours * alone.needed / IMAGES)


def test_cells_of_different_numbers_of_images_are_compared_on_the_fewest(study):
    cells = deepcopy(CONFIG["cells"])
    cells.append({"task": "classification", "backbone": "mini_dit", "dataset": "fashion", "methods": ["none"]})
    cells[-1]["images"] = 4 * IMAGES
    (before,), (after,) = (
        summaries(needs(each, claims(), discordances=(0.1,))) for each in (study, another(cells=cells))
    )
    assert (after.images, after.shows) == (before.images, before.shows)
    assert after.hours > before.hours
    assert after.hours_needed == pytest.approx(before.hours_needed)


def test_distances_of_different_numbers_of_images_can_show_nothing(study):
    write_study(study)
    pilot, file = read_pilot(Path(study.results, "results.parquet")), claims(of="bigain_td", metrics=["distance"])
    cells = [*CONFIG["cells"], CONFIG["cells"][2] | {"methods": ["none"], "images": 80}]
    (need,) = needs(another(cells=cells), file, pilot)
    assert (need.images, need.shows) == (40, None)
    assert need.needed is not None


def test_hours_count_every_cell_once_and_every_seed(study):
    larger = another(strengths={"merge_ratio": [0.5, 0.7], "downsample_factor": [2]}, seeds=[0, 1])
    (summary,) = summaries(needs(larger, claims(), discordances=(0.1,)))
    hours = {cell for need in summary.needs for cell in need.hours}
    assert len(hours) == 3  # the uncompressed model and two strengths
    (single,) = summaries(needs(study, claims(), discordances=(0.1,)))
    (double,) = summaries(needs(another(seeds=[0, 1]), claims(), discordances=(0.1,)))
    assert double.hours == pytest.approx(2 * single.hours)


def test_a_damaged_pilot_is_refused(study):
    write_study(study)
    images = Path(study.results, "images.parquet")
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(ResultError, match=r"images\.parquet is damaged"):
        read_pilot(Path(study.results, "results.parquet"))


def test_the_command_prints_the_papers_claims(study):
    merging()
    completed = CliRunner().invoke(app, ["power", "--configfile", "another.yaml", "--discordance", "0.05"])
    assert completed.exit_code == 0, completed.output
    row = next(line for line in completed.output.splitlines() if "merging_recognises" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][1:5] == ["acc@1", "0.05", "2", "12"]
    assert f"{images_needed(0.05, 0.01):,}" in row


def test_the_command_gives_every_comparison_as_json(study):
    merging()
    completed = CliRunner().invoke(app, ["power", "--configfile", "another.yaml", "--json"])
    entries = [need for need in json.loads(completed.output) if need["claim"] == "merging_recognises"]
    assert [(need["strengths"], need["spread"]) for need in entries] == [
        ([0.5], "0.05"),
        ([0.5], "0.29"),
        ([0.7], "0.05"),
        ([0.7], "0.29"),
    ]
    assert entries[0]["needed"] == images_needed(0.05, 0.01)


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--discordance", "5", "discordance is 5; above 0, up to 1 is allowed"),
        ("--difference", "0", "difference is 0; above 0, up to 100 points are allowed"),
        ("--pilot", "none.parquet", "none.parquet is missing: name the results.parquet"),
    ],
)
def test_what_cannot_be_is_refused_by_name(study, option, value, named):
    completed = CliRunner().invoke(app, ["power", "--configfile", "small.yaml", option, value])
    assert completed.exit_code == 2
    assert named in completed.output
