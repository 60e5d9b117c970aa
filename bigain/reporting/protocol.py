"""Tables 9, 10 and 13, the experimental setup: data sets, the classifier's stages, and destination scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bigain.classifier.timesteps import Stages
from bigain.core.columns import csv_text
from bigain.core.files import write_text
from bigain.core.report_specs import CertifiedCell, DatasetProtocol, ReportSpec
from bigain.methods.ids import method_of
from bigain.reporting import names
from bigain.reporting.rendering import render


def counted(settings: DatasetProtocol) -> dict[str, str | None]:
    """Return how many images of a data set are classified and generated per cell: a number, or `FEWEST to MOST`."""
    ranges = {
        "classified": (settings.get("fewest_images"), settings.get("images")),
        "generated": (settings.get("fewest_generated"), settings.get("generated")),
    }
    return {
        task: None if most is None else f"{most}" if fewest is None else f"{fewest} to {most}"
        for task, (fewest, most) in ranges.items()
    }


class Text(NamedTuple):
    """The text of a cell, in LaTeX and plain."""

    latex: str
    plain: str


def _texts(*cells: Any) -> list[Text]:
    """Return cells of plain text; None is a dash."""
    plain = [names.MISSING if cell is None else str(cell) for cell in cells]
    return [Text(names.latex(text).replace(names.MISSING, "--"), text) for text in plain]


# Table 13 as implemented in bigain/tokens/scores.py: name and formula. x is a token of C channels, mu the mean token, L
# the 3x3 Laplacian, x^ the DFT over channels, N4 the neighbours that exist.
SCORES = {
    "global_mean_deviation": Text(r"$\lVert x-\mu\rVert_2$", "‖x − μ‖₂"),
    "l1_norm": Text(r"$\lVert x\rVert_1$", "‖x‖₁"),
    "l2_norm": Text(r"$\lVert x\rVert_2$", "‖x‖₂"),
    "channel_variance": Text(
        r"$\frac1C\sum_c\bigl(x_c-\frac1C\sum_{c'}x_{c'}\bigr)^2$", "variance of x over its channels"
    ),
    "laplacian_l1": Text(r"$\frac1C\sum_c\lvert(X*L)_c\rvert$", "mean over channels of |X ∗ L|"),
    "laplacian_l2": Text(r"$\sqrt{\frac1C\sum_c(X*L)_c^2}$", "root mean square over channels of X ∗ L"),
    "dft_centroid": Text(r"$\sum_k k\lvert\hat x_k\rvert\,/\sum_k\lvert\hat x_k\rvert$", "Σ k |x̂ₖ| / Σ |x̂ₖ|"),
    "dft_amplitude": Text(r"$\sum_k\lvert\hat x_k\rvert$", "Σ |x̂ₖ|"),
    "cosine_to_neighbours": Text(r"$-\frac1{|N_4|}\sum_{y\in N_4}\cos(x,y)$", "− mean cosine to the neighbours"),
    "cosine_to_mean": Text(r"$-\cos(x,\mu)$", "− cosine to μ"),
}


@dataclass(frozen=True)
class Listing:
    """A table of text; `name` is that of its files, `number` the table's in the paper.

    `entries` are the rows of its CSV file.
    """

    name: str
    number: str
    caption: str
    heads: list[str]
    rows: list[list[Text]]
    entries: list[dict[str, Any]]


def listings(spec: ReportSpec) -> list[Listing]:
    """Return Tables 9, 10 and 13 of a study."""
    datasets = spec["datasets"]
    return [
        Listing(
            "table9",
            "Table 9",
            "Data sets: number of classes, and of images classified and generated (Table 9 of the paper).",
            ["data set", "reader", "classes", "images classified", "images generated"],
            [
                _texts(name, settings["reader"], settings.get("classes"), *counted(settings).values())
                for name, settings in datasets.items()
            ],
            [_dataset(name, settings) for name, settings in datasets.items()],
        ),
        Listing(
            "table10",
            "Table 10",
            "Stages of the classifier (Table 10 of the paper): cumulative trials per class, classes kept after each "
            f"stage, and noise predictions per image.{_instead_of_stages(spec)}",
            ["data set", "stages", "TrialList", "KeepList", "predictions per image"],
            [_stages(name, settings) for name, settings in datasets.items() if "stages" in settings],
            [row for name, settings in datasets.items() if "stages" in settings for row in _by_stage(name, settings)],
        ),
        Listing(
            "table13",
            "Table 13",
            "Scores that select destination tokens (Table 13 of the paper), as implemented: detailed tokens score "
            "high. The paper's cosines rank tokens the other way round and are negated here; L has -4 at its centre "
            "and 1 at the four neighbours.",
            ["score", "formula"],
            [[Text(rf"\texttt{{{names.latex(name)}}}", name), formula] for name, formula in SCORES.items()],
            [{"score": name, "formula": formula.plain} for name, formula in SCORES.items()],
        ),
    ]


def elimination_note(spec: ReportSpec) -> str:
    """Say what the study's elimination does and what its certificate covers; nothing if it eliminates no classes."""
    settings = spec["classification"]["elimination"]
    if settings is None:
        return ""
    note = (
        f"after every {settings['every']} trials, classes whose mean error exceeds the lowest by more than z = "
        f"{settings['z']:g} standard errors, times sqrt(1 - n/M) after n of M trials, are dropped; z is not an error "
        "rate, because the comparison is repeated and the leading class is chosen from the same trials."
    )
    if (certificate := spec.get("certificate")) is None:
        return note
    cells = "; ".join(map(_certified, certificate["cells"]))
    confidence, rate = 100 * certificate["confidence"], 100 * certificate["rate"]
    return (
        f"{note} Calibrated on held-out images: with {confidence:g}% confidence, at most {rate:g}% of the decisions on "
        f"such images differ from the full evaluation's ({cells}). Other cells are not covered."
    )


