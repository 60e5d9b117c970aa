"""What a finished model job says: which cell it was, how many are left, and about how long they will take."""

from __future__ import annotations

import time
from pathlib import Path

from bigain.core.files import read_json


def left(plan_file: Path, own: Path) -> str:
    """One line from the plan that the workflow wrote at its start: jobs done and left, and the time left.

    The rate is that of the jobs finished since the plan was written; `own` is the job's own file, which exists.
    """
    plan = read_json(plan_file)
    cost, before = plan["cost"], set(plan["done_before"])
    done = {file for file in cost if Path(file).exists()}
    new, missing = done - before, set(cost) - done
    elapsed = time.time() - plan_file.stat().st_mtime
    line = f"[{len(done)}/{len(cost)} model jobs] {own.parent}"
    if missing and new:
        seconds = elapsed * sum(cost[file] for file in missing) / sum(cost[file] for file in new)
        line += f": {len(missing)} left, about {seconds / 60:.0f} min" if seconds >= 60 else f": {len(missing)} left"
    return line
