"""The paper's inconsistencies, recomputed from its printed numbers: which of them can be a target?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bigain.core.columns import csv_text
from bigain.reporting import names
from bigain.reporting.paper_values import PrintedDelta, PrintedValue, printed_deltas, printed_values
from bigain.reporting.rendering import write_table
from bigain.study.flops_table import gflops

IMAGES = {"pets": 3669, "imagenet100": 5000, "imagenet1k": 2000, "coco2017": 5000}  # classified in each data set
# The abstract: accuracy up by 7.1 points, FID down by 0.56 (3.1%), merging 70% on ImageNet-1K.
ABSTRACT = {"accuracy": 7.1, "fid": 0.56, "percent": 3.1}


@dataclass(frozen=True)
class Finding:
    """One check: what is printed, what the printed numbers give, and the consequence for comparisons."""

    check: str
    printed: str
    recomputed: str
    agrees: bool
    consequence: str = ""


def audit() -> list[Finding]:
    """Run every check, in the order of the paper's tables."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _table_1_accuracies,
        _saved_operations,
        _printed_deltas,
        _uncompressed_fids,
        _copied_fids,
        _abstract,
        _attainable_accuracies,
        _twofold_downsampling,
        _reduction_of_loss,
        _table_11,
    )
    return [finding for check in checks for finding in check()]


def write_audit(tex: Path, csv: Path, html: Path) -> None:
    """Write the paper's inconsistencies in three formats."""
    findings = audit()
    context = {"findings": findings, "wrong": sum(not finding.agrees for finding in findings)}
    write_table("audit", context, csv_text("audit", map(asdict, findings)), tex, csv, html)


def _number(
    table: str, metric: str, method: str, strength: float | None, dataset: str = "pets", backbone: str = "sd2"
) -> float:
    """Return one printed number. Raises ValueError unless exactly one row of values.csv has it."""
    place = (table, backbone, dataset, metric, method)
    numbers = [
        row.printed
        for row in printed_values()
        if (row.table, row.backbone, row.dataset, row.metric, row.method) == place and _equal(row.strength, strength)
    ]
    if len(numbers) != 1:
        raise ValueError(f"values.csv: {len(numbers)} rows of table {table}, {metric}, {method}, {strength}, {dataset}")
    return numbers[0]


def _equal(a: float | None, b: float | None) -> bool:
    return a is b if a is None or b is None else abs(a - b) < 1e-9


def _select(**columns: str) -> list[PrintedValue]:
    """Return the printed values whose columns have these values."""
    return [row for row in printed_values() if all(getattr(row, name) == value for name, value in columns.items())]


def _kind(method: str) -> str:
    return "downsample_factor" if method in ("todo", "bigain_td") else "merge_ratio"


def _table_1_accuracies() -> Iterator[Finding]:
    for method, table, strength in (
        ("tome", "4", 0.5),
        ("bigain_tm", "4", 0.5),
        ("todo", "2", 3),
        ("bigain_td", "2", 3),
    ):
        first, other = _number("1", "acc@1", method, strength), _number(table, "acc@1", method, strength)
        yield Finding(
            f"Table 1's accuracy of {method} is Table {table}'s at {names.strength(_kind(method), strength)} (Pets)",
            f"{first:.2f}",
            f"{other:.2f}",
            first == other,
            "" if first == other else "79.90 is not a fraction of 3,669 images; 79.91 is 2,932 of them",
        )


def _saved_operations() -> Iterator[Finding]:
    uncompressed = gflops("sd2", "none", None)
    for method, strength, printed in (
        ("tome", 0.5, 10.0),
        ("bigain_tm", 0.5, 10.0),
        ("sito", 0.7, 7.0),
        ("todo", 3, 14.2),
    ):
        saved = 100 * (1 - gflops("sd2", method, strength) / uncompressed)
        agrees = abs(saved - printed) < 0.5
        yield Finding(
            f"Table 1: operations saved by {method} at {names.strength(_kind(method), strength)}",
            f"{printed:g}%",
            f"{saved:.2f}%",
            agrees,
            "" if agrees else f"{printed:g}% is what 8x saves; the accuracies in its row are those of 3x",
        )


