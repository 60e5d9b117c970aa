"""The answer to "Is it frequency?", by rule.

For each backbone, data set and ratio, three leads decide: of the lowest score over the highest, over shuffled scores,
and over destinations that are random but shared. The answer is yes if all three are supported, no if one is
contradicted (after Holm's correction) or all are equivalent, and mixed if one is contradicted and another supported.
Otherwise it is not decided. A yes shows that the score matters, not why: the sentence then adds whether the change of r
explains the leads on held-out images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bigain.core.rounding import rounded
from bigain.metrics.significance import holm
from bigain.reporting import names
from bigain.reporting.evidence import CONTRADICTED, EQUIVALENT, LEVEL, SUPPORTED, UNDECIDED
from bigain.reporting.frequency_cells import CONTROLS, LOWEST, RULES, Change, Destinations
from bigain.reporting.frequency_probe import Margins, Mediated
from bigain.reporting.verdicts import NOT_RUN

MIXED = "mixed"
WORDS = {
    SUPPORTED: "Yes",
    CONTRADICTED: "No",
    EQUIVALENT: "No",
    MIXED: "Mixed",
    UNDECIDED: "Not decided",
    NOT_RUN: "Not run",
}


@dataclass(frozen=True)
class Finding:
    """The verdict on the leads at one ratio, and a clause with their numbers."""

    verdict: str
    clause: str


def answer(findings: Sequence[Finding]) -> str:
    """Return the answer in one sentence."""
    if not findings:
        wanted = ", ".join(f"{RULES[method]} ({method})" for method in (LOWEST, *CONTROLS))
        return f"{WORDS[NOT_RUN]}: no ratio has cells with destinations by {wanted}."
    return f"{_word({WORDS[finding.verdict] for finding in findings})}: {'; '.join(f.clause for f in findings)}."


def _word(words: set[str]) -> str:
    """Return the word for the answers at several ratios together."""
    if len(words) == 1:
        return next(iter(words))
    yes, no = WORDS[SUPPORTED] in words, WORDS[CONTRADICTED] in words
    if WORDS[MIXED] in words or (yes and no):
        return WORDS[MIXED]
    return "In part" if yes else WORDS[CONTRADICTED] if no else WORDS[UNDECIDED]


def finding(compared: Destinations, mediated: Sequence[Mediated]) -> Finding:
    """Judge the leads at one ratio; `mediated` are the mediations of their backbone and data set."""
    cell = compared.cell
    place = f"{cell.backbone} ({cell.dataset}) at {names.strength('merge_ratio', cell.strength)}"
    leads = {method: compared.leads[method] for method in CONTROLS if method in compared.leads}
    missing = [RULES[method] for method in CONTROLS if method not in leads]
    numbers = _numbers(leads)
    if missing:
        return Finding(NOT_RUN, f"on {place}, destinations by {' and '.join(missing)} were not run{numbers}")
    verdict = _verdict(list(leads.values()))
    if verdict == SUPPORTED:
        why = _why(compared, mediated)
        return Finding(verdict, f"on {place}, the token of lowest score is the best destination{numbers}{why}")
    if verdict == CONTRADICTED:
        return Finding(
            verdict, f"on {place}, the token of lowest score is a worse destination than at least one other{numbers}"
        )
    if verdict == MIXED:
        return Finding(
            verdict, f"on {place}, the token of lowest score is better than some, worse than others{numbers}"
        )
    if verdict == EQUIVALENT:
        return Finding(verdict, f"on {place}, no rule is better by {_points(compared.margin)} or more{numbers}")
    shown = max(lead.difference.detectable for lead in leads.values())
    return Finding(verdict, f"on {place}, not every lead is clear{numbers}; {rounded(shown, 1)} points would be shown")


def _verdict(leads: list[Change]) -> str:
    """Return the verdict on all leads together, as on the comparisons of a claim."""
    verdicts = {lead.evidence.verdict for lead in leads}
    if verdicts == {SUPPORTED}:
        return SUPPORTED
    if min(holm([lead.evidence.contradicts for lead in leads])) < LEVEL:
        return MIXED if min(holm([lead.evidence.supports for lead in leads])) < LEVEL else CONTRADICTED
    return EQUIVALENT if verdicts == {EQUIVALENT} else UNDECIDED


def _points(margin: float | None) -> str:
    return f"{margin:g} point{'' if margin == 1 else 's'}"


def _signed(points: float) -> str:
    return rounded(points, 1, signed=True)


def _percent(share: float) -> str:
    return rounded(100 * share, 0)


def _numbers(leads: dict[str, Change]) -> str:
    """Return the leads in brackets, each with its interval and number of images."""
    texts = [
        f"{_signed(lead.difference.value)} [{_signed(lead.difference.low)}, {_signed(lead.difference.high)}] over "
        f"{RULES[method]}, n = {lead.difference.n}"
        for method, lead in leads.items()
    ]
    return f" ({'; '.join(texts)})" if texts else ""


def _why(compared: Destinations, mediated: Sequence[Mediated]) -> str:
    """Say whether the change of r explains a lead."""
    arm = (compared.cell.method, compared.cell.strength)
    about = [m for m in mediated if m.ours == arm and m.theirs[0] in CONTROLS]
    if not about:
        return ", but the reason was not measured"
    shares = [
        f"{_percent(m.explained.share)}% of it [{_percent(m.explained.share_low)}, {_percent(m.explained.share_high)}] "
        f"over {RULES[m.theirs[0]]}"
        for m in about
        if m.explained.mediates
    ]
    return f", and the change of r explains {', '.join(shares)}" if shares else ", but r is not shown to be the reason"


def findings(compared: Sequence[Destinations], measured: Sequence[tuple[Margins, list[Mediated]]]) -> list[Finding]:
    """Judge the leads at every ratio that has any of the rules that decide."""
    of_place = {(margins.backbone, margins.dataset): mediated for margins, mediated in measured}
    return [
        finding(each, of_place.get((each.cell.backbone, each.cell.dataset), []))
        for each in compared
        if any(method in each.leads for method in CONTROLS)
    ]
