"""What a stage found, in a few words, from its rows."""

from __future__ import annotations

from bench.rounds import Row
from bench.verdicts import beside_goal, verdict

SHOWN = ("none", "bigain_tm", "bigain_td", "todo")  # of many arms


def environment(rows: list[Row]) -> str:
    """Return the card and the two ceilings that figures are compared with."""
    values = {row["case"]: row["value"] for row in rows}
    ceilings = [value for case, value in values.items() if case.startswith(("bfloat16,", "copy"))]
    return ", ".join([values.get("card", "an unknown card"), *ceilings])


def first(rows: list[Row]) -> str:
    """Return the value of the first row: how many tests passed, how many steps were done."""
    return f"{rows[0]['value']}" if rows else ""


def study(rows: list[Row]) -> str:
    """Return the steps of a study, and how many numbers came out."""
    return f"{first(rows)} steps, {max(0, len(rows) - 1)} metrics"


def determinism(rows: list[Row]) -> str:
    """Return how many comparisons are bit-identical, and the largest difference of the others."""
    equal = sum(not row["different"] for row in rows)
    largest = max((row["largest"] for row in rows), default=0.0)
    return f"{equal} of {len(rows)} comparisons bit-identical" + (f", others within {largest:.1e}" if largest else "")


def operators(rows: list[Row]) -> str:
    """Return what planning, reducing and restoring cost together under bigain_tm, per map."""
    totals: dict[str, float] = {}
    for row in rows:
        if "note" not in row and row["arm"] in ("plan, bigain_tm", "reduce, bigain_tm", "restore, bigain_tm"):
            totals[row["case"]] = totals.get(row["case"], 0.0) + (row["graph"] or row["eager"])
    return "plan + reduce + restore: " + ", ".join(f"{case}: {1e6 * t:.0f} us" for case, t in totals.items())


def attention(rows: list[Row]) -> str:
    """Return the speed-ups of a few methods at the largest size that was timed, with their bounds, whether they are
    faster than published ones, and how many goals were reached at all sizes."""
    timed = [row for row in rows if "ratio" in row and row["arm"] in SHOWN and row["arm"] != row["baseline"]]
    if not timed:
        return "nothing timed"
    case = max((row["case"] for row in timed), key=lambda case: int(case.rsplit("x", 1)[1]))
    kind = timed[0]["benchmark"]
    parts = []
    for row in timed:
        if (row["case"], row["benchmark"]) == (case, kind):
            bound = f"bound {row['bound']:.2f}" if "bound" in row else ""
            about = ", ".join(part for part in (bound, verdict(row, rows)) if part)
            parts.append(f"{row['arm']} {row['ratio']:.2f}" + (f" ({about})" if about else ""))
    goals = [beside_goal(row) for row in timed if "goal" in row]
    reached = f"; {goals.count('goal reached')} of {len(goals)} goals reached" if goals else ""
    return f"{case.rsplit(', ', 1)[1]}: " + ", ".join(parts) + reached


def engine(rows: list[Row]) -> str:
    """Return how many times as fast as its baseline every arm is, and its share of the measured product."""
    timed = [row for row in rows if row["arm"] != row["baseline"]]
    return "; ".join(
        f"{row['case'].split(',')[0]}, {row['arm']}: {row['ratio']:.2f} x, "
        f"{100 * row['share_of_product']:.0f}% of the product"
        for row in timed
    )
