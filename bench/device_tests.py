"""Run tests in a process of their own and read which failed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from bench.rounds import Row

ROOT = Path(__file__).parents[1]


class TestsFailed(RuntimeError):
    """Tests failed, or did not run."""


def device_tests(paths: tuple[str, ...]) -> Iterator[Row]:
    """Yield how many tests of each file passed, failed and were skipped, then a row per failure.

    Raises TestsFailed, after the rows, if one failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        options = ["-p", "no:cacheprovider", "--tb=short", f"--junitxml={report}"]
        done = subprocess.run([sys.executable, "-m", "pytest", *paths, *options], cwd=ROOT, check=False)
        if not report.exists():
            raise TestsFailed(f"pytest ended with {done.returncode} and wrote no report")
        cases = list(ElementTree.parse(report).iter("testcase"))
    failures = [(case, bad) for case in cases for bad in (case.find("failure"), case.find("error")) if bad is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    counts = {"passed": len(cases) - len(failures) - skipped, "failed": len(failures), "skipped": skipped}
    value = ", ".join(f"{count} {name}" for name, count in counts.items())
    yield {"case": ", ".join(paths), "value": value, **counts}
    for case, bad in failures:
        message = next(iter((bad.get("message") or "").splitlines()), "no message")
        yield {"case": f"failed: {case.get('name')}", "value": message.replace("|", "/")}
    if failures:
        raise TestsFailed(f"{len(failures)} of {len(cases)} tests failed")
    if done.returncode:
        raise TestsFailed(f"pytest ended with {done.returncode}")
