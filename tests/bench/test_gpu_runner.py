"""The GPU run's stages: each in a process of its own, and whatever one of them does, the next one runs."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from bench import tables
from bench.gpu import __main__ as command_line
from bench.gpu import child, headlines, processes, runner, work
from bench.gpu.page import page, short_table
from bench.gpu.runner import run_all
from bench.gpu.stages import STAGES, Stage

# What a stage's process does with the file that it is to write; `say` appends a line to it.
SCRIPTS = {
    "good": "say(row={'case': 'a', 'value': 1}); say(done=True)",
    "crash": "say(row={'case': 'a', 'value': 1}); os.kill(os.getpid(), signal.SIGSEGV)",
    "code": "print('what a pity'); sys.exit(3)",
    "hang": """
        say(row={'case': 'a', 'value': 1})
        sleep = [sys.executable, '-c', 'import time; time.sleep(60)']
        children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
        Path(sys.argv[2]).write_text(' '.join(str(child.pid) for child in children))
        time.sleep(60)
    """,
    "orphan": """
        sleep = [sys.executable, '-c', 'import time; time.sleep(60)']
        child = subprocess.Popen(sleep, start_new_session=True)
        Path(sys.argv[2]).write_text(str(child.pid))
        os._exit(1)
    """,
    "slow": "say(row={'case': 'a', 'value': 1}); time.sleep(3); say(done=True)",
    "interrupts": "say(row={'case': 'a', 'value': 1}); os.kill(os.getppid(), signal.SIGINT); time.sleep(60)",
    "silent": "print('nothing to say')",
    "cut": "say(row={'case': 'a', 'value': 1}); open(sys.argv[1], 'a').write('{\"row\": {\"ca')",
    "brace": "say(row={'case': 'a', 'value': 1}); open(sys.argv[1], 'a').write('{\"row\": {\"case\": {}')",
    "module": "say(error='needs tomesd, which is not installed'); sys.exit(1)",
}
PRELUDE = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
def say(**what):
    with open(sys.argv[1], "a") as lines:
        print(json.dumps(what), file=lines)
"""


def stage(name: str, limit: float = 30, least: float = 0) -> Stage:
    return Stage(name, "Is this a stage?", lambda run: iter(()), limit, least, tables.valued, headlines.first)


@pytest.fixture
def outcomes(tmp_path):
    """Run fake stages by their names, and return their outcomes by name and what the hanging one started."""

    def run(*stages: Stage, seconds: float = 60):
        pids = tmp_path / "pids"

        def command(stage: Stage, file: Path, seconds: float) -> list[str]:
            script = PRELUDE + textwrap.dedent(SCRIPTS[stage.name])
            return [sys.executable, "-c", script, str(file), str(pids)]

        return {out.stage: out for out in run_all(stages, seconds, command, dict(os.environ))}, pids

    return run


@pytest.mark.parametrize(
    ("name", "state", "message", "rows"),
    [
        ("crash", "failed", "ended by SIGSEGV", 1),
        ("code", "failed", "ended with code 3: what a pity", 0),
        ("silent", "failed", "ended without a result: nothing to say", 0),
        ("cut", "failed", "ended without a result", 1),
        ("brace", "failed", "ended without a result", 1),
        ("module", "failed", "needs tomesd, which is not installed", 0),
    ],
)
def test_a_stage_that_fails_says_why_in_a_line_and_the_next_one_runs(outcomes, name, state, message, rows):
    by_stage, _ = outcomes(stage(name), stage("good"))
    assert (by_stage[name].state, by_stage[name].message, len(by_stage[name].rows)) == (state, message, rows)
    assert (by_stage["good"].state, by_stage["good"].rows) == ("done", [{"case": "a", "value": 1}])


