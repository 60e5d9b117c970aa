"""claims.yaml: the claims, margins and questions of the package, and files that cannot be read."""

import json
import re

import pytest

from bigain.reporting.claims import read_claims, read_claims_file
from bigain.reporting.contents import check_report_files
from bigain.reporting.package_files import CLAIMS
from bigain.study.config import ConfigError

CLAIM = {"of": "bigain_tm", "than": ["tome"], "metrics": ["acc@1"], "kind": "better", "says": "better"}


def written(folder, content):
    (folder / "claims.yaml").write_text(json.dumps(content))
    return folder / "claims.yaml"


def test_the_margins_of_a_claim_come_before_those_of_the_file(tmp_path):
    ours = CLAIM | {"margins": {"acc@1": 2}}
    content = {"margins": {"acc@1": 1, "distance": 0.1}, "claims": {"ours": ours, "other": CLAIM}}
    file = read_claims_file(written(tmp_path, content))
    assert file.margin(file.claims["ours"], "acc@1") == 2
    assert file.margin(file.claims["other"], "acc@1") == 1
    assert file.margin(file.claims["ours"], "distance") == 0.1
    assert file.margin(file.claims["ours"], "map") is None


def test_the_claims_of_the_package_judge_the_map_that_the_paper_prints():
    file = read_claims_file(CLAIMS)
    assert "map_released" in file.claims["merging_recognises"].metrics
    assert not any("map" in claim.metrics for claim in file.claims.values())
    assert set(file.margins) == {"acc@1", "map_released", "distance"}


def test_the_paper_claims_for_its_two_models_and_a_control_tests_every_one(tmp_path):
    content = {"claims": {"paper": CLAIM, "control": CLAIM | {"control": True, "strengths": [0.7]}}}
    claims = read_claims_file(written(tmp_path, content)).claims
    families = ("unet", "dit", "mmdit", "flux")
    assert [family for family in families if claims["paper"].covers(family, 0.7)] == ["unet", "dit"]
    assert [family for family in families if claims["control"].covers(family, 0.7)] == list(families)
    assert not claims["control"].covers("flux", 0.5)


def test_every_question_of_the_package_asks_something_and_has_claims():
    questions = read_claims_file(CLAIMS).questions
    assert len(questions) == 5
    assert all(question.endswith("?") and claims for question, claims in questions.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"of": "bigain"}, "claim: unknown method 'bigain'. Did you mean 'bigain_t"),
        ({"kind": "best"}, "claim: unknown kind 'best'"),
        ({"metrics": ["acc"]}, "claim: unknown metric 'acc'. Did you mean 'acc@1'"),
        ({"than": None}, "claim: than is missing"),
        ({"strenghts": [1]}, "claim: unknown key 'strenghts'. Did you mean 'strengths'"),
        ({"of": ["tome"]}, "claim: of is a list; text is needed"),
        ({"than": "tome"}, "claim: than is 'tome'; a list is needed"),
        ({"metrics": [1]}, "claim: metrics is a list; a list of text is needed"),
        ({"strengths": [0.5, "x"]}, "claim: strengths is a list; a list of a number is needed"),
        ({"control": "yes"}, "claim: control is 'yes'; true or false is needed"),
        ({"margins": 2}, "claim: margins is 2; a mapping is needed"),
        ({"margins": {"acc@1": "2"}}, "claim: margins is a mapping; a mapping of a number is needed"),
        ({"margins": {"acc": 2}}, "claim: unknown metric in margins 'acc'. Did you mean 'acc@1'"),
        ({"margins": {"acc@1": -1}}, "claim: the margin of acc@1 is -1; a number above 0 is needed"),
        ({"kind": "close"}, "claim: a claim of the kind close needs a margin of acc@1"),
    ],
)
def test_a_broken_claim_is_named(change, message, tmp_path):
    claim = {key: value for key, value in (CLAIM | change).items() if value is not None}
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        read_claims(written(tmp_path, {"claims": {"claim": claim}}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"claim": CLAIM}, "unknown section 'claim'. Did you mean 'claims'"),
        ({"claims": None}, "claims is nothing; a mapping from names to claims is needed"),
        ({"margins": [1]}, "margins is a list; a mapping from metrics to numbers is needed"),
        ({"margins": {"acc@1": True}}, "the margin of acc@1 is True; a number above 0 is needed"),
        ({"questions": ["Is it?"]}, "questions is a list; a mapping from questions to lists of claims is needed"),
        ({"questions": {"Is it?": "claim"}}, "questions: 'Is it?' is 'claim'; a list of claims is needed"),
        ({"questions": {"Is it?": [["claim"]]}}, "questions: 'Is it?': unknown claim \"['claim']\""),
        ({"questions": {"Is it?": ["clain"]}}, "questions: 'Is it?': unknown claim 'clain'. Did you mean 'claim'"),
    ],
)
def test_a_broken_section_is_named(change, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/claims.yaml: {message}")):
        read_claims(written(tmp_path, {"claims": {"claim": CLAIM}} | change))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config/config.yaml", ": study is 'mini', not a mapping"),
        ("config/README.md", ", line 5 is not YAML: mapping values are not allowed here"),
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
        if (key, file) == ("claims", "config/config.yaml"):
            line = f"{key}: {path}: unknown section 'study'. Allowed: claims, margins, questions."
        else:
            line = f"{key}: {path}{message}; a mapping from names to {key} is needed, as in bigain/reporting/{key}.yaml"
        assert refused_files(**{key: path}) == f"invalid config:\n  {line}"


def test_claims_and_tables_are_not_taken_for_each_other(root, monkeypatch):
    monkeypatch.chdir(root)
    claims, tables = "bigain/reporting/claims.yaml", "bigain/reporting/tables.yaml"
    assert refused_files(claims=claims, tables=tables) is None
    heading, *lines = refused_files(claims=tables, tables=claims).splitlines()
    assert heading == "invalid config:"
    assert [line.split(". ")[0] for line in lines] == [
        "  tables: bigain/reporting/claims.yaml: margins: unknown key 'acc@1'",
        "  claims: bigain/reporting/tables.yaml: unknown section 'table2'",
    ]


def refused_files(**config):
    """Return the message about a config's files of tables and claims, or None."""
    try:
        check_report_files({"tables": None, "claims": None, **config})
    except ConfigError as error:
        return str(error)
    return None