def _printed_deltas() -> Iterator[Finding]:
    by_table: dict[str, list[PrintedDelta]] = {}
    for delta in printed_deltas():
        by_table.setdefault(delta.table, []).append(delta)
    for table, deltas in by_table.items():
        wrong = [
            (delta, gain) for delta in deltas if not math.isclose(gain := _gain(delta), delta.printed, abs_tol=0.0051)
        ]

        def show(delta: PrintedDelta, number: float) -> str:
            strength = names.strength(delta.strength_kind, delta.strength)
            return f"{delta.dataset} {delta.metric} {strength}: {number:+.2f}"

        yield Finding(
            f"Table {table}: its {len(deltas)} printed differences",
            "; ".join(show(delta, delta.printed) for delta, _ in wrong) or "all",
            "; ".join(show(delta, gain) for delta, gain in wrong) or "the same",
            not wrong,
            "compare with the numbers, not with their printed differences" if wrong else "",
        )


def _gain(delta: PrintedDelta) -> float:
    """Return a printed difference, recomputed from the two numbers."""
    place = (delta.dataset, delta.backbone)
    of, against = (
        _number(delta.table, delta.metric, method, delta.strength, *place) for method in (delta.of, delta.against)
    )
    return -(of - against) if delta.metric == "fid" else of - against


def _uncompressed_fids() -> Iterator[Finding]:
    for model, backbone, first, second in (("SD 2.0", "sd2", "2", "4"), ("DiT-XL/2", "dit_xl2", "3", "5")):
        a, b = (_number(table, "fid", "none", None, "imagenet100", backbone) for table in (first, second))
        yield Finding(
            f"uncompressed FID, {model} on ImageNet-100: one model, two tables",
            f"Table {first}: {a:.2f}",
            f"Table {second}: {b:.2f}",
            a == b,
            "no FID in this section can be a target" if a != b else "",
        )
    small = _number("2", "fid", "none", None, "imagenet100")
    large = _number("4", "fid", "none", None, "imagenet1k")
    yield Finding(
        "Table 2's uncompressed FID on ImageNet-100 is not that of another data set",
        f"{small:.2f}",
        f"Table 4 on ImageNet-1K: {large:.2f}",
        small != large,
        "Table 2's section is most likely ImageNet-1K with 50,000 images" if small == large else "",
    )


def _copied_fids() -> Iterator[Finding]:
    for method in ("tome", "bigain_tm"):
        sd2, dit = (
            {
                row.strength: row.printed
                for row in _select(table=table, metric="fid", dataset="imagenet100", method=method)
            }
            for table in ("4", "5")
        )
        gap = max(abs(sd2[ratio] - dit[ratio]) for ratio in sd2)
        yield Finding(
            f"Table 5's FIDs of {method} (DiT) are not Table 4's (SD 2.0)",
            "another model",
            f"differ by at most {gap:.2f} over {len(sd2)} ratios",
            gap > 1,
            "the DiT's FIDs are copies: not targets" if gap <= 1 else "",
        )


def _abstract() -> Iterator[Finding]:
    accuracy = _number("4", "acc@1", "bigain_tm", 0.7, "imagenet1k") - _number("4", "acc@1", "tome", 0.7, "imagenet1k")
    tome = _number("4", "fid", "tome", 0.7, "imagenet1k")
    fid = tome - _number("4", "fid", "bigain_tm", 0.7, "imagenet1k")
    yield Finding(
        "Abstract: the gain in accuracy at 70% on ImageNet-1K",
        f"{ABSTRACT['accuracy']:.1f} points",
        f"{accuracy:.2f} points",
        abs(accuracy - ABSTRACT["accuracy"]) < 0.1,
    )
    yield Finding(
        "Abstract: the gain in FID at 70% on ImageNet-1K",
        f"{ABSTRACT['fid']:.2f} ({ABSTRACT['percent']}%)",
        f"{fid:.2f} ({100 * fid / tome:.1f}%)",
        abs(fid - ABSTRACT["fid"]) < 0.01,
        "aim for the table's",
    )


