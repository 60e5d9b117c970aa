"""Verdicts on claims: paired tests, corrected within a claim, and the printed numbers."""

import json

import numpy as np
import pytest
from scipy import stats

from bigain.metrics.significance import paired
from bigain.reporting.claims import Claim, in_print, judge, read_claims, write_claims
from bigain.reporting.contents import check_report_files
from bigain.reporting.package_files import CLAIMS
from bigain.reporting.scores import Scores
from bigain.study.config import ConfigError

CLAIM = {"of": "bigain_tm", "than": ["tome"], "metrics": ["acc@1"], "kind": "better", "says": "better"}
FAMILIES = {"u": "unet", "d": "dit"}


def cell(method, strength, hits, backbone="u", seed=0, first=0):
    return {
        "cell": {"backbone": backbone, "dataset": "x", "method": method, "strength": strength, "seed": seed},
        "items": {"image": list(range(first, first + len(hits))), "acc@1": [int(hit) for hit in hits]},
        "metrics": {},
    }


def distance(method, strength, value, half):
    estimate = {"value": value, "low": value - half, "high": value + half, "n": 100}
    return cell(method, strength, []) | {"items": {}, "metrics": {"fd": estimate}}


def hits(right, count=200):
    return np.arange(count) < right


def verdict(scored, **changes):
    return judge(Claim.parse("claim", CLAIM | changes), Scores(scored), FAMILIES)


def test_the_verdict_is_the_worst_comparison():
    clear = [cell("bigain_tm", 0.5, hits(160)), cell("tome", 0.5, hits(120))]
    close = [cell("bigain_tm", 0.3, hits(161)), cell("tome", 0.3, hits(160))]
    lost = [cell("bigain_tm", 0.1, hits(100)), cell("tome", 0.1, hits(150))]
    assert verdict(clear).verdict == "holds"
    assert verdict(clear + close).verdict == "holds within error"
    assert verdict(clear + close + lost).verdict == "does not hold"
    assert verdict(clear[:1]).verdict == "not run"
    comparisons = verdict(clear + close).comparisons
    assert [comparison.favours for comparison in comparisons] == [True, None]
    assert comparisons[0].value == pytest.approx(20)
    assert comparisons[0].p == pytest.approx(2 * paired((np.arange(200) < 40).astype(float)).p)  # twice by Holm


def test_correction_within_a_claim():
    """Five discordant pairs to none: p = 0.03 alone, 0.06 among two comparisons."""
    five_pairs = [cell("bigain_tm", 0.5, hits(105)), cell("tome", 0.5, hits(100))]
    equal = [cell("bigain_tm", 0.3, hits(100)), cell("tome", 0.3, hits(100))]
    assert verdict(five_pairs).verdict == "holds"
    assert verdict(five_pairs + equal).verdict == "holds within error"


def test_images_are_matched_by_id():
    ours = cell("bigain_tm", 0.5, hits(100))
    theirs = cell("tome", 0.5, hits(100))
    for part in ("image", "acc@1"):
        theirs["items"][part] = theirs["items"][part][::-1]
    (comparison,) = verdict([ours, theirs]).comparisons
    assert (comparison.value, comparison.p) == pytest.approx((0, 1))


def test_smaller_distances_are_better():
    scored = [distance("bigain_tm", 0.5, 20, 2), distance("tome", 0.5, 30, 2)]
    (comparison,) = verdict(scored, metrics=["distance"]).comparisons
    assert comparison.value == pytest.approx(10)
    assert comparison.p == pytest.approx(2 * stats.norm.sf(10 / (np.hypot(2, 2) / 1.96)))
    assert verdict(scored, metrics=["distance"], of="tome", than=["bigain_tm"]).verdict == "does not hold"


def test_the_uncompressed_model_and_selected_strengths():
    scored = [cell("bigain_td", 2, hits(160)), cell("bigain_td", 4, hits(60)), cell("none", None, hits(120))]
    claim = {"of": "bigain_td", "than": ["none"], "strengths": [2]}
    assert verdict(scored, **claim).verdict == "holds"
    assert verdict(scored, **claim | {"strengths": [2, 4]}).verdict == "does not hold"


