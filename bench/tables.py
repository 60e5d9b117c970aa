"""Rows of benchmarks as Markdown tables, by the kind of row."""

from __future__ import annotations

from collections.abc import Callable

from bench.rounds import Row
from bench.verdicts import verdict


def equal(rows: list[Row]) -> list[str]:
    """Return a table of the number of decisions that two arms share."""
    head = ["| model | equal decisions |", "|---|---|"]
    return [*head, *(f"| {row['case']} | {row['equal']} of {row['of']} |" for row in rows), ""]


def timed(rows: list[Row]) -> list[str]:
    """Return a table of arms timed in turns."""
    lines = [
        "| benchmark | case | arm | seconds | times as fast | quartiles | rounds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times = (
            f"{row['ratio']:.2f} | {row['low']:.2f} to {row['high']:.2f}" if row["arm"] != row["baseline"] else " | "
        )
        lines.append(
            f"| {row['benchmark']} | {row['case']} | {row['arm']} | {row['seconds']:.3f} | {times} | {row['rounds']} |"
        )
    return [*lines, ""]


def bounded(rows: list[Row]) -> list[str]:
    """Return a table of arms timed in turns, in milliseconds: the bound of each speed-up, its goal, if any, arms that
    did not run, and comparisons between arms of this run."""
    verdicts = [verdict(row, rows) for row in rows]
    more = [key for key in ("bound", "goal") if any(key in row for row in rows)]
    head = ["benchmark", "case", "arm", "milliseconds", "times as fast", "quartiles", *more]
    head += ["in this run"] if any(verdicts) else []
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row, said in zip(rows, verdicts, strict=True):
        start = f"| {row['benchmark']} | {row['case']} | {row['arm']} |"
        if "note" in row:
            lines.append(f"{start} {row['note']} |" + " |" * (len(head) - 4))
            continue
        times = (
            f"{row['ratio']:.2f} | {row['low']:.2f} to {row['high']:.2f}" if row["arm"] != row["baseline"] else " | "
        )
        figures = [f"{1e3 * row['seconds']:.2f}", times, *(f"{row[key]:.2f}" if key in row else "" for key in more)]
        figures += [said] if any(verdicts) else []
        lines.append(f"{start} {' | '.join(figures)} |")
    return [*lines, ""]


def resolved(rows: list[Row]) -> list[str]:
    """Return a table of speed-ups with their bounds, and one of the steps of a compressed block."""
    steps = ("plan", "reduce", "attention", "restore")
    lines = [
        f"| one block, milliseconds | arm | {' | '.join(steps)} | sum | attention of all tokens |",
        "|---" * (len(steps) + 4) + "|",
    ]
    for row in rows:
        if row["benchmark"] == "one block":
            taken = [row[step] for step in steps]
            figures = " | ".join(f"{1e3 * seconds:.2f}" for seconds in (*taken, sum(taken), row["uncompressed"]))
            lines.append(f"| {row['case']} | {row['arm']} | {figures} |")
    return [*bounded([row for row in rows if row["benchmark"] != "one block"]), *lines, ""]


def profiled(rows: list[Row]) -> list[str]:
    """Return a table of operators by their time."""
    lines = ["| model | arm | operator | seconds of its own | share | calls |", "|---|---|---|---|---|---|"]
    for row in rows:
        figures = f"{row['seconds']:.2f} | {100 * row['share']:.0f}% | {row['calls']}"
        lines.append(f"| {row['case']} | {row['arm']} | {row['operator']} | {figures} |")
    return [*lines, ""]


def rated(rows: list[Row]) -> list[str]:
    """Return a table of arms timed in turns, and a table of their operations per second."""
    head = "| case | arm | TFLOP/s | of the measured product | of the datasheet's dense peak |"
    lines = [head, "|---|---|---|---|---|"]
    for row in rows:
        known = [row.get("share_of_product"), row["share_of_peak"]]
        shares = " | ".join("not known here" if share is None else f"{100 * share:.0f}%" for share in known)
        lines.append(f"| {row['case']} | {row['arm']} | {row['teraflops']:.2f} | {shares} |")
    return [*timed(rows), *lines, ""]


def reached(rows: list[Row]) -> list[str]:
    """Return a table of ceilings."""
    lines = [f"| {row['case']} | {row['rate']:.4g} {row['of']} |" for row in rows]
    return ["| ceiling | measured |", "|---|---|", *lines, ""]


def repeated(rows: list[Row]) -> list[str]:
    """Return a table of values that differ between two ways of computing them."""
    lines = ["| model | arm | computed | values that differ | by at most |", "|---|---|---|---|---|"]
    for row in rows:
        differ = f"{row['different']} of {row['of']} | {row['largest']:.1e}" if row["different"] else "none | "
        lines.append(f"| {row['case']} | {row['arm']} | {row['how']} | {differ} |")
    return [*lines, ""]


def alone(rows: list[Row]) -> list[str]:
    """Return a table of operators timed separately."""
    lines = ["| tokens | operator | microseconds | as a graph |", "|---|---|---|---|"]
    for row in rows:
        if "note" in row:
            lines.append(f"| {row['case']} | {row['arm']} | {row['note']} | |")
            continue
        graph = "not captured" if row["graph"] is None else f"{1e6 * row['graph']:.0f}"
        lines.append(f"| {row['case']} | {row['arm']} | {1e6 * row['eager']:.0f} | {graph} |")
    return [*lines, ""]


def valued(rows: list[Row]) -> list[str]:
    """Return a table of names and values."""
    lines = [f"| {row['case']} | {row['value']} |" for row in rows]
    return ["| what | value |", "|---|---|", *lines, ""]


Table = Callable[[list[Row]], list[str]]
TABLES: dict[str, Table] = {  # the others are timed arms
    "sd2 classification": rated,
    "dit classification": rated,
    "sd2 attention": bounded,
    "resolution": resolved,
    "decisions": equal,
    "profile": profiled,
    "ceilings": reached,
    "repeats": repeated,
    "operators": alone,
}