def _attainable_accuracies() -> Iterator[Finding]:
    for dataset, count in IMAGES.items():
        accuracies = [row.printed for row in _select(metric="acc@1", dataset=dataset)]
        wrong = sorted({accuracy for accuracy in accuracies if not _attainable(accuracy, count)})
        yield Finding(
            f"{dataset}: {len(accuracies)} printed accuracies are fractions of {count:,} images",
            ", ".join(f"{accuracy:g}" for accuracy in wrong) or "all",
            "not a fraction, rounded or truncated" if wrong else "all are",
            not wrong,
        )


def _attainable(percent: float, count: int) -> bool:
    """Return whether an accuracy is k / count, rounded or truncated to two decimals."""
    nearest = round(percent * count / 100)
    fractions = [100 * k / count for k in range(nearest - 1, nearest + 2)]
    return any(
        math.isclose(percent, round(fraction, 2), abs_tol=1e-9)
        or math.isclose(percent, math.floor(100 * fraction) / 100, abs_tol=1e-9)
        for fraction in fractions
    )


def _twofold_downsampling() -> Iterator[Finding]:
    of_sd2 = [(dataset, "sd2", "2") for dataset in ("pets", "imagenet100", "coco2017")]
    for dataset, backbone, table in (*of_sd2, ("imagenet100", "dit_xl2", "3")):
        ours = _number(table, "acc@1", "bigain_td", 2, dataset, backbone)
        uncompressed = _number(table, "acc@1", "none", None, dataset, backbone)
        yield Finding(
            f"4.3: 2x surpasses the uncompressed model in recognition ({backbone} on {dataset})",
            "surpasses",
            f"{ours:.2f} against {uncompressed:.2f}",
            ours > uncompressed,
        )


def _reduction_of_loss() -> Iterator[Finding]:
    uncompressed = _number("1", "acc@1", "none", None)
    ours = uncompressed - _number("1", "acc@1", "bigain_tm", 0.5)
    cuts = {
        method: 100 * (1 - ours / (uncompressed - _number("1", "acc@1", method, strength)))
        for method, strength in (("tome", 0.5), ("dip_go", 10), ("sito", 0.7), ("mosaicdiff", 10))
    }
    inside = all(40 <= cut <= 80 for cut in cuts.values())
    shown = ", ".join(f"{method} {cut:.0f}%" for method, cut in cuts.items())
    yield Finding("4.2: BiGain_TM cuts the loss by 40 to 80% against the other methods", "40 to 80%", shown, inside)


def _table_11() -> Iterator[Finding]:
    seconds, gflops_printed, acceleration = (
        {row.method: row.printed for row in _select(table="11", metric=metric)}
        for metric in ("seconds_per_batch", "gflops", "acceleration_percent")
    )
    uncompressed = seconds["none"]
    gap = max(
        abs(100 * (uncompressed - seconds[method]) / uncompressed - printed) for method, printed in acceleration.items()
    )
    yield Finding(
        "Table 11: its accelerations follow from its seconds", "5 of 5", f"off by at most {gap:.3f}", gap < 0.0051
    )
    for method, printed in sorted(gflops_printed.items()):
        strength = None if method == "none" else 0.7
        counted = gflops("sd2", "bigain_tm_block~score_twice-on" if method == "bigain_tm_block" else method, strength)
        yield Finding(
            f"Table 11: GFLOPs of {method}, counted on the real model",
            f"{printed:.2f}",
            f"{counted:.2f}",
            abs(counted - printed) < 0.0051,
            "scores are computed twice per block, as in the released code" if method == "bigain_tm_block" else "",
        )