def test_a_stage_that_hangs_is_stopped_with_all_that_it_started_and_keeps_its_rows(outcomes):
    began = time.monotonic()
    by_stage, pids = outcomes(stage("hang", limit=2), stage("good"))
    assert time.monotonic() - began < 30
    assert (by_stage["hang"].state, by_stage["hang"].message) == ("stopped", "stopped after 2 s")
    assert (len(by_stage["hang"].rows), by_stage["good"].state) == (1, "done")
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    assert not [pid for pid in started if alive(pid)]


def test_what_a_crashed_stage_leaves_behind_is_ended(outcomes):
    by_stage, pids = outcomes(stage("orphan"))
    assert by_stage["orphan"].message == "ended with code 1"
    assert not alive(int(pids.read_text()))


def test_rows_are_known_while_a_stage_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "EVERY", 0.1)

    def command(stage: Stage, file: Path, seconds: float) -> list[str]:
        return [sys.executable, "-c", PRELUDE + SCRIPTS[stage.name], str(file)]

    by_stage = run_all([stage("slow")], 60, command, dict(os.environ))
    states = [(out.state, out.message, len(out.rows)) for out in by_stage]
    assert states == [("running", "not finished", 1), ("done", "", 1)]


def test_an_interrupted_run_keeps_its_rows_and_starts_no_other_stage(outcomes):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start tests that ignore Ctrl-C
    try:
        by_stage, _ = outcomes(stage("interrupts"), stage("good"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (by_stage["interrupts"].state, len(by_stage["interrupts"].rows)) == ("stopped", 1)
    assert by_stage["interrupts"].message.startswith("interrupted after")
    assert "good" not in by_stage


def test_a_process_that_cannot_be_ended_is_given_up(monkeypatch):
    waited = []

    class Stuck:
        pid = 2**22 + 1  # above the largest of Linux

        def wait(self, seconds):
            waited.append(seconds)
            raise subprocess.TimeoutExpired("a driver that hangs", seconds)

    processes.end(Stuck(), "nobody's mark")
    assert waited == [10]


def test_a_stage_ends_soon_after_the_run_that_started_it(root, tmp_path):
    started = tmp_path / "started"
    stays = f"""
import time
from pathlib import Path
from bench.gpu.processes import end_with_parent
end_with_parent(0.1)
Path({str(started)!r}).touch()
time.sleep(60)
"""
    starts = f"""
import subprocess, sys, time
stage = subprocess.Popen([sys.executable, "-c", {stays!r}], start_new_session=True)
print(stage.pid, flush=True)
time.sleep(60)
"""
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, "-c", starts], env=environment, stdout=subprocess.PIPE, text=True) as run:
        child = int(run.stdout.readline())
        while not started.exists():
            time.sleep(0.05)
        assert alive(child)
        run.kill()
    ended = time.monotonic() + 20
    while alive(child) and time.monotonic() < ended:
        time.sleep(0.05)
    assert not alive(child)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_what_no_longer_fits_is_not_run_and_said_so(outcomes):
    by_stage, _ = outcomes(stage("good"), stage("silent", least=1000), stage("code"))
    assert [by_stage[name].state for name in ("good", "silent", "code")] == ["done", "not run", "failed"]
    assert by_stage["silent"].message == "no time left"


@pytest.fixture
def fakes(monkeypatch):
    """The command line with two fake stages, in rehearsal, that tell what was on disk when they ran."""
    script = PRELUDE + "say(row={'case': 'on disk', 'value': Path(sys.argv[2]).exists()}); say(done=True)"

    def use(output: Path):
        monkeypatch.setattr(command_line, "STAGES", (stage("first"), stage("second")))
        monkeypatch.setattr(command_line, "NAMES", ("first", "second"))
        monkeypatch.setattr(
            *(command_line, "command"),
            lambda rehearse: lambda of, file, seconds: [sys.executable, "-c", script, str(file), f"{output}.json"],
        )

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield use
    for number, handler in handlers.items():
        signal.signal(number, handler)


