"""The benchmark suite: `python -m bench OUTPUT`, from the repository's root. Writes OUTPUT.json and OUTPUT.md.

Every figure is the ratio of two arms timed in turns in one process, on the GPU if there is one. Both files name the
device.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import torch
import typer

from bench.attention import attention
from bench.ceilings import ceilings
from bench.classification import classification, equal_decisions
from bench.demo import demo
from bench.generation import generation
from bench.machine import machine
from bench.operators import operators
from bench.planning import planning
from bench.profile import profiles
from bench.repeats import repeats
from bench.resolution import resolution
from bench.rounds import Row
from bench.sd2 import dit_classification, sd2_attention, sd2_classification
from bench.startup import startup
from bench.tables import TABLES, timed
from bigain.core.files import write_json, write_text

PARTS: dict[str, Callable[[], Iterable[Row]]] = {
    "classification": classification,
    "decisions": equal_decisions,
    "planning": planning,
    "attention": attention,
    "resolution": resolution,
    "generation": generation,
    "startup": startup,
    "profile": profiles,
    "demo": demo,
}
GPU_PARTS: dict[str, Callable[[], Iterable[Row]]] = {
    "ceilings": ceilings,
    "repeats": repeats,
    "operators": operators,
    "sd2 classification": sd2_classification,
    "dit classification": dit_classification,
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
    """Run the benchmarks and write the results."""
    available = PARTS | (GPU_PARTS if torch.cuda.is_available() else {})
    for name in part or ():
        if name not in available:
            needs = "needs a GPU, and there is none" if name in GPU_PARTS else "is not a part of the suite"
            raise typer.BadParameter(f"{name} {needs}: allowed are {', '.join(available)}")
    torch.set_num_threads(threads)
    json_file = output.with_suffix(".json")
    results = json.loads(json_file.read_text()) if json_file.exists() else {"parts": {}}
    for name in part or available:
        results["parts"][name] = {"machine": machine(), "rows": list(available[name]())}
        write_json(json_file, results)  # finished parts are kept even if the next one fails
        write_text(output.with_suffix(".md"), page(results))


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
        lines += TABLES.get(name, timed)(part["rows"])
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
