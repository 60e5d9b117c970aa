"""The released classification protocol as a plain loop, the baseline of the engine in `bigain.classifier`.

One image at a time. A stage lists its noise predictions class by class, over the new timesteps of each class, and cuts
the list into batches of 16, with a smaller last batch; the errors of a batch are fetched at once. Attention is vanilla:
it stores all N x N scores. Noise, timesteps, stages and decisions are those of `bigain.classifier`, so decisions
can be compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.classifier.classify import ClassificationSettings, Trial, best_classes
from bigain.classifier.engine import LOSSES
from bigain.classifier.noise import keyed_noise
from bigain.measure.vanilla import vanilla_attention

BATCH = 16


@torch.no_grad()
def classify(
    backbone: Backbone, latents: Tensor, images: list[int], conditions: Tensor, settings: ClassificationSettings
) -> list[Trial]:
    """Classify images from their latents x_0 [n, C, H, W]; return all trials in the order in which they ran."""
    trials: list[Trial] = []
    with vanilla_attention(backbone.denoiser):
        for x_0, image in zip(latents, images, strict=True):
            trials += _image(backbone, x_0, image, conditions, settings)
    return trials


def _image(
    backbone: Backbone, x_0: Tensor, image: int, conditions: Tensor, settings: ClassificationSettings
) -> list[Trial]:
    trials: list[Trial] = []
    alive = list(range(len(conditions)))
    for stage, (timesteps, keep) in enumerate(zip(settings.stages.timesteps(), settings.stages.keep, strict=True)):
        rows = [(c, t) for c in alive for t in timesteps]
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            for (c, t), error in zip(part, _errors(backbone, x_0, image, conditions, part, settings), strict=True):
                trials.append(Trial(image, c, t, stage, error))
        errors = {c: [trial.error for trial in trials if trial.class_index == c] for c in alive}
        means = [sum(errors[c]) / len(errors[c]) if c in errors else 0.0 for c in range(len(conditions))]
        alive = sorted(best_classes(means, alive, keep))
    return trials


def _errors(
    backbone: Backbone,
    x_0: Tensor,
    image: int,
    conditions: Tensor,
    rows: list[tuple[int, int]],
    settings: ClassificationSettings,
) -> list[float]:
    classes, timesteps = (torch.tensor(column) for column in zip(*rows, strict=True))
    eps = torch.stack([keyed_noise(settings.seed, image, t, tuple(x_0.shape)) for _, t in rows])
    x_t = backbone.noised(x_0.expand_as(eps), eps, timesteps).to(backbone.device, backbone.dtype)
    condition = backbone.to_device(conditions[classes])
    prediction = backbone.predict_noise(x_t, timesteps.to(backbone.device), condition).float()
    return LOSSES[settings.loss](eps.to(backbone.device) - prediction).mean(dim=(1, 2, 3)).tolist()
