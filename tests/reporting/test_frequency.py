"""The page "Is it frequency?": its answer by rule, and what it reads from margins, from made-up cells."""

import numpy as np
import pandas as pd
import pytest

from bigain.core.records import write_table
from bigain.metrics.spectral import outside
from bigain.reporting.frequency import write_frequency
from bigain.reporting.frequency_answer import answer, findings
from bigain.reporting.frequency_cells import CONTROLS, RULES, alpha_of, alpha_sweeps, destinations
from bigain.reporting.frequency_probe import band_responses, fitted_weights, mediations, read_margins
from bigain.reporting.package_files import CLAIMS
from bigain.reporting.spectrum_probe import bands_outside
from bigain.reporting.study_numbers import StudyNumbers
from tests.helpers.scored import FAMILIES, cell, hits

SPEC = {"study": "s", "backbones": FAMILIES}
PROBE = {"backbone": {"id": "u"}, "dataset": {"id": "x"}, "bands": 2, "seed": 0, "noises": 2}
HIGHEST, SHUFFLED, SHARED = CONTROLS
IMAGES, TIMESTEPS = 600, (125, 375, 625, 875)


def study(right, backbone="u"):
    """Merging at 0.7, by the number of 400 images that each rule gets right."""
    return [cell(method, 0.7, hits(count, 400), backbone) for method, count in right.items()]


def answered(cells, measured=()):
    return answer(findings(destinations(StudyNumbers(cells, FAMILIES), margin=1), list(measured)))


BEST = {"bigain_tm": 360, HIGHEST: 300, SHUFFLED: 310, SHARED: 320}


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        (BEST, "Yes: on u (x) at 0.7, the token of lowest score is the best destination (+15.0 ["),
        (
            BEST | {SHUFFLED: 390},
            "Mixed: on u (x) at 0.7, the token of lowest score is better than some, worse than others",
        ),
        (
            dict.fromkeys(BEST, 360) | {SHUFFLED: 390},
            "No: on u (x) at 0.7, the token of lowest score is a worse destination than at least one other",
        ),
        (dict.fromkeys(BEST, 300), "No: on u (x) at 0.7, no rule is better by 1 point or more (+0.0 ["),
        (BEST | {SHARED: 359}, "Not decided: on u (x) at 0.7, not every lead is clear"),
        (
            {"bigain_tm": 302, HIGHEST: 301},
            "Not run: on u (x) at 0.7, destinations by lowest shuffled score and random, sh",
        ),
        (
            {"bigain_tm": 302, "tome": 301},
            "Not run: no ratio has cells with destinations by lowest score (bigain_tm), ",
        ),
    ],
)
def test_the_answer_follows_the_leads(right, expected):
    sentence = answered(study(right))
    assert sentence.startswith(expected)
    assert sentence.endswith(".")


def test_a_lead_says_on_how_many_images_it_is():
    """A control may have classified fewer of them than BiGain_TM."""
    fewer = cell(SHARED, 0.7, hits(100, 200), "u")
    sentence = answered([*study({"bigain_tm": 300, HIGHEST: 300, SHUFFLED: 300}), fewer])
    assert "over highest score, n = 400; " in sentence
    assert f"over {RULES[SHARED]}, n = 200)" in sentence


def test_answers_that_differ_between_backbones_are_answered_in_part():
    sentence = answered(study(BEST) + study(BEST | {SHARED: 359}, "d"))
    assert sentence.startswith("In part: on u (x) at 0.7, the token of lowest score is the best destination")
    assert "; on d (x) at 0.7, not every lead is clear" in sentence


def test_answers_that_contradict_each_other_are_mixed():
    sentence = answered(study(BEST) + study(dict.fromkeys(BEST, 360) | {SHUFFLED: 390}, "d"))
    assert sentence.startswith("Mixed: on u (x) at 0.7, the token of lowest score is the best destination")
    assert "; on d (x) at 0.7, the token of lowest score is a worse destination" in sentence


