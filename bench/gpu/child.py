"""One stage, in a process of its own: `python -m bench.gpu.child STAGE FILE SECONDS [--rehearse]`.

Appends a line of JSON to FILE for each row as it is known, and a last one: done, or an error in one line.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import IO, Any

import torch

from bench.gpu.processes import end_with_parent
from bench.gpu.stages import STAGES, Need
from bench.gpu.work import Run
from bench.messages import in_a_line
from bigain.backbones.devices import missing_compiler
from bigain.tokens import kernels

RESERVED = 8.0  # seconds before it is stopped in which a stage tells what it has


class Lacking(RuntimeError):
    """The machine lacks something that the stage needs."""


def check(needs: tuple[Need, ...]) -> None:
    """Raise Lacking if the GPU or what belongs to it lacks something."""
    if "bfloat16" in needs and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise Lacking(f"{torch.cuda.get_device_name()} has no bfloat16")
    device = torch.device("cuda")
    if "compiler" in needs:
        missing = missing_compiler(device) or kernels.missing(device)
        if missing:
            raise Lacking(f"torch.compile has {missing}")


def main(name: str, file: Path, seconds: float, rehearse: bool) -> int:
    """Run a stage and write its rows."""
    deadline = time.monotonic() + seconds - min(RESERVED, seconds / 4)
    stage = next(stage for stage in STAGES if stage.name == name)
    with open(file, "a", buffering=1) as lines, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            if not rehearse:
                check(stage.needs)
            for row in stage.rows(Run(rehearse, deadline, Path(folder))):
                _say(lines, row=row)
        except Exception as error:
            traceback.print_exc()
            _say(lines, error=in_a_line(error))
            return 1
        _say(lines, done=True)
    return 0


def _say(lines: IO[str], **entry: Any) -> None:
    print(json.dumps(entry, default=str), file=lines)


if __name__ == "__main__":
    end_with_parent()
    name, file, seconds, *rest = sys.argv[1:]
    sys.exit(main(name, Path(file), float(seconds), rest == ["--rehearse"]))
