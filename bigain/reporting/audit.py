"""Recompute the paper's statements from its anonymous submission's printed numbers, to find those fit as targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bigain.core.columns import csv_text
from bigain.methods.ids import method_of
from bigain.reporting import names
from bigain.reporting.frames import CellMetric
from bigain.reporting.paper_values import IMAGES, PrintedValue, contradictions, printed_tables, printed_values
from bigain.reporting.printed_differences import AGREES, DIFFERS, MISREAD, TOLERANCE, Difference, differences, listed
from bigain.reporting.rendering import write_table
from bigain.study.flops_table import gflops

# The abstract, merging 70% on ImageNet-1K: accuracy up (points), FID down, and by how many percent. The tables are
# transcribed from the anonymous submission; the published version has other numbers in its abstract.
SUBMITTED, PUBLISHED = ("7.1%", "0.56 (3.1%)"), ("7.15%", "0.34 (1.85%)")
CORRECTED = "the published version (arXiv 2603.12240) prints {}"


@dataclass(frozen=True)
class Finding:
    """One check: what is printed, what the printed numbers give, and the consequence for comparisons."""

    check: str
    printed: str
    recomputed: str
    verdict: str
    consequence: str = ""


def audit() -> list[Finding]:
    """Run every check, in the order of the paper's tables."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _contradictions,
        _saved_operations,
        _printed_differences,
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
    verdicts = [finding.verdict for finding in findings]
    context = {"findings": findings, "wrong": verdicts.count(DIFFERS), "misread": verdicts.count(MISREAD)}
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
    return method_of(method).strength_kind


def _label(method: str) -> str:
    return "the uncompressed model" if method == "none" else method_of(method).label


def _verdict(agrees: bool) -> str:
    return AGREES if agrees else DIFFERS


def _contradictions() -> Iterator[Finding]:
    contradictory = contradictions()
    for cell, numbers in contradictory.items():
        arm = f"{_label(cell.method)} {names.strength(_kind(cell.method), cell.strength)}".strip()
        first, *others = (f"Table {table}: {number:.2f}" for table, number in numbers.items())
        yield Finding(
            f"{names.METRICS[cell.metric].short} of {arm} on {cell.dataset} ({cell.backbone}), in several tables",
            first,
            "; ".join(others),
            DIFFERS,
            _choice(cell, list(numbers.values())),
        )
    repeated = sum(len(numbers) > 1 for numbers in printed_tables().values()) - len(contradictory)
    yield Finding(f"the other {repeated} numbers that several tables print", "the same in each", "all are", AGREES)


def _choice(cell: CellMetric, numbers: list[float]) -> str:
    """Return how to compare with a number that tables print differently."""
    if cell.metric != "acc@1":
        return f"compare {names.METRICS[cell.metric].short} within one table only; none of these is a target"
    count = IMAGES[cell.dataset]
    possible = [f"{number:.2f}" for number in numbers if _attainable(number, count)]
    return f"possible with {count:,} images: {', '.join(possible) or 'none of these'}"


def _saved_operations() -> Iterator[Finding]:
    uncompressed = gflops("sd2", "none", None)
    for method, strength in (("tome", 0.5), ("bigain_tm", 0.5), ("sito", 0.7), ("todo", 3), ("bigain_td", 3)):
        printed = _number("1", "saved_percent", method, strength)
        saved = 100 * (1 - gflops("sd2", method, strength) / uncompressed)
        agrees = abs(saved - printed) < 0.5
        yield Finding(
            f"Table 1: operations saved by {_label(method)} at {names.strength(_kind(method), strength)}",
            f"{printed:g}%",
            f"{saved:.2f}%",
            _verdict(agrees),
            "" if agrees else f"{printed:g}% is what 8x saves; the accuracy in its row is that of 3x",
        )


def _printed_differences() -> Iterator[Finding]:
    for table, all_of_table in differences().items():
        for verdict in (AGREES, DIFFERS, MISREAD):
            chosen = [difference for difference in all_of_table if difference.verdict == verdict]
            if chosen:
                shown = ("all", "the same") if verdict == AGREES else listed(chosen)
                part = "" if len(chosen) == len(all_of_table) else f"{len(chosen)} of "
                yield Finding(
                    f"Table {table}: {part}its {len(all_of_table)} printed differences (positive is better)",
                    *shown,
                    verdict,
                    _remark(verdict, chosen),
                )


def _remark(verdict: str, chosen: list[Difference]) -> str:
    """Return what to make of printed differences that the numbers do not give."""
    if verdict == MISREAD:
        return "right without the first digit: the text probably has a 1 for an arrow"
    if verdict == DIFFERS:
        if all(difference.only_sign_differs for difference in chosen):
            losers = ", ".join(dict.fromkeys(_label(difference.delta.of) for difference in chosen))
            return f"the size is right, the sign is not: {losers} is worse there, unless the + is a misread arrow"
        return "compare with the numbers, not with their printed differences"
    return ""