def test_a_lead_has_the_p_value_of_a_claim():
    (compared,) = destinations(StudyNumbers(study(BEST | {SHARED: 353}), FAMILIES), margin=1)
    lead = compared.leads[SHARED]
    assert lead.difference.value == pytest.approx(100 * 7 / 400)
    assert lead.p == lead.difference.p_above(0)
    assert compared.accuracies == {"bigain_tm": 90, HIGHEST: 75, SHUFFLED: 77.5, SHARED: 88.25}


@pytest.mark.parametrize(
    ("method", "family", "alpha"),
    [
        ("avg_pool", "unet", 0.0),
        ("todo", "dit", 1.0),
        ("bigain_td", "unet", 0.9),
        ("bigain_td", "dit", 0.1),
        ("bigain_td~alpha-1.25", "dit", 1.25),
        ("bigain_td~alpha-0.8to1.2", "unet", None),
        ("bigain_td~alpha-0.5~site-top_left", "unet", None),
        ("todo~site-top_left", "unet", None),
        ("bigain_tm", "unet", None),
    ],
)
def test_alpha_is_read_from_methods_that_differ_in_it_alone(method, family, alpha):
    assert alpha_of(method, family) == alpha


def test_a_sweep_compares_every_alpha_of_a_factor_with_one():
    right = {"todo": 150, "avg_pool": 100, "bigain_td": 148, "bigain_td~alpha-0.5": 120}
    cells = [cell(method, 4, hits(count)) for method, count in right.items()] + [cell("todo", 2, hits(160))]
    (sweep,) = alpha_sweeps(StudyNumbers(cells, FAMILIES))
    assert sweep.accuracies == {0.0: 50, 0.5: 60, 0.9: 74, 1.0: 75}
    assert {alpha: change.difference.value for alpha, change in sweep.changes.items()} == pytest.approx(
        {0.0: -25, 0.5: -15, 0.9: -1}
    )
    assert sweep.p[0.0] == pytest.approx(3 * sweep.changes[0.0].difference.p)
    assert sweep.p[0.9] == pytest.approx(sweep.changes[0.9].difference.p)  # the largest of three


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """Margins and cells of a world in which r is the cause: compression adds noise to margins, so fewer stay right."""
    rng = np.random.default_rng(0)
    easy = rng.normal(0.6, 0.8, IMAGES)
    arms = {("none", None): 0 * easy, ("bigain_tm", 0.7): rng.exponential(0.4, IMAGES)}
    arms |= {(method, 0.7): arms["bigain_tm", 0.7] + rng.exponential(0.8, IMAGES) for method in CONTROLS}
    parts, cells = [], []
    for (method, strength), loss in arms.items():
        classes = (1, 2) if method == "none" else (1,)
        index = pd.MultiIndex.from_product(
            [range(IMAGES), TIMESTEPS, (0, 1), classes], names=["image", "t", "noise", "wrong"]
        )
        frame = index.to_frame(index=False)
        margin = (easy - loss)[frame["image"]] + rng.normal(0, 0.5, len(frame)) + 2.0 * (frame["wrong"] == 2)
        frame = frame.assign(method=method, strength=strength, hardest=frame["wrong"] == 1)
        frame["band_0"], frame["band_1"] = margin, 0.2 * margin
        parts.append(frame)
        right = rng.random(IMAGES) < 1 / (1 + np.exp(-4 * (easy - loss)))
        cells.append(cell(method, strength, right))
    file = tmp_path_factory.mktemp("probe") / "margins.parquet"
    table = pd.concat(parts, ignore_index=True)
    table["strength"] = table["strength"].astype(float)
    write_table(file, {name: table[name].to_numpy() for name in table}, PROBE)
    return file, cells, easy


def test_margins_are_read_by_image_timestep_noise_and_band(probed):
    file, _, easy = probed
    margins = read_margins(file)
    assert margins.to_all.shape == (IMAGES, 4, 2, 2, 2)
    assert list(margins.arms) == [("none", None), ("bigain_tm", 0.7), *((method, 0.7) for method in CONTROLS)]
    full = margins.arms["none", None]
    assert full.shape == (IMAGES, 4, 2, 2)
    assert np.array_equal(full, margins.to_all[:, :, :, 0])
    assert full[..., 0].mean(axis=(1, 2)) == pytest.approx(easy, abs=0.8)
    assert 0.6 < margins.right() < 0.9


