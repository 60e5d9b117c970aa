"""The adaptive diffusion classifier (Algorithm 1): the predicted class is the one whose condition predicts eps best.

Images are classified in groups. A stage evaluates new timesteps for the surviving classes of all images of the group,
so that their noise predictions fill whole batches. Nothing outside the group changes its results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.chunked_feed_forward import chunked_feed_forward
from bigain.classifier.descent import Descent
from bigain.classifier.elimination import Elimination
from bigain.classifier.engine import Engine, ImageGroup, Row, batches_by_mode, batches_by_timestep, sent
from bigain.classifier.noise import GroupNoise, keyed_noise
from bigain.classifier.shared_prefix import shared_between_classes
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Attachment


@dataclass(frozen=True)
class ClassificationSettings:
    """Settings of the classifier."""

    stages: Stages
    seed: int
    batch_size: int  # rows of every forward pass
    loss: Literal["l2", "l1", "huber"] = "l2"
    random_timesteps: bool = False  # drawn per image, as Algorithm 1 is printed, instead of the grid
    noise_source: Literal["keyed", "released"] = "keyed"  # `keyed_noise` or `ReleasedNoise`
    noise_per: Literal["timestep", "image"] = "timestep"  # image: one eps for all timesteps, visited from high to low
    elimination: Elimination | None = None  # drops classes in place of `stages`, of which it uses only M
    descent: Descent | None = None  # drops groups of classes before the first stage compares the remaining classes

    def timesteps(self, image_id: int) -> list[list[int]]:
        """Return the new timesteps of each stage."""
        if self.elimination is not None:
            return self.elimination.timesteps(self.stages.trials)
        if self.random_timesteps:
            return self.stages.random_timesteps(self.seed, image_id)
        return self.stages.timesteps()


@dataclass(frozen=True)
class Trial:
    """Error of one class on one noised image."""

    image: int
    class_index: int
    t: int
    stage: int
    error: float


@dataclass(frozen=True)
class Classifier:
    """Classifies groups of images among `classes` candidates, as `open` prepares it."""

    engine: Engine
    settings: ClassificationSettings
    classes: int

    @classmethod
    @contextmanager
    def open(
        cls, backbone: Backbone, conditions: Tensor, settings: ClassificationSettings, attachment: Attachment
    ) -> Iterator[Classifier]:
        """Prepare a model with a method attached for the candidates' `conditions` [K, ...], while the context is open.

        Groups of images then change no module, so that a compiled model is compiled only once, for the first group.

        Raises ValueError for a descent of a label tree that does not fit the candidates or the first stage.
        """
        if settings.descent is not None:
            settings.descent.check(len(conditions), len(settings.timesteps(0)[0]))
        conditions = backbone.to_device(conditions)
        with (
            shared_between_classes(backbone.denoiser, conditions, attachment) as prefix,
            chunked_feed_forward(backbone.denoiser, settings.batch_size, attachment),
        ):
            engine = Engine(backbone, attachment, prefix, conditions, settings.loss, settings.batch_size)
            yield cls(engine, settings, len(conditions))

    @property
    def draws_ahead(self) -> bool:
        """Return whether noise is drawn while the device computes: on a CPU both would need the same cores."""
        return self.engine.backbone.device.type != "cpu"

    def group(self, image_ids: list[int], latents: Tensor, released_noise: list[Tensor] | None = None) -> ImageGroup:
        """Return the images whose latents are x_0 [n, C, H, W]; `released_noise` holds the rows of `ReleasedNoise` for
        each of them, if that is the noise source."""
        timesteps = zip(*(self.settings.timesteps(image_id) for image_id in image_ids), strict=True)
        noise = GroupNoise(_noise(latents, image_ids, self.settings, released_noise))
        return ImageGroup(image_ids, sent(latents, self.engine.backbone.device), list(map(list, timesteps)), noise)

    @torch.inference_mode()
    def classify(self, images: ImageGroup, coming: ImageGroup | None = None) -> list[Trial]:
        """Classify a group of images (Algorithm 1) and return all trials, by stage, image, t and class.

        After each stage the classes with the lowest mean error so far survive, ties to the lowest class. Trials of a
        descent, which may leave classes without any, count as the first stage. While a GPU computes a stage, the noise
        of the next is drawn; during the last stage, that of the `coming` group's first stage.

        Raises ValueError if an error is not finite, and BatchTooLarge if a batch does not fit into memory.
        """
        survivors = [list(range(self.classes)) for _ in images.ids]
        errors: list[dict[int, list[float]]] = [{c: [] for c in classes} for classes in survivors]
        trials: list[Trial] = []
        for stage, new_timesteps in enumerate(images.timesteps):
            error_of: dict[Row, float] = {}
            if stage == 0 and self.settings.descent is not None:
                survivors, error_of = self._descend(self.settings.descent, images)
            rows = [
                Row(i, c, t)
                for i, classes in enumerate(survivors)
                if len(classes) > 1 or stage == 0
                for t in new_timesteps[i]
                for c in classes
                if Row(i, c, t) not in error_of
            ]
            if not rows and not error_of:
                break
            if rows:
                wave = self.engine.submit(images, self._batches(rows))
                if self.draws_ahead:
                    _draw_after(stage, images, coming, [i for i, classes in enumerate(survivors) if len(classes) > 1])
                error_of |= wave.read()
            for row in _in_order(error_of, new_timesteps):
                trials.append(Trial(images.ids[row.image], row.class_index, row.t, stage, error_of[row]))
                errors[row.image][row.class_index].append(error_of[row])
            survivors = [_survivors(self.settings, stage, *state) for state in zip(survivors, errors, strict=True)]
        return trials

    def _descend(self, descent: Descent, images: ImageGroup) -> tuple[list[list[int]], dict[Row, float]]:
        """Return the classes of each image that the descent of the label tree leaves, and all errors it computed."""
        candidates = [list(range(self.classes)) for _ in images.ids]
        error_of: dict[Row, float] = {}
        for level in range(len(descent.levels)):
            rows = [
                Row(i, c, t)
                for i, classes in enumerate(candidates)
                for t in images.timesteps[0][i]
                for c in descent.representatives_of(level, classes)
                if Row(i, c, t) not in error_of
            ]
            if rows:
                error_of |= self.engine.submit(images, self._batches(rows)).read()
            errors: list[dict[int, list[float]]] = [{} for _ in images.ids]
            for row in _in_order(error_of, images.timesteps[0]):
                errors[row.image].setdefault(row.class_index, []).append(error_of[row])
            candidates = [descent.survivors(level, *state) for state in zip(candidates, errors, strict=True)]
        return candidates, error_of

    @torch.inference_mode()
    def maps(self, images: ImageGroup, classes: list[int]) -> tuple[list[int], Tensor]:
        """Return the timesteps of a group of one image, rising, and the errors of classes at each timestep and place of
        the latent, averaged over its channels: [classes, M, H, W], on the CPU.

        Timesteps and noise are those of `classify`. Raises BatchTooLarge if a batch does not fit into memory.
        """
        timesteps = sorted(t for stage in images.timesteps for new in stage for t in new)
        rows = [Row(0, c, t) for c in classes for t in timesteps]
        batches = self._batches(rows)
        place = {row: k for k, row in enumerate(row for batch in batches for row in batch)}
        maps = self.engine.maps(images, batches)[[place[row] for row in rows]]
        return timesteps, maps.view(len(classes), len(timesteps), *maps.shape[1:])

    def _batches(self, rows: list[Row]) -> list[list[Row]]:
        """Cut the rows of a stage into batches that the method can compress as a whole."""
        if self.settings.noise_per == "image":
            return batches_by_timestep(rows, self.engine.batch_size)
        return batches_by_mode(rows, self.engine.batch_size, self.engine.attachment.mode)


def classify_images(
    backbone: Backbone,
    latents: Tensor,
    image_ids: list[int],
    conditions: Tensor,
    settings: ClassificationSettings,
    attachment: Attachment,
    released_noise: list[Tensor] | None = None,
) -> list[Trial]:
    """Classify a single group of images: `Classifier.open`, `group` and `classify`."""
    with Classifier.open(backbone, conditions, settings, attachment) as classifier:
        return classifier.classify(classifier.group(image_ids, latents, released_noise))


def _in_order(rows: Iterable[Row], timesteps: list[list[int]]) -> list[Row]:
    """Sort the rows of a stage by image, then t in the stage's order, then class."""
    place = [{t: k for k, t in enumerate(new)} for new in timesteps]
    return sorted(rows, key=lambda row: (row.image, place[row.image][row.t], row.class_index))


