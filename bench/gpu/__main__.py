"""All that a GPU has to answer, in one command: `python -m bench.gpu OUTPUT --minutes 8`, from the repository's root.

Every stage runs in a process of its own with a time limit, most important first. OUTPUT.json and OUTPUT.md hold what is
known at any time; a short table is printed last. An earlier run's files are kept as OUTPUT.1.json and so on. Needs
neither a network nor an installed package.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from types import FrameType
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
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: the stage is ended, and what is known is written
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, interrupt)
    keep_earlier(output)
    results = beginning(output, rehearse, bool(only))
    stages = [stage for stage in STAGES if not only or stage.name in only]
    if rehearse:  # on whatever machine: only --minutes counts
        stages = [dataclasses.replace(stage, limit=math.inf, least=0) for stage in stages]
    for outcome in run_all(stages, 60 * minutes, command(rehearse), environment(rehearse)):
        results["stages"][outcome.stage] = outcome.as_dict()
        write(output, results)
        if outcome.state != "running":
            print(f"{outcome.stage}: {outcome.state}, {outcome.seconds:.0f} s", file=sys.stderr, flush=True)
    print(short_table(results))
    states = {results["stages"].get(stage.name, {"state": "interrupted"})["state"] for stage in stages}
    if states & {"failed", "stopped", "interrupted"}:
        raise typer.Exit(1)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a signal as Ctrl-C."""
    raise KeyboardInterrupt


def write(output: Path, results: Results) -> None:
    """Write the results and their page. A page that cannot be written ends no run."""
    write_json(output.with_suffix(".json"), results)
    try:
        write_text(output.with_suffix(".md"), page(results))
    except Exception:
        traceback.print_exc()


def keep_earlier(output: Path) -> None:
    """Copy the files of an earlier run, so that this one overwrites nothing: OUTPUT.1.json, OUTPUT.2.json and so on."""
    if output.with_suffix(".json").exists():
        names = (output.with_name(f"{output.stem}.{number}") for number in itertools.count(1))
        kept = next(name for name in names if not Path(f"{name}.json").exists())
        for suffix in (".json", ".md"):
            if output.with_suffix(suffix).exists():
                shutil.copy2(output.with_suffix(suffix), f"{kept}{suffix}")


def beginning(output: Path, rehearse: bool, keep: bool) -> Results:
    """Return results without stages, or with those of an earlier run on the same device if they are to be kept."""
    about = {"rehearsal": rehearse, "device": machine()["device"], "torch": torch.__version__}
    file = output.with_suffix(".json")
    if keep and file.exists():
        earlier = json.loads(file.read_text())
        if earlier["about"] == about:
            return earlier
        print(
            f"{file} was not written by such a run, so begins anew: {earlier['about']} is not {about}", file=sys.stderr
        )
    return {"about": about, "stages": {}}


def command(rehearse: bool) -> Command:
    """Return what runs a stage."""

    def of(stage: Stage, file: Path, seconds: float) -> list[str]:
        arguments = [stage.name, str(file), str(seconds), *(["--rehearse"] if rehearse else [])]
        return [sys.executable, "-m", "bench.gpu.child", *arguments]

    return of


def environment(rehearse: bool) -> dict[str, str]:
    """Return the stages' environment: they import this checkout, ask no hub, rehearse without a GPU, and keep what they
    compile for the next run on this machine."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    alone = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} if rehearse else {}  # one thread: cores may be busy
    compiled = {"TORCHINDUCTOR_CACHE_DIR": f"{tempfile.gettempdir()}/bench-gpu-inductor-{os.getuid()}"}
    return compiled | os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"} | alone


if __name__ == "__main__":
    typer.run(main)
