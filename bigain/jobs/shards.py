"""Shards: the images of a job in ranges, each computed once, written whole, and found again by whatever runs next.

A job goes block by block (images that go through the model together); every block is a file as soon as it is done, and
the blocks of a finished shard are joined into one. Files lie under the hash of the cell's own settings and carry a
digest of the inputs they were computed from, so neither a changed setting nor changed latents meet an old shard, and a
killed job goes on at its next block. A block's second half, up to its file, may run beside the next one's first.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from bigain.backbones.base import Backbone
from bigain.compression.attach import compressed
from bigain.compression.attachment import Attachment
from bigain.core.files import whole_file, write_json
from bigain.core.records import SPEC_KEY, canonical, environment, read_table, work_folder
from bigain.jobs.common import Spec, sites_of
from bigain.methods.ids import method_of, strength_of
from bigain.tokens.kernels import backend

RUNS_KEY = "bigain.runs"  # what computing a shard took: a list of {seconds, environment}, beside its content

Part = pa.Table | dict[str, Tensor]
Run = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """How parts are stored: as parquet tables or as safetensors."""

    suffix: str
    write: Callable[[Path, Part, dict[str, str]], None]
    read: Callable[[Path], tuple[Part, dict[str, str]]]
    join: Callable[[list[Part]], Part]


def _write_table(path: Path, table: pa.Table, about: dict[str, str]) -> None:
    with whole_file(path) as temporary:
        pq.write_table(table.combine_chunks().replace_schema_metadata(about), temporary, compression="zstd")


def _read_table(path: Path) -> tuple[pa.Table, dict[str, str]]:
    table = read_table(path)
    about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    return table.replace_schema_metadata(None), about


def _write_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    with whole_file(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, about)


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is missing or not a whole safetensors file: {error}") from error


def _join_tensors(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


TABLES = Form("parquet", _write_table, _read_table, pa.concat_tables)
TENSORS = Form("safetensors", _write_tensors, _read_tensors, _join_tensors)


class SecondHalves:
    """Runs what it is given, in order: at once, or `overlapped`, in a thread beside what the caller does next.

    What is given waits for what was given before, so that one thing runs and none is waiting; an error comes up in the
    caller then, or at the end of the with block.
    """

    def __init__(self, overlapped: bool) -> None:
        self._thread = ThreadPoolExecutor(1) if overlapped else None
        self._last: Future | None = None

    def __enter__(self) -> SecondHalves:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._thread is not None:
            self._thread.shutdown()
        if self._last is not None:
            self._last.result()

    def run(self, task: Callable[..., Any], *given: Any) -> Future:
        """Run `task(*given)` once what was given before is done. Raises what that raised."""
        if self._thread is None:
            return done(task(*given))
        if self._last is not None:
            self._last.result()
        self._last = self._thread.submit(task, *given)
        return self._last


def done(value: Any) -> Future:
    """A future that has its result."""
    future: Future = Future()
    future.set_result(value)
    return future


@dataclass
class Shards:
    """The shards of a cell that this process reads and computes.

    `compute` is a block's first half; `finish` makes the part of what it answers, among the `second_halves`.
    """

    spec: Spec
    form: Form
    environment: dict[str, Any]
    notes: dict[str, Any]
    compute: Callable[[list[int]], Any]
    finish: Callable[[list[int], Any], Part]
    second_halves: SecondHalves
    inputs: Callable[[list[int]], str]
    began: float
    computed: int = 0

    def shard(self, places: list[int]) -> Future[tuple[Part, list[Run]]]:
        """The part of these images and what it took: read if it is there, else joined from its blocks."""
        size = self.spec["block"]
        blocks = [places[k : k + size] for k in range(0, len(places), size)]
        whole = self._file(places)
        if len(blocks) == 1 or whole.exists():
            return self._found_or_computed(places)
        found = [self._found_or_computed(block) for block in blocks]
        return self.second_halves.run(self._joined, whole, blocks, found)

    def _joined(
        self, whole: Path, blocks: list[list[int]], found: list[Future[tuple[Part, list[Run]]]]
    ) -> tuple[Part, list[Run]]:
        parts, runs = zip(*(one.result() for one in found), strict=True)  # all there: second halves run in order
        part, summed = self.form.join(list(parts)), _summed(run for own in runs for run in own)
        self.form.write(whole, part, self._about(summed))
        for block in blocks:
            self._file(block).unlink(missing_ok=True)  # another process may be as far
        return part, summed

    def _found_or_computed(self, places: list[int]) -> Future[tuple[Part, list[Run]]]:
        path = self._file(places)
        try:
            part, about = self.form.read(path)
        except ValueError:
            if path.exists():
                raise
        else:
            return done((part, json.loads(about[RUNS_KEY])))
        return self.second_halves.run(self._finished, path, places, self.compute(places))

    def _finished(self, path: Path, places: list[int], made: Any) -> tuple[Part, list[Run]]:
        try:
            part = self.finish(places, made)
        except Exception as error:
            error.add_note(f"while finishing images {places[0]} to {places[-1]}")
            raise
        now = time.monotonic()
        runs = [{"seconds": now - self.began, "environment": self.environment | self.notes}]
        self.began = now  # what came before the first block, loading, is the first block's
        self.form.write(path, part, self._about(runs))
        self.computed += len(places)
        return part, runs

    def _file(self, places: list[int]) -> Path:
        name = f"images-{places[0]:06d}-{places[-1] + 1:06d}-{self.inputs(places)}.{self.form.suffix}"
        return work_folder(self.spec) / name

    def _about(self, runs: list[Run]) -> dict[str, str]:
        return {SPEC_KEY.decode(): canonical(self.spec), RUNS_KEY: json.dumps(runs)}


def run_shards(
    spec: Spec,
    backbone: Backbone,
    form: Form,
    compute: Callable[[list[int], Attachment], Any],
    inputs: Callable[[list[int]], str],
    output: Path,
    info: Path,
    notes: dict[str, Any],
    finish: Callable[[list[int], Any], Part] = lambda _, made: made,
    overlapped: bool = False,
) -> None:
    """Compute the shards of `spec["images"]` that are not there yet, with the cell's method attached; join them in
    `output`, and write what they took and where they were computed to `info`.

    `inputs` is a digest of what some images are computed from, with the method's calibration. `notes` says how they are
    computed, beside the environment; `compute` may add to it. `finish` makes the part of what `compute` answers for a
    block, if that is none yet: `overlapped`, in a thread beside the next block's `compute`. Raises ValueError naming a
    shard that is no whole file.
    """
    began = time.monotonic()
    first, last = spec["images"]
    starts = range(first, last, spec["shard"])
    with _attached(spec, backbone) as at:
        environment = environment_of(backbone.device)
        ranges = [list(range(start, min(start + spec["shard"], last))) for start in starts]
        with SecondHalves(overlapped) as halves:
            shards = Shards(
                spec, form, environment, notes, lambda places: compute(places, at), finish, halves, inputs, began
            )
            coming = [shards.shard(places) for places in tqdm(ranges, desc="shards")]
        found = [one.result() for one in coming]
        sites = at.report()
    runs = _summed(run for _, own in found for run in own)
    form.write(output, form.join([part for part, _ in found]), {SPEC_KEY.decode(): canonical(spec)})
    provenance = {
        "spec": spec,
        "environments": [run["environment"] for run in runs],
        "seconds": sum(run["seconds"] for run in runs),
        "images_computed": shards.computed,
        "compressed": sites,
    }
    write_json(info, provenance)


def calibration_of(spec: Spec) -> list[bytes]:
    """The content of the calibration that a cell's method needs, if it needs one."""
    return [Path(spec["calibration"]["file"]).read_bytes()] if "calibration" in spec else []