def _uncompressed_fids() -> Iterator[Finding]:
    small = _number("2", "fid", "none", None, "imagenet100")
    large = _number("4", "fid", "none", None, "imagenet1k")
    yield Finding(
        "Table 2's uncompressed FID on ImageNet-100 is not that of another data set",
        f"{small:.2f}",
        f"Table 4 on ImageNet-1K: {large:.2f}",
        _verdict(small != large),
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
            f"Table 5's FIDs of {_label(method)} (DiT) are not Table 4's (SD 2.0)",
            "another model",
            f"differ by at most {gap:.2f} over {len(sd2)} ratios",
            _verdict(gap > 1),
            "the DiT's FIDs are copies: not targets" if gap <= 1 else "",
        )


def _abstract() -> Iterator[Finding]:
    accuracy = _number("4", "acc@1", "bigain_tm", 0.7, "imagenet1k") - _number("4", "acc@1", "tome", 0.7, "imagenet1k")
    tome = _number("4", "fid", "tome", 0.7, "imagenet1k")
    fid = tome - _number("4", "fid", "bigain_tm", 0.7, "imagenet1k")
    yield Finding(
        "Abstract: the gain in accuracy at 70% on ImageNet-1K",
        SUBMITTED[0],
        f"{accuracy:.2f} points",
        _verdict(f"{accuracy:.2f}".startswith(SUBMITTED[0].rstrip("%"))),  # truncated
        CORRECTED.format(PUBLISHED[0]),
    )
    improvement = f"{fid:.2f} ({100 * fid / tome:.2f}%)"
    yield Finding(
        "Abstract: the gain in FID at 70% on ImageNet-1K",
        SUBMITTED[1],
        improvement,
        _verdict(SUBMITTED[1] == improvement),
        CORRECTED.format(PUBLISHED[1]),
    )


def _attainable_accuracies() -> Iterator[Finding]:
    for dataset, count in IMAGES.items():
        accuracies = [row.printed for row in _select(metric="acc@1", dataset=dataset)]
        wrong = sorted({accuracy for accuracy in accuracies if not _attainable(accuracy, count)})
        yield Finding(
            f"{dataset}: {len(accuracies)} printed accuracies are fractions of {count:,} images",
            ", ".join(f"{accuracy:.2f}" for accuracy in wrong) or "all",
            f"not k / {count:,}, rounded or truncated" if wrong else "all are",
            _verdict(not wrong),
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
            _verdict(ours > uncompressed),
        )


def _reduction_of_loss() -> Iterator[Finding]:
    uncompressed = _number("1", "acc@1", "none", None)
    ours = uncompressed - _number("1", "acc@1", "bigain_tm", 0.5)
    cuts = {
        method: 100 * (1 - ours / (uncompressed - _number("1", "acc@1", method, strength)))
        for method, strength in (("tome", 0.5), ("dip_go", 10), ("sito", 0.7), ("mosaicdiff", 10))
    }
    inside = all(40 <= cut <= 80 for cut in cuts.values())
    shown = ", ".join(f"{_label(method)} {cut:.0f}%" for method, cut in cuts.items())
    check = "4.2: BiGain_TM cuts the loss by 40 to 80% against the other methods"
    yield Finding(check, "40 to 80%", shown, _verdict(inside))


def _table_11() -> Iterator[Finding]:
    seconds, gflops_printed, acceleration = (
        {row.method: row.printed for row in _select(table="11", metric=metric)}
        for metric in ("seconds_per_batch", "gflops", "acceleration_percent")
    )
    uncompressed = seconds["none"]
    gap = max(
        abs(100 * (uncompressed - seconds[method]) / uncompressed - printed) for method, printed in acceleration.items()
    )
    check = f"Table 11: its {len(acceleration)} accelerations (%) follow from its seconds"
    yield Finding(check, "all", f"all, to {gap:.3f} points", _verdict(gap < TOLERANCE))
    of_table_8 = _select(table="8", metric="gflops")
    yield Finding(
        f"Table 8: its {len(of_table_8)} GFLOPs are Table 11's, at 0.7",
        "all",
        "all",
        _verdict(all(row.printed == gflops_printed[row.method] for row in of_table_8)),
    )
    for method, printed in sorted(gflops_printed.items()):
        strength = None if method == "none" else 0.7
        counted = gflops("sd2", "bigain_tm_block~score_twice-on" if method == "bigain_tm_block" else method, strength)
        yield Finding(
            f"Table 11: GFLOPs of {_label(method)}, counted on the real model",
            f"{printed:.2f}",
            f"{counted:.2f}",
            _verdict(abs(counted - printed) < TOLERANCE),
            "scores are computed twice per block, as in the released code" if method == "bigain_tm_block" else "",
        )
