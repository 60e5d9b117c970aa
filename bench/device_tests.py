"""Run tests in a separate process and list the failures."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from bench.rounds import Row

ROOT = Path(__file__).parents[1]
GRACE = 4.0  # seconds for pytest to write its report


class TestsFailed(RuntimeError):
    """Tests failed, or did not run."""


def device_tests(paths: tuple[str, ...], seconds: float) -> Iterator[Row]:
    """Yield a row per file with the numbers of passed, failed and skipped tests, then a row per failure; if time is up,
    for the tests that ran.

    Raises TestsFailed, after the rows, if one failed or time was up.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        options = ["-p", "no:cacheprovider", "--tb=short", f"--junitxml={report}"]
        code = _pytest([*paths, *options], seconds)
        how = f"stopped after {seconds:.0f} s" if code is None else f"pytest ended with {code}"
        if not report.exists():
            raise TestsFailed(f"{how} and wrote no report")
        cases = list(ElementTree.parse(report).iter("testcase"))
    if code is None and cases and cases[-1].find("failure") is None:
        cases.pop()  # interrupted, which the report does not mention
    failures = [(case, bad) for case in cases for bad in (case.find("failure"), case.find("error")) if bad is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    counts = {"passed": len(cases) - len(failures) - skipped, "failed": len(failures), "skipped": skipped}
    value = ", ".join(f"{count} {name}" for name, count in counts.items())
    yield {"case": ", ".join(paths), "value": value, **counts}
    for case, bad in failures:
        message = next(iter((bad.get("message") or "").splitlines()), "no message")
        yield {"case": f"failed: {case.get('name')}", "value": message.replace("|", "/")}
    if failures:
        raise TestsFailed(f"{len(failures)} of {len(cases)} tests failed" + (f", {how}" if code is None else ""))
    if code != 0:
        raise TestsFailed(how)


# A shell may start this program with Ctrl-C ignored, which its children would inherit.
PYTEST = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def _pytest(arguments: list[str], seconds: float) -> int | None:
    """Run pytest and return its exit code; None if it ran out of time and wrote its report."""
    process = subprocess.Popen([sys.executable, "-c", PYTEST, *arguments], cwd=ROOT)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:  # the test waits for a device that does not answer
        process.kill()
        process.wait()
    return None
