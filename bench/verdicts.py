"""Whether a method reached its goal, and whether it is faster than the published method of its kind in the same run."""

from __future__ import annotations

from bench.rounds import Row

PEERS = {"bigain_tm": "tomesd", "bigain_td": "todo"}


def verdict(row: Row, rows: list[Row]) -> str:
    """Return the verdict on a row against its goal and its peer's row, "" if it has neither.

    One arm is faster than another if the quartiles of its speed-ups lie above the other's.
    """
    return ", ".join(part for part in (beside_peer(row, rows), beside_goal(row), graph_breaks(row)) if part)


def beside_peer(row: Row, rows: list[Row]) -> str:
    """Return whether an arm is faster than its peer in the same benchmark and case."""
    name = PEERS.get(row["arm"])
    peers = [
        other
        for other in rows
        if other["arm"] == name and (other["benchmark"], other["case"]) == (row["benchmark"], row["case"])
    ]
    if "ratio" not in row or not peers:
        return ""
    peer = peers[0]
    if "ratio" not in peer:
        return f"{name} was not timed"
    if row["low"] > peer["high"]:
        compared = "faster than"
    elif row["high"] < peer["low"]:
        compared = "slower than"
    else:
        compared = "not clearly faster or slower than"
    return f"{compared} {name} ({row['ratio'] / peer['ratio']:.2f} x)"


def beside_goal(row: Row) -> str:
    """Return whether an arm reached its goal."""
    if "ratio" not in row or "goal" not in row:
        return ""
    return "goal reached" if row["ratio"] >= row["goal"] else "goal missed"


def graph_breaks(row: Row) -> str:
    """Return the number of graph breaks of an arm, in words."""
    count = row.get("graph_breaks", 0)
    return f"{count} graph break{'s' if count > 1 else ''}" if count else ""
