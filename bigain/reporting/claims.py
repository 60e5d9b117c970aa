"""The paper's claims as data: claims.yaml, read and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigain.core.messages import unknown
from bigain.methods.ids import method_of
from bigain.reporting.entries import check_keys, parse_entries, read_mapping, shown
from bigain.reporting.frames import CellMetric

KINDS = ("better", "close", "grows", "fails")
METRICS = ("acc@1", "map", "map_released", "distance")  # that a claim can be about
SECTIONS = ("claims", "margins", "questions")  # of claims.yaml


@dataclass(frozen=True)
class Claim:
    """An entry of claims.yaml, which explains its keys; `name` is the entry's own."""

    name: str
    says: str
    kind: str
    of: str
    than: tuple[str, ...]
    metrics: tuple[str, ...]
    families: tuple[str, ...] = ("unet", "dit")
    strengths: tuple[float, ...] | None = None
    than_strength: float | None = None
    margins: dict[str, float] | None = None
    control: bool = False

    @classmethod
    def parse(cls, name: str, entry: dict[str, Any]) -> Claim:
        """Return a claim with the canonical ids of its methods. Raises ValueError naming what is missing or unknown."""
        check_keys(entry, cls)
        lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
        of, than = method_of(entry["of"]).id, tuple(method_of(method).id for method in entry["than"])
        settings: dict[str, Any] = {**entry, **lists, "of": of, "than": than}
        claim = cls(name, **settings)
        if claim.kind not in KINDS:
            raise ValueError(unknown("kind", claim.kind, KINDS))
        for metric in claim.metrics:
            if metric not in METRICS:
                raise ValueError(unknown("metric", metric, METRICS))
        check_margins(claim.margins or {})
        return claim

    def covers(self, family: str, strength: float | None) -> bool:
        """Return whether the claim covers a backbone family, as a control always does, and a strength of `of`."""
        of_family = self.control or family in self.families
        return of_family and (self.strengths is None or strength in self.strengths)

    def counterpart(self, cell: CellMetric, than: str) -> CellMetric:
        """Return the cell that a cell of `of` is compared with: same strength, unless the claim sets another."""
        strength = cell.strength if self.than_strength is None else self.than_strength
        return cell._replace(method=than, strength=None if than == "none" else strength)


@dataclass(frozen=True)
class ClaimsFile:
    """The content of claims.yaml: the claims, the margins of equivalence, and the claims that answer a question."""

    claims: dict[str, Claim]
    margins: dict[str, float]
    questions: dict[str, list[str]]

    def margin(self, claim: Claim, metric: str) -> float | None:
        """Return a claim's margin in a metric, or else the file's: points, or a share of a distance. None if unset."""
        return {**self.margins, **(claim.margins or {})}.get(metric)


def read_claims(path: Path | str) -> dict[str, Claim]:
    """Read the claims of claims.yaml. Errors are those of `read_claims_file`."""
    return read_claims_file(path).claims


def read_claims_file(path: Path | str) -> ClaimsFile:
    """Read claims.yaml. Raises ValueError naming the file, the section and the entry that cannot be read."""
    content = read_mapping(path, "claims")
    for section in content:
        if section not in SECTIONS:
            raise ValueError(f"{path}: {unknown('section', str(section), SECTIONS)}")
    claims = parse_entries(path, content.get("claims"), Claim.parse, "claims")
    file = ClaimsFile(claims, content.get("margins", {}), content.get("questions", {}))
    try:
        check_margins(file.margins)
        _check_questions(file.questions, claims)
        for claim in claims.values():
            for metric in claim.metrics:
                if claim.kind in ("close", "fails") and file.margin(claim, metric) is None:
                    raise ValueError(f"{claim.name}: a claim of the kind {claim.kind} needs a margin of {metric}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return file


def check_margins(margins: Any) -> None:
    """Raise ValueError naming a metric that is unknown or whose margin is not a positive number."""
    if not isinstance(margins, dict):
        raise ValueError(f"margins is {shown(margins)}; a mapping from metrics to numbers is needed")
    for metric, margin in margins.items():
        if metric not in METRICS:
            raise ValueError(unknown("metric in margins", str(metric), METRICS))
        if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < math.inf:
            raise ValueError(f"the margin of {metric} is {shown(margin)}; a number above 0 is needed")


def _check_questions(questions: Any, claims: Mapping[str, Claim]) -> None:
    if not isinstance(questions, dict):
        raise ValueError(f"questions is {shown(questions)}; a mapping from questions to lists of claims is needed")
    for question, names in questions.items():
        if not isinstance(question, str) or not isinstance(names, list) or not names:
            raise ValueError(f"questions: {question!r:.60} is {shown(names)}; a list of claims is needed")
        for name in names:
            if not isinstance(name, str) or name not in claims:
                raise ValueError(f"questions: {question!r:.60}: {unknown('claim', str(name), claims)}")
