"""Time the start of a command to its first forward pass, alone and as a fork of the fork server."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.rounds import ROUNDS, Row, row
from bigain.cli.forkserver import SOCKET, ForkServer
from bigain.core.records import canonical

DATA = {"id": "fashion", "reader": "fashion", "path": "resources/fashion", "data": "-", "allow_missing": 0}


def startup(rounds: int = ROUNDS) -> list[Row]:
    """Time the job that encodes an image with the embedded U-Net's autoencoder: imports, loading and a first pass."""
    times: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        server = ForkServer()
        where = os.environ.pop(SOCKET)
        _command(Path(folder), where)  # when it answers, it has imported everything
        for _ in range(rounds):
            times.append({"alone": _command(Path(folder), ""), "warm": _command(Path(folder), where)})
        server.stop()
    return [row("start-up", "mini_unet, one image encoded", arm, "alone", times) for arm in ("alone", "warm")]


def _command(folder: Path, where: str) -> float:
    backbone = {"id": "mini_unet", "family": "unet", "path": "resources/mini-unet", "weights": "-", "dtype": "float32"}
    spec = {"backbone": backbone | {"device": "cpu", "compile": "off"}, "dataset": DATA, "images": 1, "threads": 1}
    command = [sys.executable, "-m", "bigain", "encode-images", "--spec", canonical(spec)]
    began = time.perf_counter()
    subprocess.run(
        [*command, "--output", str(folder / "latents.safetensors"), str(folder / "latents.safetensors.json")],
        env={**os.environ, SOCKET: where},
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - began
