"""Settings that every profile needs, because none inherits from another, and those that only one may have."""

from __future__ import annotations

import re

import pytest
import yaml

PROFILES = ("default", "gpus", "slurm")


@pytest.fixture(scope="module")
def profiles(root) -> dict[str, dict]:
    return {name: yaml.safe_load((root / f"profiles/{name}/config.yaml").read_text()) for name in PROFILES}


@pytest.fixture(scope="module")
def rules(root) -> dict[str, str]:
    """Every rule's text, by name."""
    text = "\n".join(path.read_text() for path in sorted((root / "workflow/rules").glob("*.smk")))
    return dict(re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", text, re.M | re.S))


def test_every_profile_finishes_what_was_interrupted(profiles):
    for name, profile in profiles.items():
        settings = [profile[key] for key in ("rerun-incomplete", "keep-going", "show-failed-logs", "scheduler")]
        assert settings == [True, True, True, "greedy"], name


def test_gpus_are_counted_where_jobs_run_on_this_machine(profiles):
    assert profiles["default"]["resources"] == ["gpu=1"]
    assert profiles["gpus"]["resources"][0].startswith("gpu=")


def test_retries_are_the_clusters_alone(profiles, rules):
    """In a rule they would run inside the first allocation."""
    assert profiles["slurm"]["retries"] >= 1
    assert not any("retries" in text for text in rules.values())


def test_what_asks_for_a_gpu_asks_for_its_memory_and_time_and_more_of_it_on_retry(profiles, rules):
    requested = profiles["slurm"]["set-resources"]
    models = {name for name, text in rules.items() if "gpu=study.gpus" in text}
    assert models == set(requested)
    for resources in (profiles["slurm"]["default-resources"], *requested.values()):
        assert all("* attempt" in resources[key] for key in ("mem_mb", "runtime"))
        assert "gpu" not in resources  # the rules say it


def test_nothing_is_grouped_and_every_rule_keeps_a_log(profiles, rules):
    assert not {"groups", "group-components", "slurm-array-jobs"} & set(profiles["slurm"])
    with_jobs = {name for name, text in rules.items() if "shell:" in text}
    assert all("log:" in rules[name] for name in with_jobs)


def test_no_profile_sets_keys_of_the_config(profiles):
    """`--config key=value` on the command line would replace all of them."""
    assert not [name for name, profile in profiles.items() if "config" in profile]