def test_a_cause_is_found_and_the_page_says_so(probed, tmp_path):
    file, cells, _ = probed
    margins, numbers = read_margins(file), StudyNumbers(cells, FAMILIES)
    mediated = mediations(margins, numbers.scores)
    of_highest = next(m for m in mediated if m.theirs == (HIGHEST, 0.7))
    assert of_highest.explained.mediates
    assert of_highest.explained.share == pytest.approx(1, abs=0.4)
    sentence = answered(cells, [(margins, mediated)])
    assert "best destination" in sentence
    assert "and the change of r explains" in sentence

    for name in ("first", "second"):
        outputs = [tmp_path / f"{name}.{suffix}" for suffix in ("tex", "csv", "html", "pdf", "png")]
        write_frequency([file], cells, CLAIMS, SPEC, *outputs)
        assert (tmp_path / f"first.{outputs[-1].suffix[1:]}").read_bytes() == outputs[-1].read_bytes()
    table = pd.read_csv(tmp_path / "first.csv")
    assert table["sentence"].dropna().tolist() == [sentence]
    explained = table[(table["quantity"] == "explained") & (table["against"] == HIGHEST)]
    assert explained["value"].tolist() == pytest.approx([of_highest.explained.value])
    assert (tmp_path / "first.html").read_text().count("<table") == 3  # no alpha was run
    assert sentence[:30] in (tmp_path / "first.tex").read_text()


def test_few_images_fit_nothing(probed):
    file, cells, _ = probed
    margins = read_margins(file)
    few = [scored | {"items": {key: values[:9] for key, values in scored["items"].items()}} for scored in cells]
    assert mediations(margins, StudyNumbers(few, FAMILIES).scores) == []
    assert set(fitted_weights(margins)) == {"bands", "timesteps"}


def test_the_response_of_a_method_that_keeps_everything_is_one(probed):
    responded = {each.arm: each for each in band_responses(read_margins(probed[0]))}
    assert responded["none", None].value == pytest.approx(np.ones(2))
    assert (responded["bigain_tm", 0.7].value < 1).all()
    assert responded[HIGHEST, 0.7].r > responded["bigain_tm", 0.7].r > responded["none", None].r


def test_bands_are_listed_whose_response_is_clearly_outside():
    low, high = np.array([1.1, 0.9, -0.5, -0.1, np.nan]), np.array([1.3, 1.2, -0.2, 0.1, np.nan])
    assert outside(low, high) == ["above 1", "", "below 0", "", ""]
    assert bands_outside(low, high) == "above 1: 0; below 0: 2"


def test_nothing_to_compare_is_said(tmp_path):
    outputs = [tmp_path / f"page.{suffix}" for suffix in ("tex", "csv", "html", "pdf", "png")]
    write_frequency([], [cell("none", None, hits(10))], CLAIMS, SPEC, *outputs)
    html = (tmp_path / "page.html").read_text()
    assert "Not run: no ratio has cells with destinations by lowest score" in html
    assert "This study did not measure" in html


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.assign(band_1=np.nan), "margins.parquet: a margin is not finite"),
        (lambda table: table.iloc[:-1], "margins.parquet: an arm does not have 600 x 4 x 2 margins"),
        (lambda table: table[table["method"] != "none"], "margins.parquet: its first arm has to be the uncompressed"),
    ],
)
def test_wrong_margins_are_named(probed, tmp_path, spoil, message):
    table = spoil(pd.read_parquet(probed[0]))
    write_table(tmp_path / "margins.parquet", {name: table[name].to_numpy() for name in table}, PROBE)
    with pytest.raises(ValueError, match=message):
        read_margins(tmp_path / "margins.parquet")
