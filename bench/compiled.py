"""Time compiled forward passes: all arms compile at once, each in its own process, and then run in turns.

Compiling SD 2.0's U-Net takes minutes on one core; running it takes milliseconds. So the processes compile in parallel
and wait. They are timed only after all have compiled, one at a time, in the usual rounds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from select import select
from typing import IO, Any

import torch
from torch._dynamo.utils import counters

from bench.architectures import RandomStableDiffusion
from bench.rounds import ROUNDS, Row, compare, wait
from bench.sd2 import GUIDED, TIMED, arm, installed, with_bound

WARMUPS = 3
RESERVED = 20.0  # seconds at the end that timing takes


class Arm:
    """A process that has one arm, compiles it, and then runs it once per line that it reads."""

    def __init__(self, name: str, side: int, model: dict[str, str], compiler: str, threads: int) -> None:
        self.name, self.message, self.graph_breaks = name, "not compiled in time", 0
        request = json.dumps({"name": name, "side": side, "model": model, "compiler": compiler})
        environment = os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": str(threads)}
        command = [sys.executable, "-m", "bench.compiled", request]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1, env=environment)
        self.requests, self.answers = _stream(self.process.stdin), _stream(self.process.stdout)

    def answer(self) -> dict[str, Any]:
        """Return the next line of the process, or a message if it has ended."""
        line = self.answers.readline()
        return json.loads(line) if line else {"message": f"its process ended ({self.process.wait()})"}

    def run(self) -> None:
        """Run the arm once. Raises RuntimeError if its process has ended."""
        self.requests.write("\n")
        said = self.answer()
        if "message" in said:
            raise RuntimeError(f"{self.name}: {said['message']}")

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def compiled_attention(
    side: int,
    model: dict[str, str],
    seconds: float,
    names: tuple[str, ...] = TIMED,
    compiler: str = "inductor",
    rounds: int = ROUNDS,
) -> Iterator[Row]:
    """Yield rows of compiled guided forward passes over no compression; for arms that did not compile, the reason."""
    deadline = time.monotonic() + seconds - min(RESERVED, seconds / 4)
    names = tuple(name for name in names if installed(name))
    threads = max(1, (os.cpu_count() or 1) // len(names))
    case = f"{Path(model['architecture']).stem}, {model['dtype']}, batch {GUIDED}, {side}x{side}"
    with ExitStack() as stack:
        arms = [Arm(name, side, model, compiler, threads) for name in names]
        for each in arms:
            stack.callback(each.stop)
        ready = compiled_in_time(arms, deadline)
        for each in arms:
            if each not in ready:
                each.stop()  # it would compile while the others are timed
                yield {"benchmark": "SDPA attention, compiled", "case": case, "arm": each.name, "note": each.message}
        if ready:
            yield from timed_in_turns(ready, names[0], case, side, rounds)


def timed_in_turns(arms: list[Arm], baseline: str, case: str, side: int, rounds: int) -> Iterator[Row]:
    """Yield a row per compiled arm: its speed-up over the baseline and its graph breaks, or why it has none."""
    kind = "SDPA attention, compiled"
    if arms[0].name != baseline:
        note = f"compiled, but {baseline} was not: nothing to compare with"
        yield from ({"benchmark": kind, "case": case, "arm": each.name, "note": note} for each in arms)
        return
    try:
        rows = compare(kind, case, {each.name: each.run for each in arms}, rounds)
    except RuntimeError as error:  # one of them ended
        yield {"benchmark": kind, "case": case, "arm": "all", "note": str(error)}
        return
    breaks = {each.name: each.graph_breaks for each in arms}
    yield from (with_bound({**row, "graph_breaks": breaks[row["arm"]]}, side) for row in rows)


def compiled_in_time(arms: list[Arm], deadline: float) -> list[Arm]:
    """Wait until every arm has compiled or failed, or time is up; return the compiled arms in order."""
    waiting, ready = list(arms), []
    while waiting and (left := deadline - time.monotonic()) > 0:
        spoken, _, _ = select([each.answers for each in waiting], [], [], left)
        for each in [each for each in waiting if each.answers in spoken]:
            waiting.remove(each)
            said = each.answer()
            if "message" in said:
                each.message = said["message"]
            else:
                each.graph_breaks = said["graph_breaks"]
                ready.append(each)
    return [each for each in arms if each in ready]


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # a pipe
    return stream


def _serve(request: dict[str, Any]) -> None:
    """Compile an arm, report it, and run it for every line of standard input."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # output of libraries is not an answer
    try:
        model = request["model"]
        side, dtype = request["side"], getattr(torch, model["dtype"])
        run = arm(  # of a copy, since the model is not kept; at this size, or methods would learn it while compiling
            RandomStableDiffusion(model["architecture"], model["device"], dtype, side),
            *(side, request["name"], request["compiler"]),
        )
        with torch.inference_mode():
            for _ in range(WARMUPS):
                run()
            wait()
            breaks = sum(counters["graph_break"].values())
            print(json.dumps({"ready": True, "graph_breaks": breaks}), file=answers)
            for _ in sys.stdin:
                run()
                wait()
                print(json.dumps({"ran": True}), file=answers)
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        print(json.dumps({"message": f"{type(error).__name__}: {first}"}), file=answers)


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
