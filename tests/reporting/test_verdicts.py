"""Verdicts on comparisons and claims, decided on made-up cells whose p-values are known."""

import numpy as np
import pytest
from scipy import stats

from bigain.metrics.significance import Student, paired
from bigain.reporting.claims import Claim, ClaimsFile
from bigain.reporting.comparisons import Measured
from bigain.reporting.evidence import Evidence, weakest, weigh
from bigain.reporting.frames import CellMetric
from bigain.reporting.scores import Scores
from bigain.reporting.study_numbers import StudyNumbers
from bigain.reporting.verdicts import judge, judge_all, leads
from tests.helpers.scored import FAMILIES, cell, generated, hits

CLAIM = {"of": "bigain_tm", "than": ["tome"], "metrics": ["acc@1"], "kind": "better", "says": "better"}
MARGINS = {"acc@1": 1, "map_released": 1, "distance": 0.1}


def verdict(scored, **changes):
    claim = Claim.parse("claim", CLAIM | changes)
    return judge(claim, ClaimsFile({"claim": claim}, MARGINS, {}), StudyNumbers(scored, FAMILIES))


def pair(strength, ours, theirs, count=200, than="tome", **where):
    return [
        cell("bigain_tm", strength, hits(ours, count), **where),
        cell(than, strength, hits(theirs, count), **where),
    ]


def difference(value, error=1.0):
    """A normal difference."""
    return Student(value, error, np.inf).difference(100)


# Evidence: one-sided p-values of a normal difference.


def test_a_lead_is_supported_and_contradicted_at_a_one_sided_level_of_5_percent():
    evidence = weigh("better", difference(1.7), margin=None)
    assert evidence == pytest.approx((stats.norm.sf(1.7), stats.norm.cdf(1.7), 1))
    assert evidence.verdict == "supported"
    assert weigh("better", difference(1.6), None).verdict == "undecided"
    assert weigh("better", difference(-1.7), None).verdict == "contradicted"
    assert weigh("grows", difference(-1.7), None).verdict == "contradicted"


def test_a_lead_is_equivalent_if_it_is_surely_within_the_margin():
    evidence = weigh("better", difference(0.5), margin=2.2)
    assert evidence.equivalent == pytest.approx(stats.norm.cdf(0.5 - 2.2))
    assert evidence.verdict == "equivalent"
    assert weigh("better", difference(0.5), 2.1).verdict == "undecided"


def test_a_significant_direction_is_named_even_within_the_margin():
    assert weigh("better", difference(0.5, 0.1), margin=1).verdict == "supported"
    assert weigh("better", difference(-0.5, 0.1), margin=1).verdict == "contradicted"


def test_closeness_is_contradicted_at_either_side_together_at_5_percent():
    """With a margin of nothing, it is the two-sided test of no difference."""
    for true in (difference(1.9), difference(-1.9), difference(0.4)):
        assert weigh("close", true, margin=0).contradicts == pytest.approx(true.p)


def test_closeness_is_decided_by_the_p_value_that_is_shown():
    evidence = weigh("close", difference(0.5), margin=2.2)
    assert evidence.supports == pytest.approx(stats.norm.cdf(0.5 - 2.2))
    assert evidence.verdict == "supported"
    assert weigh("close", difference(4.3), 2.2).verdict == "contradicted"
    assert weigh("close", difference(-4.3), 2.2).verdict == "contradicted"
    assert weigh("close", difference(2.2), 2.2).verdict == "undecided"


def test_failing_and_staying_stable_are_judged_against_the_margin():
    assert weigh("fails", difference(-12), margin=10).supports == pytest.approx(stats.norm.sf(2))
    assert weigh("fails", difference(-8), margin=10).verdict == "contradicted"
    assert weigh("stable", difference(-8), margin=10).verdict == "supported"
    assert weigh("stable", difference(-12), margin=10).verdict == "contradicted"
    assert weigh("stable", difference(30), margin=10).verdict == "supported"


def test_several_readings_agree_on_no_more_than_the_weakest():
    assert weakest([Evidence(0.1, 0.9, 1), Evidence(0.2, 0.8, 0.5)]) == (0.2, 0.9, 1)


# Claims.


def test_a_claim_is_supported_everywhere_only_if_every_comparison_is():
    clear, unclear = pair(0.5, 160, 120), pair(0.3, 161, 160)
    assert verdict(clear).says == "supported everywhere"
    judged = verdict(clear + unclear)
    assert (judged.says, judged.counts) == ("supported in 1 of 2", "1 supported, 1 undecided")
    assert verdict(unclear).says == "undecided"
    assert verdict(clear[:1]).says == "not run"