def test_methods_with_another_kind_of_strength():
    scored = [cell("bigain_tm", 0.5, hits(160)), cell("dip_go", 10, hits(120)), cell("dip_go", 20, hits(170))]
    claim = {"than": ["dip_go"], "strengths": [0.5], "than_strength": 10}
    judged = verdict(scored, **claim)
    assert (judged.verdict, len(judged.comparisons)) == ("holds", 1)
    assert verdict(scored, than=["dip_go"]).verdict == "not run"  # at 0.5 there is none


def test_families():
    scored = [cell("bigain_tm", 0.5, hits(90), "d"), cell("tome", 0.5, hits(150), "d")]
    assert verdict(scored, families=["unet"]).verdict == "not run"
    assert verdict(scored, families=["dit"]).verdict == "does not hold"


def test_close_needs_the_whole_interval_inside_the_margin():
    same = [cell("bigain_tm", 0.5, hits(1000, 2000)), cell("bigain_tm_cached", 0.5, hits(1000, 2000))]
    far = [cell("bigain_tm", 0.3, hits(100)), cell("bigain_tm_cached", 0.3, hits(60))]
    claim = {"kind": "close", "than": ["bigain_tm_cached"], "margin": 2}
    assert verdict(same, **claim).verdict == "holds"
    assert verdict(same + far, **claim).verdict == "does not hold"
    assert [comparison.favours for comparison in verdict(far, **claim | {"margin": 20}).comparisons] == [None]


def test_a_growing_lead():
    scored = [
        *(cell("bigain_tm", 0.1, hits(150)), cell("tome", 0.1, hits(148))),
        *(cell("bigain_tm", 0.4, hits(150)), cell("tome", 0.4, hits(140))),
        *(cell("bigain_tm", 0.7, hits(140)), cell("tome", 0.7, hits(80))),
    ]
    (comparison,) = verdict(scored, kind="grows").comparisons
    assert (comparison.strength, comparison.grown_to) == (0.1, 0.7)
    assert comparison.strength_label("merge_ratio") == "0.1 to 0.7"
    assert comparison.value == pytest.approx(30 - 1)
    assert comparison.favours is True
    assert verdict(scored[:2], kind="grows").verdict == "not run"


def test_seeds_are_averaged_image_by_image():
    ours = [cell("bigain_tm", 0.5, hits(120), seed=seed) for seed in (0, 1)]
    theirs = [cell("tome", 0.5, hits(right), seed=seed) for seed, right in enumerate((100, 120))]
    (comparison,) = verdict([*ours, *theirs]).comparisons
    assert comparison.value == pytest.approx(5)
    assert comparison.p == pytest.approx(paired((np.arange(200) < 20) / 2).p)  # 20 images better by half a hit


def test_which_claims_the_printed_numbers_bear_out():
    claims = read_claims(CLAIMS)
    printed = {name: in_print(claim) for name, claim in claims.items()}
    assert printed["merging_recognises"] == (42, 42)
    assert printed["merging_generates"] == (34, 35)  # COCO at 10%: 26.45 and 26.51
    assert printed["twofold_surpasses"] == (6, 8)  # not recognition on ImageNet-100, on either backbone
    assert printed["laplacian_is_best"] == (0, 0)  # Table 7 is not printed
    assert printed["low_beats_high"] == (1, 1)


