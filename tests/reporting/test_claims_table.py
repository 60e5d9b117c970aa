"""The table of claims and the answers to the paper's questions, in three formats each."""

import csv
import json

import pytest

from bigain.metrics.jackknife import T
from bigain.reporting.answers import answers, write_answers
from bigain.reporting.claims import read_claims_file
from bigain.reporting.claims_table import detectable_in_words, margins_in_words, write_claims
from bigain.reporting.comparisons import comparisons
from bigain.reporting.package_files import CLAIMS
from bigain.reporting.study_numbers import StudyNumbers
from bigain.reporting.verdicts import judge_all
from tests.helpers.scored import FAMILIES, cell, generated, hits

CLAIM = {"of": "bigain_tm", "than": ["tome"], "metrics": ["acc@1"], "kind": "better", "says": "BiGain_TM wins (4.3)"}
SPEC = {"study": "s", "backbones": FAMILIES, "of_paper": False}
SCORED = [
    *(cell("bigain_tm", 0.5, hits(160)), cell("tome", 0.5, hits(120))),
    *(cell("bigain_tm", 0.3, hits(121)), cell("tome", 0.3, hits(120))),
]


@pytest.fixture
def data(tmp_path):
    content = {
        "margins": {"acc@1": 1, "distance": 0.1},
        "questions": {"Does it?": ["claim"]},
        "claims": {"claim": CLAIM},
    }
    (tmp_path / "claims.yaml").write_text(json.dumps(content))
    return tmp_path / "claims.yaml"


def written(write, data, scored=SCORED):
    files = [data.parent / f"out.{suffix}" for suffix in ("tex", "csv", "html")]
    write(scored, data, SPEC, *files)
    return [file.read_text() for file in files]


def test_the_three_formats_agree(data):
    tex, text, html = written(write_claims, data)
    rows = list(csv.DictReader(text.splitlines()))
    assert {row["verdict"] for row in rows if row["source"] == "study"} == {"partly supported"}
    clear, unclear, lead = (row for row in rows if row["source"] == "study")
    assert (clear["strength"], clear["value"], clear["outcome"], clear["n"]) == ("0.5", "20", "supported", "200")
    assert (unclear["strength"], unclear["value"], unclear["outcome"]) == ("0.3", "0.5", "undecided")
    assert (lead["row"], lead["value"], lead["strength"]) == ("mean lead", "10.25", "")
    assert clear["p_claim"] == clear["q_claim"] == unclear["p"]
    assert "wins (4.3) & supported in 1 of 2 & 1/0/0/1 & " in tex
    assert '<td class="verdict">supported in 1 of 2</td>' in html
    assert "<td>+20.0 <small>" in html


def test_the_papers_own_numbers_stand_beside_ours(data):
    _, text, html = written(write_claims, data)
    paper = [row for row in csv.DictReader(text.splitlines()) if row["source"] == "paper"]
    assert len(paper) == 35
    assert {row["backbone"] for row in paper} == {"sd2", "dit_xl2"}
    assert all(float(row["detectable"]) <= float(row["detectable_at_worst"]) for row in paper)
    supported = sum(row["outcome"] == "supported" for row in paper)
    assert f"of 35 (each by itself: {supported} supported, {35 - supported} undecided); could show " in html


def test_only_a_claim_supported_everywhere_is_said_to_hold(data):
    _, _, html = written(write_claims, data, SCORED[2:])
    assert "holds" not in html
    assert '<tr class="undecided">' in html


def test_a_claim_without_cells_has_a_row(data):
    _, text, _ = written(write_claims, data, [])
    (row,) = (row for row in csv.DictReader(text.splitlines()) if row["source"] == "study")
    assert (row["claim"], row["verdict"], row["value"]) == ("claim", "not run", "")


def test_margins_and_smallest_differences_in_words():
    file = read_claims_file(CLAIMS)
    assert margins_in_words(file) == ("1 point of Acc@1 or 1 point of mAP or 10% of the uncompressed model's distance")
    scored = [generated("bigain_tm", 0.5, 20, T), generated("tome", 0.5, 30, T), *SCORED[:2]]
    compared = [
        comparison
        for name in ("merging_recognises", "merging_generates")
        for comparison in comparisons(file.claims[name], file, StudyNumbers(scored, FAMILIES))
    ]
    recognition, generation = compared
    assert detectable_in_words([generation]) == "4.2 FD"  # (2.09 + 0.86) sqrt(2)
    assert detectable_in_words(compared) == f"{recognition.detectable[0]:.1f} points; 4.2 FD"


def judged(scored, data):
    (verdict,) = judge_all(read_claims_file(data), StudyNumbers(scored, FAMILIES))
    return verdict


def answered(scored, data):
    file, study = read_claims_file(data), StudyNumbers(scored, FAMILIES)
    (answer,) = answers(file, judge_all(file, study), study)
    return answer


def test_a_question_is_answered_in_a_sentence_with_its_images(data):
    answer = answered(SCORED, data)
    assert (answer.question, answer.answer, answer.n) == ("Does it?", "partly", "200")
    assert answer.sentence.startswith(
        "BiGain_TM wins: 1 supported, 1 undecided of 2 comparisons; mean lead +10.2 points ["
    )
    shown = detectable_in_words(judged(SCORED, data).comparisons)
    assert answer.sentence.endswith(f"] (u, x); {shown} could have been shown.")


def test_many_mean_leads_are_a_range(data):
    scored = [cell for place in "abcd" for cell in at(SCORED, place)]
    assert "; mean leads from +10.2 to +10.2, by model, data set and metric; " in answered(scored, data).sentence


def at(scored, dataset):
    """The same cells on another data set."""
    return [cell | {"cell": cell["cell"] | {"dataset": dataset}} for cell in scored]


def test_the_answer_is_yes_only_if_every_comparison_supports_it(data):
    assert answered(SCORED[:2], data).answer == "yes"
    assert answered(SCORED[:2], data).sentence == "BiGain_TM wins: supported in the only comparison."
    assert answered(SCORED[2:], data).answer == "not decided"
    assert answered([cell("bigain_tm", 0.5, hits(9)), cell("tome", 0.5, hits(99))], data).answer == "no"
    lost = [cell("bigain_tm", 0.7, hits(9)), cell("tome", 0.7, hits(99))]
    assert answered([*SCORED[:2], *lost], data).answer == "mixed"
    assert answered([], data).answer == "not run"
    assert answered([cell("bigain_tm", 0.5, hits(9)), cell("tome", 0.5, hits(9), first=999)], data).answer == (
        "cannot be tested"
    )


def test_the_answers_are_written_in_three_formats(data):
    tex, text, html = written(write_answers, data)
    (row,) = csv.DictReader(text.splitlines())
    assert (row["answer"], row["claims"], row["fewest_images"], row["most_images"]) == ("partly", "claim", "200", "200")
    assert "Does it? & partly & " in tex
    assert '<tr class="partly"><th>Does it?</th><td class="verdict">partly</td>' in html
