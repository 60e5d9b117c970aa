"""The paper's claims, judged: on the study's own cells, with paired tests, and on the paper's own printed numbers.

A claim is data (`claims.yaml`) that says which comparisons it makes. Every comparison is one cell against
another on the same images; p-values are corrected by Holm within a claim. The verdict is the worst of them:

- holds: every comparison is clearly in the claim's favour;
- holds within error: none is clearly against it, and some are too close to tell;
- does not hold: some comparison is clearly against it;
- not run: the study has none of its comparisons.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from bigain.core.files import read_json
from bigain.core.messages import unknown
from bigain.methods.ids import method_of
from bigain.metrics.accuracy import Estimate
from bigain.metrics.significance import bootstrap_p, holm, interval_difference, paired_difference, sign_test
from bigain.reporting import names
from bigain.reporting.published import values

LEVEL = 0.05
KINDS = ("better", "close", "grows")
FAMILIES = {"sd2": "unet", "dit_xl2": "dit"}  # of the paper's own backbones


@dataclass(frozen=True)
class Comparison:
    """One comparison of a claim: how much better `of` is than `than` (for distances: how much smaller), in points."""

    backbone: str
    dataset: str
    metric: str
    than: str
    strength: str
    value: float
    low: float
    high: float
    p: float
    favours: bool | None = None  # clearly for the claim, clearly against it, or too close to tell


@dataclass(frozen=True)
class Verdict:
    """What became of a claim; `printed` is what the paper's own numbers say of it: (in its favour, of how many)."""

    name: str
    says: str
    control: bool
    verdict: str
    comparisons: list[Comparison]
    printed: tuple[int, int]


def read_claims(path: Path | str) -> dict[str, dict[str, Any]]:
    """The claims. Raises ValueError that names the claim and the method, kind or metric that does not exist."""
    claims = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for name, claim in claims.items():
        try:
            claim["of"] = method_of(claim["of"]).id
            claim["than"] = [method_of(method).id for method in claim["than"]]
            if claim["kind"] not in KINDS:
                raise ValueError(unknown("kind", claim["kind"], KINDS))
            for metric in claim["metrics"]:
                if metric not in (*names.METRICS, "distance"):
                    raise ValueError(unknown("metric", metric, [*names.METRICS, "distance"]))
        except KeyError as error:
            raise ValueError(f"{path}: {name}: {error.args[0]} is missing") from None
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {error}") from None
    return claims


class Scores:
    """What a study's cells scored, ready to be compared: hits and average precisions by image, distances as values.

    Several seeds of a cell count as one: by image their mean, of distances their mean and mean interval.
    """

    def __init__(self, scored: list[dict[str, Any]], families: dict[str, str]) -> None:
        self.families = families
        by_image: dict[tuple, list[pd.Series]] = {}
        distances: dict[tuple, list[Estimate]] = {}
        for entry in scored:
            cell = entry["cell"]
            key = (cell["backbone"], cell["dataset"], cell["method"], cell["strength"])
            for metric in ("acc@1", "map"):
                if metric in entry["items"]:
                    items = pd.Series(entry["items"][metric], index=entry["items"]["image"], dtype=float)
                    by_image.setdefault((metric, *key), []).append(items)
            for metric in names.DISTANCES:
                if metric in entry["metrics"]:
                    distances.setdefault((metric, *key), []).append(Estimate(**entry["metrics"][metric]))
        self.images = {key: pd.concat(parts, axis=1).mean(axis=1) for key, parts in by_image.items()}
        self.distances = {key: _mean_estimate(parts) for key, parts in distances.items()}

    def keys(self, metric: str, method: str) -> list[tuple]:
        """(metric, backbone, data set, method, strength) of every cell of a method that has the metric."""
        wanted = names.DISTANCES if metric == "distance" else (metric,)
        return [key for key in (*self.images, *self.distances) if key[0] in wanted and key[3] == method]

    def has(self, key: tuple) -> bool:
        """Whether there is such a cell."""
        return key in self.images or key in self.distances

    def lead(self, ours: tuple, theirs: tuple) -> tuple[Estimate, float]:
        """How much better one cell is than another, in points or as a smaller distance, and the p-value of none."""
        if ours[0] in names.DISTANCES:
            return interval_difference(self.distances[theirs], self.distances[ours])
        a, b = self.images[ours].align(self.images[theirs], join="inner")
        difference = (a - b).to_numpy()
        p = sign_test(difference) if ours[0] == "acc@1" else bootstrap_p(difference, seed=0)
        return paired_difference(a.to_numpy(), b.to_numpy(), seed=0), p

    def growth(self, ours: tuple, theirs: tuple, more: float) -> tuple[Estimate, float]:
        """How much a lead is larger at a strength `more` than at the keys' own, image by image."""
        at = [self.images[key] for key in (ours, theirs, (*ours[:-1], more), (*theirs[:-1], more))]
        joined = pd.concat(at, axis=1, join="inner").to_numpy()
        leads = joined[:, 2] - joined[:, 3], joined[:, 0] - joined[:, 1]
        return paired_difference(*leads, seed=0), bootstrap_p(leads[0] - leads[1], seed=0)


