"""Compute the images of a cell in shards: each computed once, stored whole, and read by whatever job runs next.

A job goes through its images in groups that run through the model together. Every group is a file as soon as it is
done, and the files of a shard's groups are joined when the shard is complete, so a killed job resumes at its next
group. Files lie in a folder named after the hash of the cell's settings, and their names hold a digest of the inputs
and one of their own content. So an old file is never used with other settings or latents, and a damaged file or one of
another cell is refused.
"""

from __future__ import annotations

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from bigain.backbones.base import Backbone
from bigain.compression.attach import compressed
from bigain.compression.attachment import Attachment
from bigain.core.files import content_named_file, content_named_files, name_fits_content, whole_file
from bigain.core.provenance import InputFile, description, write_provenance
from bigain.core.records import SPEC_KEY, canonical, work_folder
from bigain.core.specs import CellJobSpec
from bigain.jobs.background import OrderedWorker, completed
from bigain.jobs.common import environment_of, sites_of, token_kernels
from bigain.jobs.storage import Records, ShardFormat
from bigain.methods.ids import method_of, strength_of
from bigain.methods.options import Options

RUNS_KEY = "bigain.runs"  # metadata of a shard: a list of `Run`

Computed = TypeVar("Computed")


class Run(TypedDict):
    """Duration and environment of a computation."""

    seconds: float
    environment: dict[str, Any]


class Shard(NamedTuple, Generic[Records]):
    """Records of some images, and the runs that computed them."""

    records: Records
    runs: list[Run]


class CellJob(ABC, Generic[Computed, Records]):
    """One cell on one range of images, computed group by group in two steps, of which the second may be overlapped.

    `positions` are those of a group's images in the data set.
    """

    format: ShardFormat[Records]
    overlapped = False  # finish a group beside computing the next

    def __init__(
        self, spec: CellJobSpec, backbone: Backbone, inputs: dict[str, InputFile], notes: dict[str, Any]
    ) -> None:
        self.spec, self.backbone, self.inputs = spec, backbone, inputs
        self.notes = notes  # on how the job ran, beside its environment
        self.facts: dict[str, Any] = {}  # for its provenance

    def opened(self, attachment: Attachment) -> AbstractContextManager[object]:
        """Return a context for the whole run, inside which all groups are computed with the method attached."""
        return nullcontext()

    @abstractmethod
    def inputs_digest(self, positions: list[int]) -> str:
        """Return a digest of everything that the group is computed from besides the spec."""

    @abstractmethod
    def compute(self, positions: list[int], attachment: Attachment) -> Computed:
        """Run the model on a group."""

    @abstractmethod
    def finish(self, positions: list[int], computed: Computed) -> Records:
        """Turn what `compute` returned into records."""


class ShardStore(Generic[Computed, Records]):
    """Reads the shards of a job that exist, and computes the others."""

    def __init__(
        self, job: CellJob[Computed, Records], attachment: Attachment, worker: OrderedWorker, began: float
    ) -> None:
        self.job, self.attachment, self.worker = job, attachment, worker
        self.environment = environment_of(job.backbone.device)
        self.images_computed = 0
        self._last_finished = began  # so the first group's time includes loading the model

    def shard(self, positions: list[int]) -> Future[Shard[Records]]:
        """Read the shard of these images, or join it from its groups."""
        groups = cut(positions, self.job.spec["block"])
        if len(groups) == 1 or self._files(positions):
            return self._read_or_compute(positions)
        shards = [self._read_or_compute(group) for group in groups]
        return self.worker.submit(self._join, positions, groups, shards)

    def _read_or_compute(self, positions: list[int]) -> Future[Shard[Records]]:
        for path in self._files(positions):
            try:
                return completed(self._read(path))
            except (FileNotFoundError, ValueError):
                if path.exists():
                    raise  # else another process has just joined it with others
        return self.worker.submit(self._finish, positions, self.job.compute(positions, self.attachment))

    def _read(self, path: Path) -> Shard[Records]:
        """Read a shard. Raises ValueError naming it if it is damaged or of another cell."""
        if not name_fits_content(path):
            raise ValueError(f"{path} is damaged: its content does not match the digest in its name. Delete it")
        records, metadata = self.job.format.read(path)
        spec = json.loads(metadata[SPEC_KEY.decode()])
        if work_folder(spec) != work_folder(self.job.spec):
            raise ValueError(f"{path} holds {description(spec)}, with other settings than its folder. Delete it")
        return Shard(records, json.loads(metadata[RUNS_KEY]))

    def _finish(self, positions: list[int], computed: Computed) -> Shard[Records]:
        try:
            records = self.job.finish(positions, computed)
        except Exception as error:
            error.add_note(f"while finishing images {positions[0]} to {positions[-1]}")
            raise
        now = time.monotonic()
        environment = self.environment | token_kernels(self.job.backbone.device) | self.job.notes
        runs = [Run(seconds=now - self._last_finished, environment=environment)]
        self._last_finished = now
        self._write(positions, records, runs)
        self.images_computed += len(positions)
        return Shard(records, runs)

    def _join(
        self, positions: list[int], groups: list[list[int]], futures: list[Future[Shard[Records]]]
    ) -> Shard[Records]:
        shards = [future.result() for future in futures]  # all done: the worker keeps the order
        records = self.job.format.concatenate([shard.records for shard in shards])
        runs = summed(run for shard in shards for run in shard.runs)
        self._write(positions, records, runs)
        for file in (file for group in groups for file in self._files(group)):
            file.unlink(missing_ok=True)  # another process may have been faster
        return Shard(records, runs)

    def _write(self, positions: list[int], records: Records, runs: list[Run]) -> None:
        metadata = {SPEC_KEY.decode(): canonical(self.job.spec), RUNS_KEY: json.dumps(runs)}
        with content_named_file(self._path(positions)) as temporary:
            self.job.format.write(temporary, records, metadata)

    def _files(self, positions: list[int]) -> list[Path]:
        """Return the files of a shard: one, or several equal ones if several processes computed it."""
        return content_named_files(self._path(positions))

    def _path(self, positions: list[int]) -> Path:
        digest = self.job.inputs_digest(positions)
        name = f"images-{positions[0]:06d}-{positions[-1] + 1:06d}-{digest}.{self.job.format.suffix}"
        return work_folder(self.job.spec) / name


