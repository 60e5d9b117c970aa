"""The paper's printed numbers beside a study's: ours, theirs, the difference, and whether theirs is in our interval."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bigain.methods.ids import method_of
from bigain.reporting.names import METRICS
from bigain.reporting.plan import PRINTED

# Table 1 prints what a method saves; its accuracies are those of these strengths in Tables 2 and 4 (and of SiTo at 0.7,
# which saves 6.93%). Of the downsampling methods it says 14.2%, which is what 8x saves; 3x, whose accuracies it prints,
# saves 12.84%.
TABLE_1 = {
    "tome": 0.5,
    "bigain_tm": 0.5,
    "sito": 0.7,
    "todo": 3.0,
    "bigain_td": 3.0,
    "dip_go": 10.0,
    "mosaicdiff": 10.0,
}
TABLE_12_FACTOR = 2.0  # "75% sparsity"
COLUMNS = ("table", "backbone", "dataset", "task", "metric", "method", "strength")


def values() -> pd.DataFrame:
    """Every printed number, with methods and strengths as cells name them; `printed` holds the number."""
    frame = pd.read_csv(PRINTED / "values.csv", dtype={"table": str}).rename(columns={"value": "printed"})
    frame["method"] = [method_of(method).id for method in frame["method"]]
    first, twelfth = frame["table"] == "1", frame["table"] == "12"
    frame.loc[first, "strength"] = frame.loc[first, "method"].map(TABLE_1)
    frame.loc[twelfth, "strength"] = TABLE_12_FACTOR
    return frame.drop(columns="strength_kind")


def deltas() -> pd.DataFrame:
    """Every printed difference of Tables 2-5, positive for better."""
    return pd.read_csv(PRINTED / "deltas.csv", dtype={"table": str})


def printed_by_cell() -> dict[tuple, float]:
    """The printed numbers by (backbone, data set, metric, method, strength), of the first table that prints a cell; the
    paper's mAP goes by the name of the released ranking."""
    found: dict[tuple, float] = {}
    for row in values().itertuples():
        metric = {"map": "map_released"}.get(row.metric, row.metric)
        strength = None if pd.isna(row.strength) else row.strength
        found.setdefault((row.backbone, row.dataset, metric, row.method, strength), row.printed)
    return found


def beside(results: pd.DataFrame, efficiency: pd.DataFrame) -> pd.DataFrame:
    """The printed numbers joined to a study's, averaged over seeds: all that are printed, ours missing where not run.

    `efficiency` holds the study's counted operations (`backbone`, `method`, `strength`, `gflops`). The paper's mAP is
    compared with the one that its released code computes. `inside` says whether the printed number lies in our 95%
    interval; it is missing where we have no interval.
    """
    ours = results.assign(metric=results["metric"].replace({"map": "map_clean", "map_released": "map"}))
    keys = [key for key in COLUMNS if key != "table"]
    ours = ours.groupby(keys, dropna=False)[["value", "low", "high"]].mean().reset_index()
    counted = efficiency.assign(metric="gflops", dataset=None, task="efficiency", value=efficiency["gflops"])
    ours = pd.concat([ours, counted[[*keys, "value"]]], ignore_index=True)
    both = [frame.assign(_key=_keys(frame, keys)) for frame in (values(), ours)]
    joined = both[0].merge(both[1][["_key", "value", "low", "high"]], on="_key", how="left").drop(columns="_key")
    joined["difference"] = joined["value"] - joined["printed"]
    known = joined["low"].notna()
    inside = (joined["low"] <= joined["printed"]) & (joined["printed"] <= joined["high"])
    joined["inside"] = inside.astype(object).where(known)
    return joined[[*COLUMNS, "printed", "value", "low", "high", "difference", "inside", "note"]]


def _keys(frame: pd.DataFrame, columns: list[str]) -> list[tuple[Any, ...]]:
    """Rows as tuples that compare, with one value for everything missing."""
    return [
        tuple(None if pd.isna(value) else value for value in row)
        for row in frame[columns].itertuples(index=False, name=None)
    ]


def summary(joined: pd.DataFrame) -> list[dict[str, Any]]:
    """By table and metric: how many numbers are printed, how many of them we have, and how many lie in our interval."""
    rows = []
    for (table, metric), part in joined.groupby(["table", "metric"], sort=False):
        have = part[part["value"].notna()]
        rows.append(
            {
                "table": table,
                "metric": METRICS.get(metric, (metric, ""))[0],
                "printed": len(part),
                "have": len(have),
                "inside": int((have["inside"] == True).sum()),  # noqa: E712 - it may be missing
                "median_difference": float(have["difference"].median()) if len(have) else None,
            }
        )
    return rows
