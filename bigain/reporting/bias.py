"""How much too large distances of few images are, stated beside them: what a perfect generator would score."""

from __future__ import annotations

import pandas as pd

from bigain.reporting import names
from bigain.reporting.frames import groups
from bigain.reporting.tables import over_seeds

PERFECT = {"fd_perfect": "fd", "fid_perfect": "fid"}  # metrics of a perfect generator, and whose bias they are


def bias_note(results: pd.DataFrame) -> str:
    """Say what a perfect generator would score in each data set, with as many images as the cells that are shown have.

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
