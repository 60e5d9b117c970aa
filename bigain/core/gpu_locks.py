"""One model job per GPU: find a machine's GPUs and lock one of them. No torch, which reads its devices when it starts.

Snakemake counts GPUs only if it is told how many there are, and does not assign them to jobs. So each job takes the
first GPU whose lock is free; the kernel releases the lock when the process ends, however it ends.
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


def visible_gpus() -> list[str]:
    """List the GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, else all that the driver lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    count = listing.stdout.count("GPU ") if listing.returncode == 0 else 0
    return [str(number) for number in range(count)]


@contextmanager
def locked_gpu() -> Iterator[str | None]:
    """Lock a GPU, waiting for one if necessary, and hide all others from CUDA; yield its name, or None without GPUs.

    Nothing is locked under SLURM, which assigns GPUs to jobs itself.
    """
    gpus = visible_gpus()
    if not gpus or "SLURM_JOB_ID" in os.environ:
        yield None
        return
    folder = Path(tempfile.gettempdir(), f"bigain-gpus-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    name, handle = _first_free(folder, gpus)
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
    """Lock the first free GPU; return its name and the handle that holds the lock."""
    announced = False
    while True:
        for name in names:
            handle = os.open(folder / f"{name.replace('/', '_')}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
            else:
                return name, handle
        if not announced:
            print(f"waiting for a GPU: all {len(names)} are in use by other jobs", flush=True)
            announced = True
        time.sleep(POLL_SECONDS)
