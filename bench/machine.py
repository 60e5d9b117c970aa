"""The machine of a benchmark: its name beside figures, and its description on the page of a GPU."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import torch

from bench.rounds import Row
from bigain.jobs.common import environment_of
from bigain.tokens import kernels

LIBRARIES = ("triton", "diffusers", "transformers", "numpy", "tomesd", "snakemake")


def machine() -> dict[str, str | int]:
    """Return the device, threads and torch version that figures belong to."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known = environment_of(device)
    return {
        "device": known["device"] if device.type == "cuda" else f"{processor()}, {platform.machine()}",
        "threads": known["threads"],
        "torch": torch.__version__,
    }


def processor() -> str:
    """Return the name of the CPU."""
    listed = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in listed.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def described() -> Iterator[Row]:
    """Yield the properties of the machine that matter for GPU figures, one per row."""
    yield {"case": "card", "value": str(machine()["device"])}
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        free, _ = torch.cuda.mem_get_info()  # less than the total if others use the card
        yield {"case": "memory", "value": f"{card.total_memory / 2**30:.0f} GiB, {free / 2**30:.0f} free at the start"}
        yield {"case": "compute capability", "value": f"{card.major}.{card.minor}"}
        yield {"case": "bfloat16", "value": "yes" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"}
        yield {"case": "driver", "value": driver()}
        yield {"case": "token operators", "value": kernels.described(torch.device("cuda"))}
    yield {"case": "CPU", "value": f"{processor()}, {os.cpu_count()} cores"}
    yield {"case": "Python", "value": platform.python_version()}
    yield {"case": "torch", "value": torch.__version__}
    for name in LIBRARIES:
        yield {"case": name, "value": version(name)}
    yield {
        "case": "C compiler",
        "value": os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang") or "none",
    }


def driver() -> str:
    """Return the version of NVIDIA's driver."""
    if shutil.which("nvidia-smi") is None:
        return "not known: no nvidia-smi"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
    return answer[0] if answer else "not known: nvidia-smi does not answer"


def version(name: str) -> str:
    """Return the version of an installed library; "not known" for a folder on the path without metadata."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing" if importlib.util.find_spec(name) is None else "not known"
