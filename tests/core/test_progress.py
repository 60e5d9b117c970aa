"""The line of progress in a job's log."""

import os
import time

from bigain.core.files import write_json
from bigain.core.progress import progress_line


def test_progress_counts_what_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_json("plan.json", {"cost": {"a": 10, "b": 10, "c": 80}, "done_before": ["a"]})
    os.utime("plan.json", (time.time() - 60,) * 2)
    for name in "ab":
        (tmp_path / name).touch()
    line = progress_line(tmp_path / "plan.json", tmp_path / "cell" / "b")
    assert line.startswith("[2/3 model jobs]")
    assert line.endswith("1 left, about 8 min")
