"""Tables 9, 10 and 13: the data sets, the classifier's stages and the scores: what was done, not what came out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.classifier.timesteps import Stages
from bigain.core.files import write_text
from bigain.reporting import names
from bigain.reporting.tables import templates

# Table 13 as implemented in bigain/tokens/scores.py: name, formula in LaTeX and in plain text. x is a token of C
# channels, mu the mean token, L the 3x3 Laplacian, x^ the DFT over channels, N4 the neighbours that exist.
SCORES = (
    ("global_mean_deviation", r"$\lVert x-\mu\rVert_2$", "‖x − μ‖₂"),
    ("l1_norm", r"$\lVert x\rVert_1$", "‖x‖₁"),
    ("l2_norm", r"$\lVert x\rVert_2$", "‖x‖₂"),
    ("channel_variance", r"$\frac1C\sum_c\bigl(x_c-\frac1C\sum_{c'}x_{c'}\bigr)^2$", "variance of x over its channels"),
    ("laplacian_l1", r"$\frac1C\sum_c\lvert(X*L)_c\rvert$", "mean over channels of |X ∗ L|"),
    ("laplacian_l2", r"$\sqrt{\frac1C\sum_c(X*L)_c^2}$", "root mean square over channels of X ∗ L"),
    ("dft_centroid", r"$\sum_k k\lvert\hat x_k\rvert\,/\sum_k\lvert\hat x_k\rvert$", "Σ k |x̂ₖ| / Σ |x̂ₖ|"),
    ("dft_amplitude", r"$\sum_k\lvert\hat x_k\rvert$", "Σ |x̂ₖ|"),
    ("cosine_to_neighbours", r"$-\frac1{|N_4|}\sum_{y\in N_4}\cos(x,y)$", "− mean cosine to the neighbours"),
    ("cosine_to_mean", r"$-\cos(x,\mu)$", "− cosine to μ"),
)


@dataclass(frozen=True)
class Listing:
    """A table of text: heads, and rows whose cells are (LaTeX, plain text)."""

    name: str
    number: str
    caption: str
    heads: list[str]
    rows: list[list[tuple[str, str]]]

    def to_csv(self) -> str:
        """The plain texts."""
        frame = pd.DataFrame([[plain for _, plain in row] for row in self.rows], columns=self.heads)
        return frame.to_csv(index=False, lineterminator="\n")


def listings(spec: dict[str, Any]) -> list[Listing]:
    """Tables 9, 10 and 13 of a study."""
    return [
        Listing(
            "table9",
            "Table 9",
            "The data sets: classes, and images classified and generated (Table 9 of the paper).",
            ["data set", "reader", "classes", "images classified", "images generated"],
            [
                _row(name, own["reader"], *(own.get(key) for key in ("classes", "images", "generated")))
                for name, own in spec["datasets"].items()
            ],
        ),
        Listing(
            "table10",
            "Table 10",
            "The stages of the classifier (Table 10 of the paper): cumulative trials a class, classes kept after each "
            "stage, and the noise predictions that an image costs.",
            ["data set", "stages", "TrialList", "KeepList", "predictions an image"],
            [_stages(name, own) for name, own in spec["datasets"].items() if "stages" in own],
        ),
        Listing(
            "table13",
            "Table 13",
            "The scores that pick destinations (Table 13 of the paper), as implemented: high is detailed. The paper's "
            "cosines say the opposite and are negated here; L has -4 in the middle and 1 beside it.",
            ["score", "formula"],
            [[(rf"\texttt{{{names.latex(name)}}}", name), (tex, plain)] for name, tex, plain in SCORES],
        ),
    ]


def _stages(name: str, own: dict[str, Any]) -> list[tuple[str, str]]:
    stages = Stages(tuple(own["stages"]), tuple(own["keep"]))
    return _row(name, len(stages.targets), own["stages"], own["keep"], stages.evaluations(own["classes"]))


def _row(*cells: Any) -> list[tuple[str, str]]:
    texts = [names.MISSING if cell is None else str(cell) for cell in cells]
    return [(names.latex(text).replace(names.MISSING, "--"), text) for text in texts]


def write_listings(spec: dict[str, Any], folder: Path) -> None:
    """Write them as .tex, .csv and .html into a folder."""
    for listing in listings(spec):
        context = {"listing": listing, "spec": spec}
        write_text(folder / f"{listing.name}.csv", listing.to_csv())
        for form in ("tex", "html"):
            rendered = templates().get_template(f"listing.{form}.j2").render(context)
            write_text(folder / f"{listing.name}.{form}", rendered)