def values(output: Path) -> dict[str, bool]:
    stages = json.loads(output.with_name(f"{output.name}.json").read_text())["stages"]
    return {name: outcome["rows"][0]["value"] for name, outcome in stages.items()}


def test_results_are_on_disk_after_each_stage_and_only_renews_one(tmp_path, fakes, capsys):
    output = tmp_path / "found"
    fakes(output)
    command_line.main(output, rehearse=True)
    assert values(output) == {"first": False, "second": True}
    assert "rehearsal" in output.with_suffix(".md").read_text()
    command_line.main(output, only=["first"], rehearse=True)
    assert values(output) == {"first": True, "second": True}
    assert values(tmp_path / "found.1") == {"first": False, "second": True}
    assert (tmp_path / "found.1.md").exists()
    assert "stage  outcome" in capsys.readouterr().out


def test_results_of_another_machine_are_not_mixed_with_these(tmp_path, fakes, capsys):
    output = tmp_path / "found"
    fakes(output)
    command_line.main(output, rehearse=True)
    text = output.with_suffix(".json").read_text()
    output.with_suffix(".json").write_text(text.replace('"torch": "', '"torch": "0.'))
    command_line.main(output, only=["first"], rehearse=True)
    assert "was not written by such a run, so begins anew" in capsys.readouterr().err
    assert values(output).keys() == {"first"}
    assert values(tmp_path / "found.1").keys() == {"first", "second"}


def test_a_third_run_overwrites_neither_of_the_first_two(tmp_path, fakes):
    output = tmp_path / "found"
    fakes(output)
    for _ in range(3):
        command_line.main(output, rehearse=True)
    assert [values(tmp_path / name)["first"] for name in ("found.1", "found.2", "found")] == [False, True, True]


def test_a_model_that_fails_costs_the_other_nothing(tmp_path, monkeypatch):
    from bench import sd2

    def fails_on_a_unet(backbone, *rest, **named):
        if backbone.family == "unet":
            raise torch.OutOfMemoryError("too large")
        yield {"case": "dit"}

    monkeypatch.setattr(sd2, "classification", fails_on_a_unet)
    rows = work.engine(work.Run(rehearsal=True, deadline=math.inf, folder=tmp_path))
    assert next(rows) == {"case": "dit"}
    with pytest.raises(torch.OutOfMemoryError, match="too large"):
        next(rows)


def test_a_signal_that_is_ignored_stays_so(tmp_path, fakes):
    output = tmp_path / "found"
    fakes(output)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    command_line.main(output, rehearse=True)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is command_line.interrupt


def test_a_signal_interrupts_as_ctrl_c_does():
    with pytest.raises(KeyboardInterrupt):
        command_line.interrupt(15, None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_only_a_rehearsal_runs(tmp_path):
    with pytest.raises(SystemExit, match="there is no GPU: --rehearse"):
        command_line.main(tmp_path / "found")
    assert not list(tmp_path.iterdir())


def test_an_unknown_stage_is_refused_with_those_that_exist(tmp_path):
    with pytest.raises(SystemExit, match="speed is not a stage: allowed are environment, tests"):
        command_line.main(tmp_path / "found", only=["speed"], rehearse=True)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nmore"), "not enough memory: CUDA out of memory. Tried"),
        (child.Lacking("a card has no bfloat16"), "a card has no bfloat16"),
        (ModuleNotFoundError("No module", name="tomesd"), "needs tomesd, which is not installed"),
        (ValueError("\n first\nsecond"), "ValueError: first"),
        (RuntimeError("no kernel image"), "RuntimeError: no kernel image"),
    ],
)
def test_an_error_is_one_line(error, line):
    assert child.in_a_line(error) == line