def run_job(job: CellJob[Computed, Records], output: Path) -> None:
    """Compute the missing shards of a job with its method attached, join all into `output`, and write its provenance.

    The provenance says how long the images took, in which environments, and what was compressed. Raises ValueError
    naming a shard that is damaged or of another cell.
    """
    began = time.monotonic()
    spec = job.spec
    ranges = cut(list(range(*spec["images"])), spec["shard"])
    with _attached(spec, job.backbone) as attachment:
        with job.opened(attachment), OrderedWorker(job.overlapped) as worker:
            store = ShardStore(job, attachment, worker, began)
            futures = [store.shard(positions) for positions in tqdm(ranges, desc="shards")]
        shards = [future.result() for future in futures]
        compressed_parts = attachment.report()
    records = job.format.concatenate([shard.records for shard in shards])
    with whole_file(output) as temporary:
        job.format.write(temporary, records, {SPEC_KEY.decode(): canonical(spec)})
    runs = summed(run for shard in shards for run in shard.runs)
    write_provenance(
        output,
        spec,
        job.inputs,
        environments=[run["environment"] for run in runs],
        seconds=sum(run["seconds"] for run in runs),
        images_computed=store.images_computed,
        compressed=compressed_parts,
        **job.facts,
    )


def cut(positions: list[int], size: int) -> list[list[int]]:
    """Cut positions into parts of `size`; the last may be shorter."""
    return [positions[start : start + size] for start in range(0, len(positions), size)]


def group_after(positions: list[int], spec: CellJobSpec) -> list[int]:
    """Return the group after another in the job's order; an empty list after the last."""
    groups = [
        group for shard in cut(list(range(*spec["images"])), spec["shard"]) for group in cut(shard, spec["block"])
    ]
    return next((group for group in groups if group[0] > positions[-1]), [])


def summed(runs: Iterable[Run]) -> list[Run]:
    """Add up the seconds of runs in the same environment."""
    seconds: dict[str, float] = {}
    for run in runs:
        key = canonical(run["environment"])
        seconds[key] = seconds.get(key, 0.0) + run["seconds"]
    return [{"seconds": total, "environment": json.loads(key)} for key, total in seconds.items()]


def _attached(spec: CellJobSpec, backbone: Backbone) -> AbstractContextManager[Attachment]:
    """Apply the cell's method to the denoiser for the length of a with block."""
    if method_of(spec["method"]).acts_on == "model":
        return compressed(backbone.denoiser, spec["method"], calibration=spec["calibration"]["file"])
    options: Options = {
        **strength_of(spec["method"], spec["strength"]),
        **sites_of(spec["backbone"]),
        "task": spec["task"],
        "seed": spec["seed"],
    }
    return compressed(backbone.denoiser, spec["method"], **options)


def calibration_bytes(spec: CellJobSpec) -> list[bytes]:
    """Return the content of the calibration file, in a list that is empty if the method needs none."""
    return [Path(spec["calibration"]["file"]).read_bytes()] if "calibration" in spec else []


def content_digest(*parts: Tensor | bytes | str) -> str:
    """Return a short digest of the content of inputs, for the names of shards."""
    sha256 = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            sha256.update(f"{part.dtype}{tuple(part.shape)}".encode())
            sha256.update(part.contiguous().view(-1).view(torch.uint8).numpy().data)
        else:
            sha256.update(part.encode() if isinstance(part, str) else part)
    return sha256.hexdigest()[:12]
