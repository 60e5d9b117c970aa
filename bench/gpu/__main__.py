"""All that a GPU has to answer, in one command: `python -m bench.gpu OUTPUT --minutes 8`, from the repository's root.

Every stage runs in a process of its own with a time limit, most important first. After each, OUTPUT.json and OUTPUT.md
hold what is known; a short table is printed last. Needs neither a network nor an installed package.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

from bench.gpu.page import Results, page, short_table
from bench.gpu.runner import ROOT, Command, run_all
from bench.gpu.stages import STAGES, Stage
from bench.machine import machine
from bigain.core.files import write_json, write_text

NAMES = tuple(stage.name for stage in STAGES)


def main(
    output: Annotated[Path, typer.Argument(help="without suffix")],
    minutes: Annotated[float, typer.Option(help="for all stages together")] = 8.0,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE", help=f"of {', '.join(NAMES)}; the others' results in OUTPUT.json are kept"),
    ] = None,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="every stage at a tiny size, on the CPU")] = False,
) -> None:
    """Run the stages and write what came out."""
    for name in only or ():
        if name not in NAMES:
            raise SystemExit(f"{name} is not a stage: allowed are {', '.join(NAMES)}")
    if not rehearse and not torch.cuda.is_available():
        raise SystemExit("there is no GPU: --rehearse runs every stage at a tiny size on the CPU")
    results = beginning(output, rehearse, bool(only))
    stages = [stage for stage in STAGES if not only or stage.name in only]
    if rehearse:  # on whatever machine: only --minutes counts
        stages = [dataclasses.replace(stage, limit=math.inf, least=0) for stage in stages]
    for outcome in run_all(stages, 60 * minutes, command(rehearse), environment(rehearse)):
        results["stages"][outcome.stage] = outcome.as_dict()
        write_json(output.with_suffix(".json"), results)
        write_text(output.with_suffix(".md"), page(results))
        print(f"{outcome.stage}: {outcome.state}, {outcome.seconds:.0f} s", file=sys.stderr, flush=True)
    print(short_table(results))
    if any(results["stages"][stage.name]["state"] in ("failed", "stopped") for stage in stages):
        raise typer.Exit(1)


def beginning(output: Path, rehearse: bool, keep: bool) -> Results:
    """Return results without stages, or with those of an earlier run on the same device if they are to be kept."""
    about = {"rehearsal": rehearse, "device": machine()["device"], "torch": torch.__version__}
    file = output.with_suffix(".json")
    if keep and file.exists():
        earlier = json.loads(file.read_text())
        if earlier["about"] != about:
            raise SystemExit(f"{file} was not written by such a run: {earlier['about']} is not {about}")
        return earlier
    return {"about": about, "stages": {}}


def command(rehearse: bool) -> Command:
    """Return what runs a stage."""

    def of(stage: Stage, file: Path, seconds: float) -> list[str]:
        arguments = [stage.name, str(file), str(seconds), *(["--rehearse"] if rehearse else [])]
        return [sys.executable, "-m", "bench.gpu.child", *arguments]

    return of


def environment(rehearse: bool) -> dict[str, str]:
    """Return the stages' environment: they import this checkout, ask no hub, and rehearse without a GPU."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    alone = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} if rehearse else {}  # one thread: cores may be busy
    return os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"} | alone


if __name__ == "__main__":
    typer.run(main)