def test_the_p_value_of_a_claim_is_the_largest_of_its_comparisons_without_correction():
    judged = verdict(pair(0.5, 160, 120) + pair(0.3, 130, 120))
    largest = paired(hits(130).astype(float) - hits(120)).p_above(0)
    assert judged.p == pytest.approx(largest)
    assert judged.says == "supported everywhere"


def test_contradictions_are_counted_after_holm():
    assert verdict(pair(0.5, 100, 150)).says == "contradicted in 1 of 1"
    judged = verdict([*pair(0.5, 100, 150), *pair(0.3, 160, 120), *pair(0.7, 100, 140)])
    assert judged.says == "contradicted in 2 of 3"
    assert judged.counts == "1 supported, 2 contradicted"


def test_a_contradiction_that_holm_takes_back_is_counted_but_decides_nothing():
    judged = verdict([*pair(0.1, 100, 104), *pair(0.2, 100, 104), *pair(0.3, 100, 104)])
    (p,) = {comparison.evidence.contradicts for comparison in judged.comparisons}
    assert p < 0.05 < 3 * p
    assert (judged.says, judged.counts) == ("undecided", "3 contradicted")


def test_support_that_holm_takes_back_is_no_support_of_the_claim():
    slight, nothing = [*pair(0.1, 104, 100)], [*pair(0.2, 100, 100), *pair(0.3, 100, 100), *pair(0.5, 100, 100)]
    assert verdict(slight).says == "supported everywhere"
    judged = verdict(slight + nothing)
    assert (judged.says, judged.counts) == ("undecided", "1 supported, 3 undecided")


def test_equivalent_everywhere_does_not_ask_for_a_direction():
    same, better = np.tile([0.0, 1.0], 1000), np.tile([0.0, 1.0], 1000)
    better[:10] = 1  # by a quarter of a point
    scored = [cell("bigain_tm", 0.5, same), cell("tome", 0.5, same), cell("bigain_tm", 0.3, better)]
    judged = verdict(scored[:2])
    assert (judged.says, judged.counts) == ("equivalent everywhere", "1 equivalent")
    assert judged.comparisons[0].evidence.equivalent < 0.05 < judged.p
    judged = verdict([*scored, cell("tome", 0.3, same)])
    assert (judged.says, judged.counts) == ("equivalent everywhere", "1 supported, 1 equivalent")


def test_false_discoveries_are_controlled_over_the_claims_that_could_be_tested():
    scored = [*pair(0.5, 160, 120), cell("tome_fixed", 0.5, hits(159)), cell("sito", 0.5, hits(1), first=900)]
    claims = {than: Claim.parse(than, CLAIM | {"than": [than]}) for than in ("tome", "tome_fixed", "sito", "todo")}
    verdicts = judge_all(ClaimsFile(claims, MARGINS, {}), StudyNumbers(scored, FAMILIES))
    p = [verdict.p for verdict in verdicts]
    assert [verdict.q for verdict in verdicts] == [pytest.approx(2 * p[0]), pytest.approx(p[1]), None, None]


# What is compared.


def test_images_are_matched_by_id():
    ours, theirs = pair(0.5, 100, 100)
    for part in ("image", "acc@1"):
        theirs["items"][part] = theirs["items"][part][::-1]
    (comparison,) = verdict([ours, theirs]).comparisons
    assert (comparison.value, comparison.widest.p) == pytest.approx((0, 1))


def test_smaller_distances_are_better():
    scored = [generated("bigain_tm", 0.5, 20, 2), generated("tome", 0.5, 30, 2)]
    (comparison,) = verdict(scored, metrics=["distance"]).comparisons
    assert comparison.value == pytest.approx(10)
    assert comparison.verdict == "supported"
    assert verdict(scored, metrics=["distance"], of="tome", than=["bigain_tm"]).says == "contradicted in 1 of 1"


def test_the_margin_of_a_distance_is_a_share_of_the_uncompressed_models():
    scored = [generated("bigain_tm", 0.5, 30, 0.1), generated("tome", 0.5, 30, 0.1)]
    (comparison,) = verdict(scored, metrics=["distance"]).comparisons
    assert (comparison.margin, comparison.verdict) == (None, "undecided")
    (comparison,) = verdict([*scored, generated("none", None, 25, 1)], metrics=["distance"]).comparisons
    assert comparison.margin == pytest.approx(2.5)
    assert comparison.verdict == "equivalent"
    judged = verdict(scored, metrics=["distance"], kind="close")
    assert judged.says == (
        "cannot be tested: the margin is a share of the uncompressed model's distance, which was not run"
    )


def test_the_uncompressed_model_and_selected_strengths():
    scored = [cell("bigain_td", 2, hits(160)), cell("bigain_td", 4, hits(60)), cell("none", None, hits(120))]
    claim = {"of": "bigain_td", "than": ["none"], "strengths": [2]}
    assert verdict(scored, **claim).says == "supported everywhere"
    assert verdict(scored, **claim | {"strengths": [2, 4]}).says == "contradicted in 1 of 2"