@pytest.mark.parametrize(
    ("needs", "bfloat16", "triton", "compiler", "line"),
    [
        (("bfloat16",), False, True, True, "An old card has no bfloat16"),
        (("compiler",), True, False, False, "torch.compile has no Triton"),
        (("compiler",), True, True, False, "torch.compile has no C compiler"),
    ],
)
def test_what_a_card_lacks_is_one_line(monkeypatch, needs, bfloat16, triton, compiler, line):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "An old card")
    monkeypatch.setattr(child, "missing_compiler", lambda device: None if triton else "no Triton")
    monkeypatch.setattr(child.kernels, "missing", lambda device: None if compiler else "no C compiler")
    with pytest.raises(child.Lacking) as raised:
        child.check(needs)
    assert child.in_a_line(raised.value) == line


TIMED = {"benchmark": "SDPA attention", "case": "sd2, bfloat16, batch 8, 128x128", "baseline": "none", "seconds": 0.1}
RATIOS = {"low": 1.2, "ratio": 1.25, "high": 1.3, "rounds": 7}
ROWS = {
    "environment": [{"case": "card", "value": "H100"}, {"case": "bfloat16, 8192 x", "rate": 1, "value": "794 TFLOP/s"}],
    "determinism": [
        {"case": "m", "arm": "none", "how": "again", "different": 0, "of": 4, "largest": 0.0},
        {"case": "m", "arm": "none", "how": "cut", "different": 1, "of": 4, "largest": 0.01},
    ],
    "operators": [
        {"case": "8 x 4096 x 320", "arm": f"{part}, bigain_tm", "eager": 1.0, "graph": 1e-4}
        for part in ("plan", "reduce", "restore")
    ],
    "sd2": [
        TIMED | RATIOS | {"arm": "none", "ratio": 1.0},
        TIMED | RATIOS | {"arm": "bigain_tm", "bound": 1.52, "goal": 1.40},
        TIMED | {"arm": "tomesd", "note": "not compiled in time"},
    ],
    "engine": [
        TIMED | RATIOS | {"arm": "engine", "case": "sd2, x", "teraflops": 3, "share_of_product": 0.4}
        | {"share_of_peak": None}
    ],
}  # fmt: skip


def test_the_page_has_a_section_per_stage_with_bounds_beside_figures():
    stages = {
        name: {"state": "done", "message": "", "seconds": 12.3, "rows": rows, "log": []} for name, rows in ROWS.items()
    }
    stages["paper"] = {"state": "not run", "message": "no time left", "seconds": 0.0, "rows": [], "log": []}
    results = {"about": {"device": "NVIDIA H100", "torch": "2.11.0", "rehearsal": False}, "stages": stages}
    text = page(results)
    assert text.startswith("# NVIDIA H100\n")
    assert (
        "| SDPA attention | sd2, bfloat16, batch 8, 128x128 | bigain_tm | 100.00 | 1.25 | 1.20 to 1.30 | 1.52 | 1.40 | "
        "tomesd was not timed, goal missed |" in text
    )
    assert "| tomesd | not compiled in time | | | | | |" in text
    assert "40% of the measured matrix product" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        f"## {s.name}" for s in STAGES if s.name in stages
    ]
    table = short_table(results)
    for line in (
        "H100, 794 TFLOP/s",
        "1 of 2 comparisons bit-identical, others within 1.0e-02",
        "8 x 4096 x 320: 300 us",
        "128x128: bigain_tm 1.25 (bound 1.52, tomesd was not timed, goal missed); 0 of 1 goals reached",
        "sd2, engine: 1.25 x, 40% of the product",
        "no time left",
    ):
        assert line in table, line


def test_rows_that_do_not_fit_their_table_end_no_run():
    stages = {"engine": {"state": "failed", "message": "odd", "seconds": 1.0, "rows": [{"arm": "engine"}], "log": []}}
    results = {"about": {"device": "NVIDIA H100", "torch": "2.11.0", "rehearsal": False}, "stages": stages}
    assert "no table" in page(results)
    assert "odd; no headline" in short_table(results)
