"""The benchmark suite: `python -m bench OUTPUT`, from the repository's root. Writes OUTPUT.json and OUTPUT.md.

Every figure is a ratio of two arms timed in turns in one process, on the GPU if there is one. Both files name the
device.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer

from bench.attention import attention
from bench.ceilings import ceilings
from bench.classification import classification, equal_decisions
from bench.demo import demo
from bench.generation import generation
from bench.operators import operators
from bench.planning import planning
from bench.profile import profiles
from bench.repeats import repeats
from bench.rounds import Row
from bench.sd2 import sd2_attention, sd2_classification
from bench.startup import startup
from bigain.core.files import write_json, write_text
from bigain.jobs.common import environment_of

PARTS: dict[str, Callable[[], list[Row]]] = {
    "classification": classification,
    "decisions": equal_decisions,
    "planning": planning,
    "attention": attention,
    "generation": generation,
    "startup": startup,
    "profile": profiles,
    "demo": demo,
}
GPU_PARTS: dict[str, Callable[[], list[Row]]] = {
    "ceilings": ceilings,
    "repeats": repeats,
    "operators": operators,
    "sd2 classification": sd2_classification,
    "sd2 attention": sd2_attention,
}


def main(
    output: Annotated[Path, typer.Argument(help="without suffix")],
    part: Annotated[
        list[str] | None,
        typer.Option(help=f"of {', '.join([*PARTS, *GPU_PARTS])}; default: all that the machine can run"),
    ] = None,
    threads: Annotated[int, typer.Option(help="of the CPU")] = 1,
) -> None:
    """Run the benchmarks and write what came out."""
    available = PARTS | (GPU_PARTS if torch.cuda.is_available() else {})
    for name in part or ():
        if name not in available:
            needs = "needs a GPU, and there is none" if name in GPU_PARTS else "is not a part of the suite"
            raise typer.BadParameter(f"{name} {needs}: allowed are {', '.join(available)}")
    torch.set_num_threads(threads)
    json_file = output.with_suffix(".json")
    results = json.loads(json_file.read_text()) if json_file.exists() else {"parts": {}}
    for name in part or available:
        results["parts"][name] = {"machine": machine(), "rows": available[name]()}
        write_json(json_file, results)  # finished parts are kept even if the next one fails
        write_text(output.with_suffix(".md"), page(results))


def machine() -> dict[str, str | int]:
    """Return the device, threads and torch version that the figures belong to."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known = environment_of(device)
    return {
        "device": known["device"] if device.type == "cuda" else f"{processor()}, {platform.machine()}",
        "threads": known["threads"],
        "torch": torch.__version__,
    }


def processor() -> str:
    """Return the name of the CPU."""
    listed = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in listed.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def page(results: dict) -> str:
    """Return all rows as Markdown, with a table per part."""
    lines = ["# Benchmarks", "", "Written by `python -m bench`; a ratio is how many times as fast as the baseline, the"]
    lines += [
        "median over rounds with its quartiles. What it means: [docs/performance.md](../../docs/performance.md).",
        "",
    ]
    for name, part in results["parts"].items():
        about = part["machine"]
        where = f"{about['device']}, threads per process: {about['threads']}, torch {about['torch']}"
        lines += [f"## {name}", "", where, ""]
        lines += TABLES.get(name, _timed)(part["rows"])
    return "\n".join(lines)


def _equal(rows: list[Row]) -> list[str]:
    head = ["| model | equal decisions |", "|---|---|"]
    return [*head, *(f"| {row['case']} | {row['equal']} of {row['of']} |" for row in rows), ""]


def _timed(rows: list[Row]) -> list[str]:
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


def _profiled(rows: list[Row]) -> list[str]:
    lines = ["| model | arm | operator | seconds of its own | share | calls |", "|---|---|---|---|---|---|"]
    for row in rows:
        figures = f"{row['seconds']:.2f} | {100 * row['share']:.0f}% | {row['calls']}"
        lines.append(f"| {row['case']} | {row['arm']} | {row['operator']} | {figures} |")
    return [*lines, ""]


def _rated(rows: list[Row]) -> list[str]:
    lines = ["| case | arm | TFLOP/s | of the datasheet's dense peak |", "|---|---|---|---|"]
    for row in rows:
        share = "not known here" if row["share_of_peak"] is None else f"{100 * row['share_of_peak']:.0f}%"
        lines.append(f"| {row['case']} | {row['arm']} | {row['teraflops']:.2f} | {share} |")
    return [*_timed(rows), *lines, ""]


def _reached(rows: list[Row]) -> list[str]:
    lines = [f"| {row['case']} | {row['rate']:.4g} {row['of']} |" for row in rows]
    return ["| ceiling | measured |", "|---|---|", *lines, ""]


def _repeated(rows: list[Row]) -> list[str]:
    lines = ["| model | arm | computed | errors that differ | by at most |", "|---|---|---|---|---|"]
    for row in rows:
        differ = f"{row['different']} of {row['of']} | {row['largest']:.1e}" if row["different"] else "none | "
        lines.append(f"| {row['case']} | {row['arm']} | {row['how']} | {differ} |")
    return [*lines, ""]


def _alone(rows: list[Row]) -> list[str]:
    lines = ["| tokens | operator | microseconds | as a graph |", "|---|---|---|---|"]
    for row in rows:
        graph = "not captured" if row["graph"] is None else f"{1e6 * row['graph']:.0f}"
        lines.append(f"| {row['case']} | {row['arm']} | {1e6 * row['eager']:.0f} | {graph} |")
    return [*lines, ""]


TABLES = {  # the others are timed arms
    "sd2 classification": _rated,
    "decisions": _equal,
    "profile": _profiled,
    "ceilings": _reached,
    "repeats": _repeated,
    "operators": _alone,
}


if __name__ == "__main__":
    typer.run(main)
