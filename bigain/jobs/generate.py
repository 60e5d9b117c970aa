"""The generation job: one cell on one range of captions, recorded as the images' features and a few images."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.compression.attachment import Attachment
from bigain.core.specs import GenerateSpec
from bigain.jobs.common import backbone_of, compile_denoiser
from bigain.jobs.cut_prompts import cut_off_fact
from bigain.jobs.features import feature_network, features_of
from bigain.jobs.inputs import calibration_input, shared_input
from bigain.jobs.shards import CellJob, calibration_bytes, content_digest, run_job
from bigain.jobs.storage import SafetensorsShards
from bigain.sampling.generate import Sampling, as_stored, decode_latents, sample_latents


def generate(spec: GenerateSpec, conditions_file: Path, output: Path) -> None:
    """Generate images for `spec["images"]`: safetensors with `features` [n, D], and `images` uint8 [k, C, H, W] of the
    first `keep_images`."""
    run_job(GenerationJob(spec, backbone_of(spec["backbone"]), conditions_file), output)


class GenerationJob(CellJob[Tensor, dict[str, Tensor]]):
    """Generates an image for each caption of a group: `compute` samples, `finish` decodes and extracts features."""

    format = SafetensorsShards()

    def __init__(self, spec: GenerateSpec, backbone: Backbone, conditions_file: Path) -> None:
        inputs = {"conditions": shared_input(conditions_file, spec), **calibration_input(spec)}
        super().__init__(spec, backbone, inputs, compile_denoiser(spec, backbone))
        self.protocol = spec["protocol"]
        self.network = feature_network(self.protocol["feature_network"], spec["backbone"]["device"])
        self.overlapped = overlaps(backbone.device)
        _ = backbone.vae  # loaded now, because loading sets torch's default type for all threads
        self.first, last = spec["images"]
        with safe_open(conditions_file, "pt") as stored:  # of the captions only this job's
            self.null = stored.get_tensor("null")
            self.caption_of_image = stored.get_tensor("caption_of_image")[self.first : last].tolist()
            rows = stored.get_slice("captions")
            self.captions = {k: rows[k] for k in set(self.caption_of_image)}
        self.facts = cut_off_fact(conditions_file, "captions", self.caption_of_image, self.first)
        self.sampling = Sampling(self.protocol["steps"], self.protocol["guidance"], spec["seed"])
        self.shared_inputs = content_digest(self.null, *calibration_bytes(spec))

    def inputs_digest(self, positions: list[int]) -> str:
        return content_digest(self._conditions(positions), self.shared_inputs)

    def compute(self, positions: list[int], attachment: Attachment) -> Tensor:
        conditions = self._conditions(positions)
        return sample_latents(self.backbone, positions, conditions, self.null, self.sampling, attachment)

    def finish(self, positions: list[int], computed: Tensor) -> dict[str, Tensor]:
        images = as_stored(decode_latents(self.backbone, positions, computed), self.protocol["encoding"])
        kept = images[[position < self.protocol["keep_images"] for position in positions]]
        return {"features": features_of(self.network, images), "images": (kept * 255).round().to(torch.uint8)}

    def _conditions(self, positions: list[int]) -> Tensor:
        return torch.stack([self.captions[self.caption_of_image[position - self.first]] for position in positions])


def overlaps(device: torch.device) -> bool:
    """Return whether a group is finished beside the sampling of the next.

    A GPU would wait for the host meanwhile. On the CPU both compete for the same cores, and it is not faster.
    """
    return device.type != "cpu"