def _draw_after(stage: int, images: ImageGroup, coming: ImageGroup | None, undecided: list[int]) -> None:
    """Draw the noise that is needed after a stage: for the next stage of the undecided images or, after the last stage,
    for the first stage of the coming group."""
    if stage + 1 < len(images.timesteps):
        images.draw_ahead(stage + 1, undecided)
    elif coming is not None:
        coming.draw_ahead(0, range(len(coming.ids)))


def _survivors(
    settings: ClassificationSettings, stage: int, classes: list[int], errors: dict[int, list[float]]
) -> list[int]:
    """Return the classes of one image that survive a stage, in ascending order."""
    if settings.elimination is not None:
        seen = np.array([errors[c] for c in classes])
        survives = settings.elimination.survivors(seen, settings.stages.trials)
        return [c for c, stays in zip(classes, survives, strict=True) if stays]
    means = {c: math.fsum(errors[c]) / len(errors[c]) for c in classes}
    return sorted(best_classes(means, classes, settings.stages.keep[stage]))


def best_classes(means: Mapping[int, float] | Sequence[float], candidates: list[int], keep: int) -> list[int]:
    """Return the `keep` candidates with the lowest mean error, best first; ties go to the lowest class."""
    return sorted(candidates, key=lambda c: (means[c], c))[:keep]


def _noise(
    latents: Tensor, image_ids: list[int], settings: ClassificationSettings, released: list[Tensor] | None
) -> Callable[[int, int], Tensor]:
    """Return the function (i, t) -> eps [C, H, W] of the i-th image at t."""
    per_image = settings.noise_per == "image"
    if released is None:
        shape = tuple(latents.shape[1:])
        return lambda i, t: keyed_noise(settings.seed, image_ids[i], "all" if per_image else t, shape)
    if per_image:
        return lambda i, t: released[i][0]
    visited = [[t for stage in settings.timesteps(image_id) for t in stage] for image_id in image_ids]
    return lambda i, t: released[i][visited[i].index(t)]
