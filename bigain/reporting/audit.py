"""The paper's own inconsistencies, each recomputed from its printed numbers, so that a reader knows which to aim at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from bigain.reporting import names
from bigain.reporting.published import deltas, values
from bigain.study.flops_table import gflops

IMAGES = {"pets": 3669, "imagenet100": 5000, "imagenet1k": 2000, "coco2017": 5000}  # that each data set classifies
# Of the abstract: accuracy up by 7.1 points, FID down by 0.56 (3.1%), merging 70% on ImageNet-1K.
ABSTRACT = {"accuracy": 7.1, "fid": 0.56, "percent": 3.1}


@dataclass(frozen=True)
class Finding:
    """One check: what is printed, what its own numbers give, and what follows for who compares with it."""

    check: str
    printed: str
    recomputed: str
    agrees: bool
    consequence: str = ""


def audit() -> list[Finding]:
    """Every check, in the order of the paper's tables."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _table_1_against_others,
        _saved_operations,
        _printed_deltas,
        _two_baselines,
        _copied_rows,
        _abstract,
        _unattainable,
        _twofold,
        _cut_of_the_loss,
        _acceleration,
    )
    return [finding for check in checks for finding in check()]


def to_frame(findings: list[Finding]) -> pd.DataFrame:
    """The findings as a table."""
    return pd.DataFrame(findings)


def _one(
    table: str, metric: str, method: str, strength: float | None, dataset: str = "pets", backbone: str = "sd2"
) -> float:
    frame = values()
    same = frame["strength"].isna() if strength is None else (frame["strength"] - (strength or 0)).abs() < 1e-9
    rows = frame[
        (frame["table"] == table)
        & (frame["metric"] == metric)
        & (frame["method"] == method)
        & (frame["dataset"] == dataset)
        & (frame["backbone"] == backbone)
        & same
    ]
    if len(rows) != 1:
        raise ValueError(f"values.csv: {len(rows)} rows of table {table}, {metric}, {method}, {strength}, {dataset}")
    return float(rows["printed"].iloc[0])


def _table_1_against_others() -> Iterator[Finding]:
    for method, table, strength in (
        ("tome", "4", 0.5),
        ("bigain_tm", "4", 0.5),
        ("todo", "2", 3),
        ("bigain_td", "2", 3),
    ):
        first, other = _one("1", "acc@1", method, strength), _one(table, "acc@1", method, strength)
        yield Finding(
            f"Table 1's {method} is Table {table}'s at {names.strength(_kind(method), strength)} (Pets)",
            f"{first:.2f}",
            f"{other:.2f}",
            first == other,
            "" if first == other else "79.90 is no fraction of 3,669 images; 79.91 is 2,932 of them",
        )


def _kind(method: str) -> str:
    return "downsample_factor" if method in ("todo", "bigain_td") else "merge_ratio"


def _saved_operations() -> Iterator[Finding]:
    plain = gflops("sd2", "none", None)
    for method, strength, printed in (
        ("tome", 0.5, 10.0),
        ("bigain_tm", 0.5, 10.0),
        ("sito", 0.7, 7.0),
        ("todo", 3, 14.2),
    ):
        saved = 100 * (1 - gflops("sd2", method, strength) / plain)
        agrees = abs(saved - printed) < 0.5
        yield Finding(
            f"Table 1: what {method} saves at {names.strength(_kind(method), strength)}",
            f"{printed:g}%",
            f"{saved:.2f}%",
            agrees,
            "" if agrees else f"{printed:g}% is what 8x saves; the accuracies beside it are those of 3x",
        )


def _printed_deltas() -> Iterator[Finding]:
    frame, printed = values(), deltas()
    keys = ["table", "backbone", "dataset", "task", "metric", "strength"]
    number = frame.set_index([*keys, "method"])["printed"]
    for table, part in printed.groupby("table"):
        wrong = []
        for row in part.itertuples():
            place = (row.table, row.backbone, row.dataset, row.task, row.metric, row.strength)
            lead = number[(*place, row.of)] - number[(*place, row.against)]
            lead = -lead if row.metric == "fid" else lead
            if not math.isclose(lead, row.printed, abs_tol=0.0051):
                shown = names.strength(row.strength_kind, row.strength)
                wrong.append((f"{row.dataset} {row.metric} {shown}", row.printed, lead))
        yield Finding(
            f"Table {table}: its {len(part)} printed differences",
            "; ".join(f"{where}: {printed:+.2f}" for where, printed, _ in wrong) or "all",
            "; ".join(f"{where}: {lead:+.2f}" for where, _, lead in wrong) or "the same",
            not wrong,
            "compare with the numbers, not with their printed differences" if wrong else "",
        )


def _two_baselines() -> Iterator[Finding]:
    for what, backbone, first, second in (
        ("uncompressed FID, SD 2.0 on ImageNet-100", "sd2", "2", "4"),
        ("uncompressed FID, DiT-XL/2 on ImageNet-100", "dit_xl2", "3", "5"),
    ):
        a, b = (_one(table, "fid", "none", None, "imagenet100", backbone) for table in (first, second))
        yield Finding(
            f"{what}: one model, two tables",
            f"Table {first}: {a:.2f}",
            f"Table {second}: {b:.2f}",
            a == b,
            "no FID of this block can be a target" if a != b else "",
        )
    same = _one("2", "fid", "none", None, "imagenet100") == _one("4", "fid", "none", None, "imagenet1k")
    yield Finding(
        "Table 2's uncompressed FID of ImageNet-100 is not another data set's",
        f"{_one('2', 'fid', 'none', None, 'imagenet100'):.2f}",
        f"Table 4 on ImageNet-1K: {_one('4', 'fid', 'none', None, 'imagenet1k'):.2f}",
        not same,
        "Table 2's block is most likely ImageNet-1K with 50,000 images" if same else "",
    )


