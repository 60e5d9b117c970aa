"""The classification job: one cell on one range of images, recorded as the error of every trial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from safetensors import safe_open

from bigain.backbones.base import Backbone
from bigain.classifier.classify import ClassificationSettings, Classifier, Trial
from bigain.classifier.elimination import Elimination
from bigain.classifier.engine import BatchTooLarge, ImageGroup
from bigain.classifier.noise import ReleasedNoise
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Attachment
from bigain.core.columns import described
from bigain.core.specs import ClassifySpec
from bigain.datasets import load as load_dataset
from bigain.jobs.common import backbone_of, compile_denoiser
from bigain.jobs.cut_prompts import cut_off_fact
from bigain.jobs.inputs import batch_input, calibration_input, shared_input
from bigain.jobs.shards import CellJob, calibration_bytes, content_digest, group_after, run_job
from bigain.jobs.storage import ParquetShards
from bigain.methods.ids import method_of


def classify(spec: ClassifySpec, latents_file: Path, conditions_file: Path, output: Path) -> None:
    """Classify the images in `spec["images"]`: parquet with image, class, t, stage, error."""
    backbone = backbone_of(spec["backbone"])
    run_job(ClassificationJob(spec, backbone, latents_file, conditions_file), output)


class ClassificationJob(CellJob[pa.Table, pa.Table]):
    """Classifies groups of images.

    A group whose batches do not fit into memory is classified in the smaller batch, if the spec allows one, and so are
    all groups after it; its provenance says so.
    """

    format = ParquetShards()
    classifier: Classifier  # once the run is opened

    def __init__(self, spec: ClassifySpec, backbone: Backbone, latents_file: Path, conditions_file: Path) -> None:
        batch, measured = batch_input(spec)
        inputs = {
            "latents": shared_input(latents_file, spec),
            "conditions": shared_input(conditions_file, spec),
            **calibration_input(spec),
            **measured,
        }
        super().__init__(spec, backbone, inputs, compile_denoiser(spec, backbone))
        self.first, last = spec["images"]
        with safe_open(latents_file, "pt") as stored:  # of the latents only this job's
            self.latents = stored.get_slice("latents")[self.first : last]
            self.unreadable = set(stored.get_tensor("unreadable").tolist())
        with safe_open(conditions_file, "pt") as stored:
            self.candidates = stored.get_tensor("candidates")
        self.facts = cut_off_fact(conditions_file, "candidates", range(len(self.candidates)))
        self.image_ids = load_dataset(spec["dataset"]).ids
        self.settings = classification_settings(spec, batch)
        self.smaller_batch = spec["protocol"]["smaller_batch"]
        self.coming: tuple[list[int], ImageGroup | None] = ([], None)  # the group after the current one, on a GPU
        self.released_noise = ReleasedNoise(spec["seed"], self.settings.stages.trials, backbone.latent_shape)
        self.shared_inputs = content_digest(
            self.candidates, *calibration_bytes(spec), *([str(batch)] if measured else [])
        )

    @contextmanager
    def opened(self, attachment: Attachment) -> Iterator[None]:
        with ExitStack() as self.stack:
            self._open_classifier(attachment)
            yield

    def inputs_digest(self, positions: list[int]) -> str:
        return content_digest(self.latents[[position - self.first for position in positions]], self.shared_inputs)

    def compute(self, positions: list[int], attachment: Attachment) -> pa.Table:
        images = self.coming[1] if self.coming[0] == positions else self._group(positions)
        if images is None:
            return trials_table([])
        after = group_after(positions, self.spec) if self.classifier.draws_ahead else []
        coming = self._group(after)
        self.coming = (after, coming)
        try:
            return trials_table(self.classifier.classify(images, coming))
        except BatchTooLarge:
            if self.smaller_batch is None or "batch" in self.notes:
                raise
        self.notes["batch"] = self.smaller_batch  # outside the handler, which keeps the large batch alive
        self._open_classifier(attachment)
        return trials_table(self.classifier.classify(images, coming))

    def finish(self, positions: list[int], computed: pa.Table) -> pa.Table:
        return computed

    def _open_classifier(self, attachment: Attachment) -> None:
        """Open the classifier for batches of the current size, and close the one before."""
        self.stack.close()
        settings = replace(self.settings, batch_size=self.notes.get("batch", self.settings.batch_size))
        self.classifier = self.stack.enter_context(
            Classifier.open(self.backbone, self.candidates, settings, attachment)
        )

    def _group(self, positions: list[int]) -> ImageGroup | None:
        """Return the readable images at some positions; None if there are none."""
        readable = [position for position in positions if position not in self.unreadable]
        if not readable:
            return None
        released = self.settings.noise_source == "released"
        return self.classifier.group(
            [self.image_ids[position] for position in readable],
            self.latents[[position - self.first for position in readable]],
            [self.released_noise.rows(position) for position in readable] if released else None,
        )


def classification_settings(spec: ClassifySpec, batch: int) -> ClassificationSettings:
    """Return the classifier's settings of a spec, with the rows of a forward pass."""
    protocol = spec["protocol"]
    elimination = protocol["elimination"]
    return ClassificationSettings(
        stages=Stages(tuple(protocol["stages"]), tuple(protocol["keep"])),
        seed=spec["seed"],
        batch_size=batch,
        loss=protocol["loss"],
        random_timesteps=protocol["timesteps"] == "random",
        noise_source=protocol["noise"],
        noise_per=method_of(spec["method"]).noise_per,
        elimination=None if elimination is None else Elimination(**elimination),
    )


def trials_table(trials: list[Trial]) -> pa.Table:
    """Return trials as a table, one row each."""
    table = pa.table(
        {
            "image": pa.array([trial.image for trial in trials], pa.int64()),
            "class": pa.array([trial.class_index for trial in trials], pa.int32()),
            "t": pa.array([trial.t for trial in trials], pa.int32()),
            "stage": pa.array([trial.stage for trial in trials], pa.int32()),
            "error": pa.array([trial.error for trial in trials], pa.float32()),
        }
    )
    return described(table, "trials")