def test_methods_with_another_kind_of_strength():
    scored = [cell("bigain_tm", 0.5, hits(160)), cell("dip_go", 10, hits(120)), cell("dip_go", 20, hits(170))]
    judged = verdict(scored, than=["dip_go"], strengths=[0.5], than_strength=10)
    assert (judged.says, len(judged.comparisons)) == ("supported everywhere", 1)
    assert verdict(scored, than=["dip_go"]).says == "not run"  # at 0.5 there is none


def test_families():
    scored = pair(0.5, 90, 150, backbone="d")
    assert verdict(scored, families=["unet"]).says == "not run"
    assert verdict(scored, families=["dit"]).says == "contradicted in 1 of 1"


def test_seeds_are_averaged_image_by_image():
    ours = [cell("bigain_tm", 0.5, hits(120), seed=seed) for seed in (0, 1)]
    theirs = [cell("tome", 0.5, hits(right), seed=seed) for seed, right in enumerate((100, 120))]
    (comparison,) = verdict([*ours, *theirs]).comparisons
    assert comparison.value == pytest.approx(5)


def test_a_lead_grows_over_all_strengths_not_between_the_ends_alone():
    """The lead falls from 10 to 1 point before it is 10 again: its line is flat."""
    scored = [*pair(0.1, 150, 130), *pair(0.4, 150, 148), *pair(0.7, 150, 130)]
    (comparison,) = verdict(scored, kind="grows").comparisons
    assert comparison.strengths == [0.1, 0.4, 0.7]
    assert comparison.strength_label == "0.1 to 0.7"
    assert comparison.value == pytest.approx(0)
    grown = [*pair(0.1, 150, 148), *pair(0.4, 150, 140), *pair(0.7, 140, 80)]
    (comparison,) = verdict(grown, kind="grows").comparisons
    assert (comparison.value, comparison.verdict) == (pytest.approx(30 - 1), "supported")
    assert verdict(grown[:2], kind="grows").says == "not run"


def test_a_claim_that_one_method_fails_and_another_does_not_tests_both():
    claim = {"kind": "fails", "of": "bigain_td", "than": ["todo"], "margins": {"acc@1": 10}}
    none, todo, stable = cell("none", None, hits(160)), cell("todo", 2, hits(60)), cell("bigain_td", 2, hits(155))
    judged = verdict([none, todo, stable], **claim)
    assert judged.says == "supported everywhere"
    assert [(c.claimed, c.cell.method, c.than.method) for c in judged.comparisons] == [
        ("fails", "todo", "none"),
        ("stable", "bigain_td", "none"),
    ]
    assert [comparison.value for comparison in judged.comparisons] == pytest.approx([-50, -2.5])
    assert verdict([none, todo, cell("bigain_td", 2, hits(70))], **claim).says == "contradicted in 1 of 2"
    assert verdict([todo, stable], **claim).says == "not run"  # without the uncompressed model


def test_each_comparison_counts_once():
    claim = {"kind": "fails", "of": "bigain_td", "than": ["todo", "avg_pool"], "margins": {"acc@1": 10}}
    failed = [cell(method, 2, hits(60)) for method in ("todo", "avg_pool")]
    judged = verdict([cell("none", None, hits(160)), *failed, cell("bigain_td", 2, hits(155))], **claim)
    assert [(c.claimed, c.cell.method) for c in judged.comparisons] == [
        ("fails", "todo"),
        ("stable", "bigain_td"),
        ("fails", "avg_pool"),
    ]


# What cannot be tested.


def test_closeness_is_undecided_with_five_images():
    same = [cell("bigain_tm", 0.5, np.ones(5)), cell("tome", 0.5, np.ones(5))]
    assert verdict(same, kind="close", margins={"acc@1": 2}).says == "undecided"


@pytest.mark.parametrize(("count", "first"), [(4, 0), (10, 6)])
def test_too_few_common_images_are_no_verdict(count, first):
    scored = [cell("bigain_tm", 0.5, np.ones(count)), cell("tome", 0.5, np.zeros(count), first=first)]
    judged = verdict(scored)
    assert judged.says == "cannot be tested: 4 common images; at least 5 are needed"
    assert (judged.p, judged.images) == (None, None)


def test_cells_without_common_images_are_named_and_the_others_judged():
    apart = [cell("bigain_tm", 0.3, hits(150)), cell("tome", 0.3, hits(50), first=1000)]
    assert verdict(apart).says == "cannot be tested: no common images"
    judged = verdict([*apart, *pair(0.5, 160, 120)])
    assert judged.says == "supported in 1 of 2"
    assert judged.p == 1