def _copied_rows() -> Iterator[Finding]:
    frame = values()
    rows = frame[(frame["metric"] == "fid") & (frame["dataset"] == "imagenet100")]
    for method in ("tome", "bigain_tm"):
        pair = [
            rows[(rows["table"] == table) & (rows["method"] == method)].set_index("strength")["printed"]
            for table in ("4", "5")
        ]
        gap = float((pair[0] - pair[1]).abs().max())
        yield Finding(
            f"Table 5's FIDs of {method} (DiT) are not Table 4's (SD 2.0)",
            "another model",
            f"differ by at most {gap:.2f} over {len(pair[0])} ratios",
            gap > 1,
            "the DiT's FIDs are copies: no targets" if gap <= 1 else "",
        )


def _abstract() -> Iterator[Finding]:
    tome, ours = (
        {metric: _one("4", metric, method, 0.7, "imagenet1k") for metric in ("acc@1", "fid")}
        for method in ("tome", "bigain_tm")
    )
    accuracy, fid = ours["acc@1"] - tome["acc@1"], tome["fid"] - ours["fid"]
    percent = 100 * fid / tome["fid"]
    yield Finding(
        "Abstract: the gain in accuracy at 70% on ImageNet-1K",
        f"{ABSTRACT['accuracy']:.1f} points",
        f"{accuracy:.2f} points",
        abs(accuracy - ABSTRACT["accuracy"]) < 0.1,
    )
    yield Finding(
        "Abstract: the gain in FID there",
        f"{ABSTRACT['fid']:.2f} ({ABSTRACT['percent']}%)",
        f"{fid:.2f} ({percent:.1f}%)",
        abs(fid - ABSTRACT["fid"]) < 0.01,
        "aim at the table",
    )


def _unattainable() -> Iterator[Finding]:
    """An accuracy of n images is k / n, rounded or cut off to two places."""
    frame = values()
    for dataset, count in IMAGES.items():
        mine = frame[(frame["metric"] == "acc@1") & (frame["dataset"] == dataset)]
        wrong = sorted({value for value in mine["printed"] if not _attainable(value, count)})
        yield Finding(
            f"{dataset}: {len(mine)} printed accuracies are fractions of {count:,} images",
            ", ".join(f"{value:g}" for value in wrong) or "all",
            "no fraction, rounded or cut off" if wrong else "all are",
            not wrong,
        )


def _attainable(percent: float, count: int) -> bool:
    nearest = round(percent * count / 100)
    fractions = [100 * k / count for k in range(nearest - 1, nearest + 2)]
    return any(
        math.isclose(percent, round(one, 2), abs_tol=1e-9)
        or math.isclose(percent, math.floor(100 * one) / 100, abs_tol=1e-9)
        for one in fractions
    )


def _twofold() -> Iterator[Finding]:
    of_sd2 = [(dataset, "sd2", "2") for dataset in ("pets", "imagenet100", "coco2017")]
    for dataset, backbone, table in (*of_sd2, ("imagenet100", "dit_xl2", "3")):
        ours, plain = (_one(table, "acc@1", m, s, dataset, backbone) for m, s in (("bigain_td", 2), ("none", None)))
        yield Finding(
            f"4.3: 2x surpasses the uncompressed model in recognition ({backbone} on {dataset})",
            "surpasses",
            f"{ours:.2f} against {plain:.2f}",
            ours > plain,
        )


def _cut_of_the_loss() -> Iterator[Finding]:
    plain = _one("1", "acc@1", "none", None)
    ours = plain - _one("1", "acc@1", "bigain_tm", 0.5)
    cuts = {
        method: 100 * (1 - ours / (plain - _one("1", "acc@1", method, strength)))
        for method, strength in (("tome", 0.5), ("dip_go", 10), ("sito", 0.7), ("mosaicdiff", 10))
    }
    inside = all(40 <= cut <= 80 for cut in cuts.values())
    shown = ", ".join(f"{method} {cut:.0f}%" for method, cut in cuts.items())
    yield Finding("4.2: BiGain_TM cuts the loss by 40 to 80% against the other methods", "40 to 80%", shown, inside)


def _acceleration() -> Iterator[Finding]:
    frame = values()
    eleventh = frame[frame["table"] == "11"].pivot_table(index="method", columns="metric", values="printed")
    plain = eleventh.loc["none", "seconds_per_batch"]
    recomputed = 100 * (plain - eleventh["seconds_per_batch"]) / plain
    gap = float((recomputed - eleventh["acceleration_percent"]).abs().max())
    yield Finding(
        "Table 11: its accelerations follow from its seconds", "5 of 5", f"off by at most {gap:.3f}", gap < 0.0051
    )
    for method in eleventh.index:
        strength = None if method == "none" else 0.7
        counted = gflops("sd2", "bigain_tm_block~score_twice-on" if method == "bigain_tm_block" else method, strength)
        printed = eleventh.loc[method, "gflops"]
        yield Finding(
            f"Table 11: GFLOPs of {method}, counted through the real model",
            f"{printed:.2f}",
            f"{counted:.2f}",
            abs(counted - printed) < 0.0051,
            "scores are computed twice a block, as the released code does" if method == "bigain_tm_block" else "",
        )