def digest(*parts: Tensor | bytes | str) -> str:
    """A short digest of what something is computed from, for its file's name."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            found.update(f"{part.dtype}{tuple(part.shape)}".encode())
            part = part.contiguous().view(-1).view(torch.uint8).numpy()
        found.update(part.encode() if isinstance(part, str) else part)
    return found.hexdigest()[:12]


def _summed(runs: Iterable[Run]) -> list[Run]:
    """The runs with the seconds of one environment added up."""
    seconds: dict[str, float] = {}
    for run in runs:
        key = canonical(run["environment"])
        seconds[key] = seconds.get(key, 0.0) + run["seconds"]
    return [{"seconds": total, "environment": json.loads(key)} for key, total in seconds.items()]


def _attached(spec: Spec, backbone: Backbone) -> AbstractContextManager[Attachment]:
    """The context in which the cell's method is on the backbone's denoiser."""
    if method_of(spec["method"]).acts_on == "model":
        return compressed(backbone.denoiser, spec["method"], calibration=spec["calibration"]["file"])
    strength = strength_of(spec["method"], spec["strength"])
    return compressed(
        backbone.denoiser, spec["method"], **strength, task=spec["task"], seed=spec["seed"], **sites_of(spec)
    )


def environment_of(device: torch.device) -> dict[str, Any]:
    """What a job runs in: versions, machine, the device's name, the instructions that CPU kernels use, threads."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else str(device)
    matching = {"matching": backend(device)} if on_gpu else {}  # Triton's kernel, or torch where Triton is missing
    own = {"device": name, "cpu": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}
    return {**environment(), **own, **matching}
