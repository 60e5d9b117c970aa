"""Answer the paper's questions, a sentence each, from the verdicts on the claims that claims.yaml lists for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigain.core.columns import csv_text
from bigain.core.report_specs import ReportSpec
from bigain.core.rounding import rounded
from bigain.reporting import names
from bigain.reporting.claims import ClaimsFile, read_claims_file
from bigain.reporting.claims_table import detectable_in_words
from bigain.reporting.collected import CellScores
from bigain.reporting.evidence import CONTRADICTED, EQUIVALENT, SUPPORTED, UNDECIDED, UNTESTABLE
from bigain.reporting.rendering import write_table
from bigain.reporting.study_numbers import StudyNumbers
from bigain.reporting.verdicts import EQUIVALENT_EVERYWHERE, EVERYWHERE, NOT_RUN, Lead, Verdict, judge_all, leads

YES, NO, PARTLY, MIXED, OPEN = "yes", "no", "partly", "mixed", "not decided"
MOST_LEADS = 3  # in a sentence


@dataclass(frozen=True)
class Answer:
    """The answer to a question: in a word and in a sentence, from these claims, with the fewest and most images."""

    question: str
    answer: str
    sentence: str
    claims: list[str]
    images: tuple[int, int] | None

    @property
    def n(self) -> str:
        """Number of images of a comparison, for print."""
        if self.images is None:
            return ""
        low, high = self.images
        return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def answers(file: ClaimsFile, verdicts: Sequence[Verdict], study: StudyNumbers) -> list[Answer]:
    """Answer every question of claims.yaml."""
    by_claim = {verdict.claim.name: verdict for verdict in verdicts}
    return [
        _answered(question, [by_claim[name] for name in claims], study) for question, claims in file.questions.items()
    ]


def _answered(question: str, verdicts: list[Verdict], study: StudyNumbers) -> Answer:
    run = [verdict for verdict in verdicts if verdict.verdict != NOT_RUN]
    images = [count for verdict in run for count in verdict.images or ()]
    sentence = " ".join(_sentence(verdict, leads(verdict, study)) for verdict in verdicts)
    return Answer(
        question,
        _answer(verdicts),
        sentence,
        [verdict.claim.name for verdict in verdicts],
        (min(images), max(images)) if images else None,
    )


def _answer(verdicts: list[Verdict]) -> str:
    """Return the answer that the verdicts on all claims of a question give together.

    It is `yes` only if every claim is supported everywhere.
    """
    kinds = {verdict.verdict for verdict in verdicts}
    for verdict, answer in ((NOT_RUN, NOT_RUN), (UNTESTABLE, UNTESTABLE), (EVERYWHERE, YES)):
        if kinds == {verdict}:
            return answer
    supported = EVERYWHERE in kinds or any(verdict.supports for verdict in verdicts)
    if kinds & {CONTRADICTED, EQUIVALENT_EVERYWHERE}:
        return MIXED if supported else NO
    return PARTLY if supported else OPEN


def _sentence(verdict: Verdict, averaged: list[Lead]) -> str:
    """Say what was claimed, how its comparisons came out, the mean lead, and what could have been shown."""
    says = verdict.claim.says.split(" (")[0].removeprefix("Our control: ")
    if not verdict.comparisons:
        return f"{says}: {NOT_RUN}."
    kinds = (SUPPORTED, CONTRADICTED, EQUIVALENT, UNDECIDED, UNTESTABLE)
    total, counts = len(verdict.comparisons), {kind: verdict.count(kind) for kind in kinds}
    if counts[UNTESTABLE] == total:
        return f"{says}: {verdict.says}."
    if total == 1:
        outcome = f"{verdict.verdict.removesuffix(' everywhere')} in the only comparison"
    else:
        outcome = f"{', '.join(f'{count} {kind}' for kind, count in counts.items() if count)} of {total} comparisons"
    detectable = "" if verdict.verdict == EVERYWHERE else detectable_in_words(verdict.comparisons)
    power = f"; {detectable} could have been shown" if detectable else ""
    return f"{says}: {outcome}{_mean_leads(averaged)}{power}."


def _mean_leads(averaged: list[Lead]) -> str:
    """Return mean leads with their intervals, or their range if they are many."""
    if len(averaged) > MOST_LEADS:
        values = [rounded(lead.difference.value, 1, signed=True) for lead in averaged]
        low, high = min(values, key=float), max(values, key=float)
        return f"; mean leads from {low} to {high}, by model, data set and metric"
    shown = []
    for lead in averaged:
        value, low, high = (
            rounded(x, 1, signed=True) for x in (lead.difference.value, lead.difference.low, lead.difference.high)
        )
        unit = names.METRICS[lead.cell.metric].short if lead.cell.metric in names.DISTANCES else "points"
        shown.append(f"{value} {unit} [{low}, {high}] ({lead.cell.backbone}, {lead.cell.dataset})")
    return f"; mean lead {', '.join(shown)}" if shown else ""


def write_answers(cells: list[CellScores], data: Path, spec: ReportSpec, tex: Path, csv: Path, html: Path) -> None:
    """Answer the questions of a claims file from a study's cells and write the answers in three formats."""
    file, study = read_claims_file(data), StudyNumbers(cells, spec["backbones"])
    answered = answers(file, judge_all(file, study), study)
    context = {"spec": spec, "answers": answered}
    write_table("answers", context, csv_text("answers", map(_row, answered)), tex, csv, html)


def _row(answer: Answer) -> dict[str, Any]:
    low, high = answer.images or (None, None)
    named = {"question": answer.question, "answer": answer.answer, "sentence": answer.sentence}
    return named | {"claims": " ".join(answer.claims), "fewest_images": low, "most_images": high}
