"""Progress of a study, which each model job reports when it ends: jobs done and left, and the estimated time left."""

from __future__ import annotations

import time
from pathlib import Path

from bigain.core.files import read_json


def progress_line(plan_file: Path, output: Path) -> str:
    """Return one line on the progress, from the plan that the workflow wrote at its start.

    The rate is that of the jobs finished since the plan was written, among them the one that wrote `output`.
    """
    plan = read_json(plan_file)
    cost, before = plan["cost"], set(plan["done_before"])
    done = {file for file in cost if Path(file).exists()}
    new, left = done - before, set(cost) - done
    elapsed = time.time() - plan_file.stat().st_mtime
    line = f"[{len(done)}/{len(cost)} model jobs] {output.parent}"
    if left and new:
        seconds = elapsed * sum(cost[file] for file in left) / sum(cost[file] for file in new)
        line += f": {len(left)} left, about {seconds / 60:.0f} min" if seconds >= 60 else f": {len(left)} left"
    return line
