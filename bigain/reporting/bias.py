"""State the bias of distances of few images beside them, as the score of a perfect generator."""

from __future__ import annotations

import pandas as pd

from bigain.reporting import names
from bigain.reporting.frames import groups
from bigain.reporting.tables import over_seeds

PERFECT = {
    "fd_perfect": "fd",
    "fid_perfect": "fid",
}  # metrics of a perfect generator, and the metrics whose bias they show


def bias_note(results: pd.DataFrame) -> str:
    """Return a sentence on the score of a perfect generator per data set, with as many images as the cells shown.

    Empty if there are no such distances.
    """
    perfect = results[results["metric"].isin(PERFECT)].sort_values(["metric", "n"])
    scores = []
    for (metric, dataset), rows in groups(perfect, ["metric", "dataset"]):
        for count, same in rows.groupby("n"):
            short = names.METRICS[PERFECT[metric]].short
            scores.append(f"{short} {over_seeds(same).text} with {count:,} images of {dataset}")
    if not scores:
        return ""
    return f"Distances of few images are too large; a perfect generator would score {', '.join(scores)}."