def test_cells_of_different_numbers_of_images_are_compared_on_common_ones():
    """Of the 100 images that both have, 60 and all are right, of their other 100 images only 20."""
    scored = [cell("bigain_tm", 0.5, hits(60, 100)), cell("tome", 0.5, hits(120, 200))]
    scores = StudyNumbers(scored, FAMILIES).scores
    (ours,), (theirs,) = scores.cells("acc@1", "bigain_tm"), scores.cells("acc@1", "tome")
    difference = scores.improvement(ours, theirs)
    assert (difference.value, difference.n) == (pytest.approx(-40), 100)
    assert verdict(scored).images == (100, 100)


def test_a_distance_that_scoring_left_out_is_named_with_its_reason():
    few = cell("bigain_tm", 0.5, []) | {"left_out": {"fd": "8 generated images; at least 40 are needed"}}
    judged = verdict([few, generated("tome", 0.5, 30, 2)], metrics=["distance"])
    assert judged.says == "cannot be tested: 8 generated images; at least 40 are needed"


def test_distances_of_other_images_are_not_compared():
    ours, theirs = generated("bigain_tm", 0.5, 20, 2), generated("tome", 0.5, 30, 2)
    theirs["blocks"]["images"]["n"] = 99
    assert verdict([ours, theirs], metrics=["distance"]).says == "cannot be tested: no common images: n is 100 and 99"
    del theirs["blocks"]
    reason = "no seed for which all have distances without each block of images"
    assert verdict([ours, theirs], metrics=["distance"]).says == f"cannot be tested: {reason}"


def test_scores_of_cells_without_common_images_are_not_compared():
    scores = Scores([cell("bigain_tm", 0.5, hits(100)), cell("tome", 0.5, hits(100), first=1000)])
    (ours,), (theirs,) = scores.cells("acc@1", "bigain_tm"), scores.cells("acc@1", "tome")
    with pytest.raises(ValueError, match=r"method='bigain_tm'.*method='tome'.*: 0 common images; a test needs"):
        scores.improvement(ours, theirs)


# Mean leads.


def test_the_mean_lead_is_over_the_strengths_of_a_place_image_by_image():
    scored = [*pair(0.5, 160, 120), *pair(0.3, 130, 120), *pair(0.5, 90, 80, backbone="d")]
    judged = verdict(scored)
    (lead,) = leads(judged, StudyNumbers(scored, FAMILIES))
    assert (lead.cell.backbone, lead.count) == ("u", 2)
    by_image = (hits(160).astype(float) - hits(120) + hits(130) - hits(120)) / 2
    assert lead.difference.value == pytest.approx(12.5)
    assert lead.difference == paired(by_image)


def test_the_mean_lead_of_a_distance_knows_that_its_strengths_are_correlated():
    """The errors of a method are the same at both strengths here, so their mean is no surer than each."""
    cells = [generated(method, r, value, 2) for method, value in (("bigain_tm", 20), ("tome", 30)) for r in (0.5, 0.7)]
    judged = verdict(cells, metrics=["distance"])
    (lead,) = leads(judged, StudyNumbers(cells, FAMILIES))
    assert lead.difference.value == pytest.approx(10)
    assert lead.difference.high - 10 == pytest.approx(np.hypot(2, 2))
    assert lead.difference.low == pytest.approx(judged.comparisons[0].widest.low)


def test_there_is_no_mean_lead_where_the_images_differ():
    scored = [*pair(0.5, 160, 120), *pair(0.3, 130, 120, first=1000)]
    assert leads(verdict(scored), StudyNumbers(scored, FAMILIES)) == []


# Error rates.


class Simulated:
    """Cells with `true` differences at several strengths, seen with normal errors of size 1, correlated by .8."""

    families = FAMILIES

    def __init__(self, true, rng):
        common, alone = np.sqrt(0.8) * rng.standard_normal(), np.sqrt(0.2) * rng.standard_normal(len(true))
        self.seen = dict(enumerate(np.array(true) + common + alone))

    def cells(self, metric, method):
        return [CellMetric(metric, "u", "x", method, strength) for strength in self.seen]

    def __contains__(self, cell):
        return True

    def improvement(self, ours, theirs):
        return Measured((difference(self.seen[ours.strength]),))


@pytest.mark.parametrize(
    ("true", "false_verdict"),
    [
        ([0, 9, 9], "supported everywhere"),
        ([0, 0, 0], "contradicted"),
    ],
)
def test_a_false_verdict_on_a_claim_comes_out_at_most_one_time_in_twenty(true, false_verdict):
    rng, claim = np.random.default_rng(0), Claim.parse("claim", CLAIM)
    file = ClaimsFile({"claim": claim}, MARGINS, {})
    verdicts = [judge(claim, file, Simulated(true, rng)).verdict for _ in range(400)]
    assert np.mean([verdict == false_verdict for verdict in verdicts]) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
