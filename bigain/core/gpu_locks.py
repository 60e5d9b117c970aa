"""One model job a GPU: which GPUs a machine has, and a lock on each. No torch, which fixes its devices when it starts.

Snakemake counts GPUs only where it is told how many there are, and never says which one a job gets. So every job takes
the first GPU whose lock is free, and the kernel frees the lock when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.5


def listed() -> list[str]:
    """The GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, else all that the driver lists."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    shown = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    count = shown.stdout.count("GPU ") if shown.returncode == 0 else 0
    return [str(number) for number in range(count)]


@contextmanager
def one_gpu() -> Iterator[str | None]:
    """Hold one GPU, the only one that CUDA then shows; None where there is none. Waits while all are held.

    A scheduler that gave this job its GPUs (SLURM) is believed, and nothing is locked.
    """
    found = listed()
    if not found or "SLURM_JOB_ID" in os.environ:
        yield None
        return
    folder = Path(tempfile.gettempdir(), f"bigain-gpus-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    name, handle = _first_free(folder, found)
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = name
    try:
        yield name
    finally:
        os.close(handle)
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def _first_free(folder: Path, names: list[str]) -> tuple[str, int]:
    said = False
    while True:
        for name in names:
            handle = os.open(folder / f"{name.replace('/', '_')}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
            else:
                return name, handle
        if not said:
            print(f"waiting for one of {len(names)} GPUs, all of which are held by other jobs", flush=True)
            said = True
        time.sleep(POLL_SECONDS)