def judge(name: str, claim: dict[str, Any], scores: Scores) -> Verdict:
    """The verdict of a claim on a study's cells, and what the printed numbers say of it."""
    found = [one for metric in claim["metrics"] for one in _comparisons(claim, metric, scores)]
    corrected = holm([one.p for one in found])
    found = [replace(one, p=p, favours=_favours(claim, one, p)) for one, p in zip(found, corrected, strict=True)]
    control = claim.get("control", False)
    return Verdict(name, claim["says"], control, _verdict(found), found, in_print(claim))


def in_print(claim: dict[str, Any]) -> tuple[int, int]:
    """How many of a claim's comparisons the paper's printed numbers show in its favour, of how many they show."""
    printed = {}
    for row in values().itertuples():
        strength = None if pd.isna(row.strength) else row.strength
        printed.setdefault((row.metric, row.backbone, row.dataset, row.method, strength), row.printed)
    metrics = ["fid" if metric == "distance" else metric for metric in claim["metrics"]]
    outcomes = []
    for key in [key for key in printed if key[0] in metrics and key[3] == claim["of"]]:
        if not _wanted(claim, FAMILIES[key[1]], key[4]):
            continue
        for than in claim["than"]:
            other = (*key[:3], than, _than_strength(claim, than, key[4]))
            if other not in printed:
                continue
            lead = printed[key] - printed[other]
            lead = -lead if key[0] == "fid" else lead
            if claim["kind"] == "better":
                outcomes.append(lead > 0)
            elif claim["kind"] == "close":
                outcomes.append(abs(lead) <= claim["margin"])
            elif key[4] == min(k[4] for k in printed if k[:4] == key[:4]):
                most = max(k[4] for k in printed if k[:4] == key[:4])
                outcomes.append(printed[*key[:4], most] - printed[*key[:3], than, most] > lead)
    return sum(outcomes), len(outcomes)


def _comparisons(claim: dict[str, Any], metric: str, scores: Scores) -> list[Comparison]:
    found = []
    keys = [key for key in scores.keys(metric, claim["of"]) if _wanted(claim, scores.families[key[1]], key[4])]
    for key in keys:
        for than in claim["than"]:
            other = (*key[:3], than, _than_strength(claim, than, key[4]))
            if not scores.has(other):
                continue
            shown = names.strength(method_of(claim["of"]).strength_kind, key[4])
            if claim["kind"] == "grows":
                strengths = sorted(k[4] for k in keys if k[:4] == key[:4] and scores.has((*other[:-1], k[4])))
                if len(strengths) < 2 or key[4] != strengths[0]:
                    continue
                shown += f" to {names.strength(method_of(claim['of']).strength_kind, strengths[-1])}"
                lead, p = scores.growth(key, other, strengths[-1])
            else:
                lead, p = scores.lead(key, other)
            found.append(Comparison(key[1], key[2], key[0], than, shown, lead.value, lead.low, lead.high, p))
    return found


def _wanted(claim: dict[str, Any], family: str, strength: float | None) -> bool:
    return family in claim.get("families", ("unet", "dit")) and strength in claim.get("strengths", (strength,))


def _than_strength(claim: dict[str, Any], than: str, strength: float | None) -> float | None:
    """The strength that a method is compared at: the same, unless the claim says another or there is none."""
    return None if than == "none" else claim.get("than_strength", strength)


def _favours(claim: dict[str, Any], one: Comparison, p: float) -> bool | None:
    if claim["kind"] == "close":
        margin = claim["margin"]
        if -margin <= one.low and one.high <= margin:
            return True
        return False if one.low > margin or one.high < -margin else None
    return one.value > 0 if p < LEVEL else None


def _verdict(comparisons: list[Comparison]) -> str:
    favours = [one.favours for one in comparisons]
    if not favours:
        return "not run"
    if False in favours:
        return "does not hold"
    return "holds" if all(favours) else "holds within error"


def _mean_estimate(parts: list[Estimate]) -> Estimate:
    numbers = np.mean([[one.value, one.low, one.high] for one in parts], axis=0)
    return Estimate(*map(float, numbers), parts[0].n)


def judge_all(metrics: list[Path], claims: Path, families: dict[str, str]) -> list[Verdict]:
    """Every claim's verdict on a study, from its cells' metrics files."""
    scores = Scores([read_json(file) for file in metrics], families)
    return [judge(name, claim, scores) for name, claim in read_claims(claims).items()]


def to_frame(verdicts: list[Verdict]) -> pd.DataFrame:
    """A row a comparison, and one for every claim without any."""
    rows = []
    for verdict in verdicts:
        own = {"claim": verdict.name, "verdict": verdict.verdict, "says": verdict.says}
        rows += [own | asdict(one) for one in verdict.comparisons] or [own]
    return pd.DataFrame(rows)