def _instead_of_stages(spec: ReportSpec) -> str:
    """Return the end of Table 10's caption in a study whose classifier has no stages."""
    note = elimination_note(spec)
    return f" This study uses none of them but the last number of trials, M: {note}" if note else ""


def _certified(cell: CertifiedCell) -> str:
    """Describe what the certificate of a cell rests on."""
    method = method_of(cell["method"])
    strength = names.strength(method.strength_kind, cell["strength"])
    return (
        f"{cell['backbone']} on {cell['dataset']}, {cell['method']}{f' {strength}' if strength else ''}, seed "
        f"{cell['seed']}: {cell['disagreements']} of {cell['images']} images, at {cell['predictions']:.1f} instead of "
        f"{cell['full_predictions']} noise predictions per image"
    )


def _stages(name: str, settings: DatasetProtocol) -> list[Text]:
    stages = Stages(tuple(settings["stages"]), tuple(settings["keep"]))
    evaluations = stages.evaluations(settings["classes"])
    return _texts(name, len(stages.targets), settings["stages"], settings["keep"], evaluations)


def _dataset(name: str, settings: DatasetProtocol) -> dict[str, Any]:
    """Return a data set as a row of table9.csv."""
    images = {f"images_{task}": count for task, count in counted(settings).items()}
    return {"dataset": name, "reader": settings["reader"], "classes": settings.get("classes")} | images


def _by_stage(name: str, settings: DatasetProtocol) -> Iterator[dict[str, Any]]:
    """Yield the stages of a data set as rows of table10.csv, with cumulative trials and predictions."""
    stages = Stages(tuple(settings["stages"]), tuple(settings["keep"]))
    candidates, trials, predictions = settings["classes"], 0, 0
    for stage, (timesteps, keep) in enumerate(zip(stages.timesteps(), stages.keep, strict=True)):
        trials += len(timesteps)
        predictions += len(timesteps) * candidates
        candidates = min(keep, candidates)
        yield {"dataset": name, "stage": stage, "trials": trials, "keep": candidates, "predictions": predictions}


def write_listings(spec: ReportSpec, folder: Path) -> None:
    """Write the three tables as .tex, .csv and .html into a folder."""
    for listing in listings(spec):
        context = {"listing": listing, "spec": spec}
        write_text(folder / f"{listing.name}.csv", csv_text(listing.name, listing.entries))
        for form in ("tex", "html"):
            write_text(folder / f"{listing.name}.{form}", render(f"listing.{form}", context))