def test_the_three_formats_agree(tmp_path, root):
    scored = [cell("bigain_tm", 0.5, hits(160)), cell("tome", 0.5, hits(120))]
    (tmp_path / "claims.yaml").write_text(json.dumps({"claim": CLAIM}))
    spec = {"study": "s", "backbones": FAMILIES, "of_paper": False}
    files = [tmp_path / f"claims.{suffix}" for suffix in ("tex", "csv", "html")]
    write_claims(scored, tmp_path / "claims.yaml", spec, *files)
    tex, csv, html = (file.read_text() for file in files)
    assert "better & holds & 1 & 0 & 1 & 35 of 35 \\\\" in tex
    assert ">holds</td><td>1</td><td>1</td><td>1</td><td>0</td><td>35 of 35</td>" in html
    place = "claim,holds,better,u,x,acc@1,bigain_tm,BiGain_TM,tome,0.5,,merge_ratio"
    assert f"\n{place},20,14.88996712,25.97309609,4.69" in csv


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"of": "bigain"}, "claim: unknown method 'bigain'. Did you mean 'bigain_t"),
        ({"kind": "best"}, "claim: unknown kind 'best'"),
        ({"metrics": ["acc"]}, "claim: unknown metric 'acc'. Did you mean 'acc@1'"),
        ({"than": None}, "claim: than is missing"),
        ({"strenghts": [1]}, "claim: unknown key 'strenghts'. Did you mean 'strengths'"),
    ],
)
def test_a_broken_claim_is_named(change, message, tmp_path):
    claim = {key: value for key, value in (CLAIM | change).items() if value is not None}
    (tmp_path / "claims.yaml").write_text(json.dumps({"claim": claim}))
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        read_claims(tmp_path / "claims.yaml")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config/config.yaml", ": study is 'mini', not a mapping"),
        ("config/README.md", ", line 4 is not YAML: mapping values are not allowed here"),
        ("config", " is a folder"),
        ("config/none.yaml", " is missing"),
        ("list.yaml", " holds a list"),
        ("empty.yaml", " holds nothing"),
        ("twice.yaml", ": the key a is on line 1 and again on line 2; keep one"),
    ],
)
def test_a_file_of_another_form_is_refused_while_planning(root, tmp_path, monkeypatch, file, message):
    monkeypatch.chdir(root)
    for name, text in {"list.yaml": "- a\n", "empty.yaml": "# nothing\n", "twice.yaml": "a: {}\na: {}\n"}.items():
        (tmp_path / name).write_text(text)
    path = str(tmp_path / file) if (tmp_path / file).exists() else file
    for key in ("claims", "tables"):
        line = f"{key}: {path}{message}; a mapping from names to {key} is needed, as in bigain/reporting/{key}.yaml"
        assert refused_files(**{key: path}) == f"invalid config:\n  {line}"


def test_claims_and_tables_are_not_taken_for_each_other(root, monkeypatch):
    monkeypatch.chdir(root)
    claims, tables = "bigain/reporting/claims.yaml", "bigain/reporting/tables.yaml"
    assert refused_files(claims=claims, tables=tables) is None
    heading, *lines = refused_files(claims=tables, tables=claims).splitlines()
    assert heading == "invalid config:"
    assert [line.split(". ")[0] for line in lines] == [
        "  tables: bigain/reporting/claims.yaml: merging_recognises: unknown key 'says'",
        "  claims: bigain/reporting/tables.yaml: table2: unknown key 'title'",
    ]


def refused_files(**config):
    """Return the message about a config's files of tables and claims, or None."""
    try:
        check_report_files({"tables": None, "claims": None, **config})
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"of": ["tome"]}, "of is a list; text is needed"),
        ({"than": "tome"}, "than is 'tome'; a list is needed"),
        ({"metrics": [1]}, "metrics is a list; a list of text is needed"),
        ({"strengths": [0.5, "x"]}, "strengths is a list; a list of a number is needed"),
        ({"control": "yes"}, "control is 'yes'; true or false is needed"),
        ({"margin": True}, "margin is True; a number is needed"),
    ],
)
def test_a_value_of_another_type_is_named(change, message, tmp_path):
    (tmp_path / "claims.yaml").write_text(json.dumps({"claim": CLAIM | change}))
    with pytest.raises(ValueError, match=f"claim: {message}"):
        read_claims(tmp_path / "claims.yaml")


def test_cells_without_common_images_are_named():
    scores = Scores([cell("bigain_tm", 0.5, hits(100)), cell("tome", 0.5, hits(100), first=1000)])
    (ours,), (theirs,) = scores.cells("acc@1", "bigain_tm"), scores.cells("acc@1", "tome")
    with pytest.raises(ValueError, match=r"method='bigain_tm'.*method='tome'.*: 0 common images; a test needs"):
        scores.improvement(ours, theirs)
