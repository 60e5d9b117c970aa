"""Where a study spent its time, read from Snakemake's records."""

import json

import pytest

from bench.job_times import page, read_jobs


def record(rule, log, start, end):
    return json.dumps({"rule": rule, "log": [log], "starttime": start, "endtime": end})


def test_a_job_of_two_outputs_counts_once_and_the_longest_comes_first(tmp_path):
    folder = tmp_path / ".snakemake" / "metadata"
    (folder / "deep").mkdir(parents=True)
    for name, end in (("a", 39.9), ("deep/b", 40.0)):
        (folder / name).write_text(record("classify", "none.log", 10.0, end))
    (folder / "c").write_text(record("classify", "tome.log", 40.0, 50.0))
    (folder / "d").write_text(record("page", "page.log", 50.0, 52.0))
    jobs = read_jobs(tmp_path)
    assert [(job.log, job.seconds) for job in jobs] == [("none.log", 30), ("tome.log", 10), ("page.log", 2)]
    text = page(jobs, longest=1)
    assert "3 jobs, 42 seconds of jobs in 42 seconds" in text
    assert "| classify | 2 | 40 |" in text
    assert "| classify: none.log | 30 |" in text
    assert "tome.log" not in text


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="Snakemake has not run"):
        read_jobs(tmp_path)
