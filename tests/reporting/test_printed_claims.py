"""What the paper's printed numbers could have shown, with the images it had."""

import math

import numpy as np
import pytest
from scipy import stats

from bigain.reporting.claims import read_claims_file
from bigain.reporting.frames import CellMetric
from bigain.reporting.package_files import CLAIMS
from bigain.reporting.printed_claims import DISCORDANCE, Discordance, PrintedNumbers
from bigain.reporting.scores import trend_weights
from bigain.reporting.verdicts import judge_all
from tests.helpers.scored import FAMILIES, cell, hits

UNKNOWN = PrintedNumbers(Discordance([], {}))
PETS = CellMetric("acc@1", "sd2", "pets", "bigain_tm", 0.5)


@pytest.fixture(scope="module")
def verdicts():
    return {verdict.claim.name: verdict for verdict in judge_all(read_claims_file(CLAIMS), UNKNOWN)}


def test_an_accuracy_is_read_at_both_ends_of_the_range_of_discordance():
    """BiGain_TM at r = 0.5: 78.38 - 72.96 = 5.42 points on 3,669 images; at least 5.42% of them are discordant."""
    narrow, wide = UNKNOWN.improvement(PETS, PETS._replace(method="tome")).readings
    for reading, share in ((narrow, 0.0542), (wide, 0.29)):
        error = 100 * math.sqrt((share - 0.0542**2) / 3669)
        assert (reading.value, reading.n) == (pytest.approx(5.42), 3669)
        assert reading.p_above(0) == pytest.approx(stats.t.sf(5.42 / error, 3668))
        assert reading.high == pytest.approx(5.42 + stats.t.ppf(0.975, 3668) * error)
    assert wide.detectable == pytest.approx((1.96 + 0.8416) * 100 * math.sqrt((0.29 - 0.0542**2) / 3669), rel=1e-3)


def test_the_discordance_of_the_same_comparison_in_the_study_is_used():
    ours = [cell("bigain_tm", 0.5, hits(220, 400), seed=seed) for seed in (0, 1)]
    theirs = [cell("tome", 0.5, hits(180 - 20 * seed, 400), seed=seed) for seed in (0, 1)]
    measured = Discordance([*ours, *theirs], FAMILIES)
    arms = ("bigain_tm", 0.5), ("tome", 0.5)
    assert measured.range_of("unet", "acc@1", *arms) == pytest.approx((0.1, 0.15))
    assert measured.range_of("dit", "acc@1", *arms) == DISCORDANCE
    assert measured.range_of("unet", "map_released", *arms) == DISCORDANCE
    few = Discordance([cell("bigain_tm", 0.5, hits(50, 100)), cell("tome", 0.5, hits(40, 100))], FAMILIES)
    assert few.range_of("unet", "acc@1", *arms) == DISCORDANCE
    narrow, _ = PrintedNumbers(measured).improvement(PETS, PETS._replace(method="tome")).readings
    assert narrow.high - narrow.value == pytest.approx(196 * math.sqrt((0.1 - 0.0542**2) / 3669), rel=1e-3)


def test_a_study_with_less_discordance_than_the_paper_differs_by_says_nothing():
    alike = [cell("bigain_tm", 0.5, hits(200, 400)), cell("tome", 0.5, hits(196, 400))]
    assert Discordance(alike, FAMILIES).range_of("unet", "acc@1", ("bigain_tm", 0.5), ("tome", 0.5)) == (0.01, 0.01)
    theirs = PETS._replace(method="tome")
    measured = PrintedNumbers(Discordance(alike, FAMILIES)).improvement(PETS, theirs)
    assert measured.readings == UNKNOWN.improvement(PETS, theirs).readings


def test_a_verdict_counts_if_the_whole_range_agrees(verdicts):
    """At 10%, 1.06 points on Pets would be significant with 5% of discordant images, not with 29%."""
    by_strength = {
        comparison.cell.strength: comparison
        for comparison in verdicts["merging_recognises"].comparisons
        if comparison.cell[:3] == ("acc@1", "sd2", "pets")
    }
    narrow, wide = by_strength[0.1].measured.readings
    assert narrow.p_above(0) < 0.05 < wide.p_above(0)
    assert by_strength[0.1].verdict == "undecided"
    assert by_strength[0.7].verdict == "supported"
    assert list(by_strength) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


def test_a_fid_is_printed_without_spread(verdicts):
    judged = verdicts["merging_generates"]
    assert (judged.says, judged.counts, judged.p) == ("undecided", "35 undecided", None)
    assert {comparison.measured.reason for comparison in judged.comparisons} == {"printed without spread"}
    coco = next(c for c in judged.comparisons if c.cell[1:] == ("sd2", "coco2017", "bigain_tm", 0.1))
    assert coco.value == pytest.approx(26.45 - 26.51)  # worse


def test_what_the_paper_could_have_known(verdicts):
    says = {name: verdict.says for name, verdict in verdicts.items()}
    assert says["merging_recognises"] == "supported in 31 of 42"
    assert verdicts["merging_recognises"].counts == "36 supported, 6 undecided"
    assert says["lead_grows_merging"] == says["lead_grows_downsampling"] == "supported everywhere"
    assert says["laplacian_is_best"] == says["not_only_randomness"] == "not run"
    assert says["low_beats_high"] == "supported everywhere"
    assert says["twofold_surpasses"] == "contradicted in 1 of 8"  # on the DiT, 78.42 against 84.82


def test_bigain_td_loses_much_on_the_dit_too(verdicts):
    """Table 3: from 3x on it loses 23 points and more."""
    recognition = [c for c in verdicts["todo_fails_on_dit"].comparisons if c.cell.metric == "acc@1"]
    outcomes = {(c.claimed, c.strengths[0]): c.verdict for c in recognition}
    assert outcomes == {
        **{("fails", strength): "supported" for strength in (2, 3, 4, 5)},
        ("stable", 2): "supported",
        **{("stable", strength): "contradicted" for strength in (3, 4, 5)},
    }


def test_the_line_through_two_values_rises_by_their_difference():
    assert trend_weights([0.1, 0.7]) == pytest.approx([-1, 1])
    assert trend_weights([2, 3, 4]) @ np.array([5, 7, 9]) == pytest.approx(4)
    assert trend_weights([2, 4, 8]).sum() == pytest.approx(0)


def test_a_growing_lead_takes_the_strengths_as_independent():
    strengths = [0.1, 0.7]
    growth = UNKNOWN.trend(PETS._replace(strength=0.1), PETS._replace(method="tome", strength=0.1), strengths)
    _, wide = growth.readings
    assert wide.value == pytest.approx(8.87 - 1.06)
    error = 100 * math.sqrt((0.29 - 0.0106**2 + 0.29 - 0.0887**2) / 3669)
    assert wide.high - wide.value == pytest.approx(1.96 * error, rel=1e-3)


def test_table_2_comes_before_table_1():
    """Table 1 rounds the accuracy at 3x to 79.90."""
    gain = UNKNOWN.improvement(
        CellMetric("acc@1", "sd2", "pets", "bigain_td", 3), CellMetric("acc@1", "sd2", "pets", "todo", 3)
    )
    assert gain.readings[0].value == pytest.approx(0.76)
