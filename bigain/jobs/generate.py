"""The generation job: one cell times one range of images, their features and the first few images out."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from bigain.compression.attachment import Attachment
from bigain.jobs.common import Spec, backbone_of, compile_denoiser
from bigain.jobs.features import feature_network, features_of
from bigain.jobs.shards import TENSORS, calibration_of, digest, run_shards
from bigain.sampling.generate import Sampling, as_stored, decode_block, sample_block


def generate(spec: Spec, conditions_file: Path, output: Path, info: Path) -> None:
    """Features of the generated images [n, D], and the first `keep_images` of the images, uint8 [k, C, H, W]."""
    backbone = backbone_of(spec)
    notes = compile_denoiser(spec, backbone)
    settings = spec["protocol"]
    network = feature_network(settings["feature_network"], spec["backbone"]["device"])
    _ = backbone.vae  # loaded now: loading sets torch's default type, for all threads
    first, last = spec["images"]
    with safe_open(conditions_file, "pt") as stored:  # of captions only this job's own
        null = stored.get_tensor("null")
        caption_of_image = stored.get_tensor("caption_of_image")[first:last].tolist()
        rows = stored.get_slice("captions")
        captions = {k: rows[k] for k in set(caption_of_image)}
    sampling = Sampling(settings["steps"], settings["guidance"], spec["seed"])
    common = digest(null, *calibration_of(spec))

    def conditions(places: list[int]) -> Tensor:
        return torch.stack([captions[caption_of_image[place - first]] for place in places])

    def compute(places: list[int], at: Attachment) -> Tensor:
        return sample_block(backbone, places, conditions(places), null, sampling, at)

    def finish(places: list[int], latents: Tensor) -> dict[str, Tensor]:
        images = as_stored(decode_block(backbone, places, latents), settings["encoding"])
        kept = images[[place < settings["keep_images"] for place in places]]
        return {"features": features_of(network, images), "images": (kept * 255).round().to(torch.uint8)}

    def inputs(places: list[int]) -> str:
        return digest(conditions(places), common)

    run_shards(
        spec, backbone, TENSORS, compute, inputs, output, info, notes, finish, overlapped=overlaps(backbone.device)
    )


def overlaps(device: torch.device) -> bool:
    """Whether a block is decoded, encoded and written beside the sampling of the next.

    On a GPU, which would wait for the host meanwhile. On the CPU both want the same cores, and it is not faster.
    """
    return device.type != "cpu"
