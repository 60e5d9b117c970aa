"""The page "Is it frequency?": destinations by opposite rules, alpha, and what the change of r explains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigain.core.columns import csv_text
from bigain.core.report_specs import ReportSpec
from bigain.methods.ids import method_of
from bigain.metrics.margins import HeldOutWeights
from bigain.metrics.significance import Difference
from bigain.reporting import names, style
from bigain.reporting.claims import read_claims_file
from bigain.reporting.collected import CellScores
from bigain.reporting.frames import CellMetric
from bigain.reporting.frequency_answer import answer, findings
from bigain.reporting.frequency_cells import (
    LOWEST,
    RULES,
    AlphaSweep,
    Destinations,
    alpha_sweeps,
    destinations,
)
from bigain.reporting.frequency_figure import draw
from bigain.reporting.frequency_probe import (
    Margins,
    Mediated,
    ProbedArm,
    Responded,
    band_responses,
    fitted_weights,
    mediations,
    read_margins,
)
from bigain.reporting.rendering import write_table
from bigain.reporting.spectrum_probe import bands_outside
from bigain.reporting.study_numbers import StudyNumbers
from bigain.reporting.tables import arm_columns

Row = dict[str, Any]


@dataclass(frozen=True)
class Probed:
    """The margins of a backbone and data set, and what follows from them."""

    margins: Margins
    mediated: list[Mediated]
    weights: dict[str, HeldOutWeights]
    responded: list[Responded]


def write_frequency(
    margin_files: list[Path],
    cells: list[CellScores],
    data: Path,
    spec: ReportSpec,
    tex: Path,
    csv: Path,
    html: Path,
    pdf: Path,
    png: Path,
) -> None:
    """Write the page in three formats and its figure in two; the margin of equivalence is that of a claims file."""
    study = StudyNumbers(cells, spec["backbones"])
    compared = destinations(study, read_claims_file(data).margins.get("acc@1"))
    sweeps = alpha_sweeps(study)
    measured = [_measured(read_margins(file), study) for file in margin_files]
    sentence = answer(findings(compared, [(each.margins, each.mediated) for each in measured]))
    context = {
        "spec": spec,
        "answer": sentence,
        "rules": RULES,
        "lowest": LOWEST,
        "destinations": compared,
        "sweeps": sweeps,
        "measured": measured,
        "arm_label": _arm_label,
        "outside": bands_outside,
    }
    rows = [{"quantity": "answer", "sentence": sentence}, *_rows(compared, sweeps, measured)]
    write_table("frequency", context, csv_text("frequency", rows), tex, csv, html)
    with style.look():
        mediated = [(each.margins.title, mediated) for each in measured for mediated in each.mediated]
        style.save(draw(compared, sweeps, mediated), pdf, png)


def _measured(margins: Margins, study: StudyNumbers) -> Probed:
    return Probed(margins, mediations(margins, study.scores), fitted_weights(margins), band_responses(margins))


def _arm_label(arm: ProbedArm) -> str:
    """Return a method's label and strength, for print."""
    method = method_of(arm[0])
    return f"{method.label} {names.strength(method.strength_kind, arm[1])}".strip()


def _rows(compared: list[Destinations], sweeps: list[AlphaSweep], measured: list[Probed]) -> Iterator[Row]:
    """Yield the rows of the CSV file, one quantity in each."""
    for each in compared:
        for method, value in each.accuracies.items():
            yield _of_cell(each.cell._replace(method=method)) | {"quantity": "accuracy", "value": value}
        for method, lead in each.leads.items():
            row = {"quantity": "lead", "against": method, "p": lead.p, "verdict": lead.evidence.verdict}
            yield _of_cell(each.cell) | _difference(lead.difference) | row
    for sweep in sweeps:
        for alpha, change in sweep.changes.items():
            row = {"quantity": "change_with_alpha", "part": alpha, "against": sweep.cell.method}
            yield _of_cell(change.cell) | row | _difference(change.difference) | {"p": sweep.p[alpha]}
    for probed in measured:
        yield from _of_margins(probed)


def _of_margins(measured: Probed) -> Iterator[Row]:
    margins = measured.margins
    for mediated in measured.mediated:
        explained, row = mediated.explained, _of_cell(margins.cell(mediated.ours)) | {"against": mediated.theirs[0]}
        yield row | {"quantity": "difference"} | _difference(explained.total)
        interval = {"value": explained.value, "low": explained.low, "high": explained.high}
        yield row | {"quantity": "explained"} | interval | {"images": explained.total.n}
        shares = {"value": explained.share, "low": explained.share_low, "high": explained.share_high}
        yield row | {"quantity": "explained_share"} | shares | {"images": explained.total.n}
        yield row | {"quantity": "reliability", "value": explained.reliability, "images": explained.total.n}
    place = {"backbone": margins.backbone, "dataset": margins.dataset}
    parts = {"bands": range(margins.to_all.shape[-1]), "timesteps": margins.timesteps.tolist()}
    for kind, weights in measured.weights.items():
        yield place | {"quantity": f"gain_of_weights_of_{kind}"} | _difference(weights.gain)
        for part, weight in zip(parts[kind], weights.weights, strict=True):
            yield place | {"quantity": f"weight_of_{kind}", "part": part, "value": weight}
    for responded in measured.responded:
        row = _of_cell(margins.cell(responded.arm)) | {"images": len(margins.images)}
        yield row | {"quantity": "r", "value": responded.r}
        for band, values in enumerate(zip(responded.value, responded.low, responded.high, strict=True)):
            yield (
                row | {"quantity": "response", "part": band} | dict(zip(("value", "low", "high"), values, strict=True))
            )


def _of_cell(cell: CellMetric) -> Row:
    return {"backbone": cell.backbone, "dataset": cell.dataset} | arm_columns(cell.method, cell.strength)


def _difference(difference: Difference) -> Row:
    interval = {"value": difference.value, "low": difference.low, "high": difference.high}
    return interval | {"p": difference.p, "detectable": difference.detectable, "images": difference.n}
