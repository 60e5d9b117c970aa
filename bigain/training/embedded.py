"""Train the embedded models, from data to pipeline folder: the bodies of `bigain train ...`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, DiTPipeline, StableDiffusion3Pipeline, StableDiffusionPipeline
from safetensors.torch import save_file

from bigain.core.files import read_json, whole_file, write_json
from bigain.datasets import corpus
from bigain.datasets.fashion_mnist import CLASSES, pad, read_split
from bigain.training import autoencoder as autoencoder_training
from bigain.training import dit as dit_training
from bigain.training import features as features_training
from bigain.training import mmdit as mmdit_training
from bigain.training import unet as unet_training
from bigain.training.loop import Recipe


def _recipe(recipe: Recipe, steps: int | None) -> Recipe:
    return recipe if steps is None else replace(recipe, steps=steps)


def _save(pipeline: DiffusionPipeline, output: Path) -> None:
    """Save in diffusers' folder format, without the local path that the autoencoder was loaded from."""
    pipeline.save_pretrained(output)
    config = output / "vae" / "config.json"
    settings = read_json(config)
    settings.pop("_name_or_path", None)
    write_json(config, settings)


def autoencoder(data: Path, work: Path, output: Path, seed: int, threads: int) -> None:
    """Train the autoencoder on items and scenes, and save it."""
    torch.set_num_threads(threads)
    images = corpus.read(data, seed).images
    autoencoder_training.train_autoencoder(images, work, seed).save_pretrained(output)


def unet(
    data: Path,
    autoencoder: Path,
    work: Path,
    output: Path,
    seed: int,
    threads: int,
    steps: int | None,
    start: Path | None,
) -> None:
    """Train `mini_unet` on the latents of items and scenes, and save the pipeline."""
    torch.set_num_threads(threads)
    dataset = corpus.read(data, seed)
    vae = AutoencoderKL.from_pretrained(autoencoder, use_safetensors=True).eval()
    latents = autoencoder_training.encode_all(vae, dataset.images)
    recipe = _recipe(unet_training.RECIPE, steps)
    initial = None if start is None else StableDiffusionPipeline.from_pretrained(start, use_safetensors=True)
    pipeline = unet_training.train_unet(vae, corpus.words(), latents, dataset.draw, work, seed, recipe, start=initial)
    _save(pipeline, output)


def dit(
    data: Path,
    autoencoder: Path,
    work: Path,
    output: Path,
    seed: int,
    threads: int,
    steps: int | None,
    start: Path | None,
) -> None:
    """Train `mini_dit` on the latents of single items, and save the pipeline."""
    torch.set_num_threads(threads)
    images, labels = read_split(data, "train")
    vae = AutoencoderKL.from_pretrained(autoencoder, use_safetensors=True).eval()
    latents = autoencoder_training.encode_all(vae, pad(images))
    recipe = _recipe(dit_training.RECIPE, steps)
    initial = None if start is None else DiTPipeline.from_pretrained(start, use_safetensors=True)
    pipeline = dit_training.train_dit(
        vae, latents, torch.from_numpy(labels), CLASSES, work, seed, recipe, start=initial
    )
    _save(pipeline, output)


def mmdit(
    data: Path,
    unet: Path,
    dit: Path | None,
    work: Path,
    output: Path,
    seed: int,
    threads: int,
    steps: int | None,
    start: Path | None,
) -> None:
    """Train `mini_mmdit` on the latents of items and scenes, and save the pipeline."""
    torch.set_num_threads(threads)
    dataset = corpus.read(data, seed)
    encoders = StableDiffusionPipeline.from_pretrained(unet, use_safetensors=True)
    recipe = _recipe(mmdit_training.RECIPE, steps)
    image_stream = None if dit is None else DiTPipeline.from_pretrained(dit, use_safetensors=True)
    initial = None if start is None else StableDiffusion3Pipeline.from_pretrained(start, use_safetensors=True)
    pipeline = mmdit_training.train_mmdit(
        encoders, image_stream, corpus.words(), dataset.images, dataset.draw, work, seed, recipe, start=initial
    )
    _save(pipeline, output)


def features(data: Path, work: Path, output: Path, seed: int, threads: int) -> None:
    """Train the feature network, print its accuracy on the whole test split, and save its weights."""
    torch.set_num_threads(threads)
    dataset = corpus.read(data, seed)
    network = features_training.train_features(dataset.images, dataset.present(), work, seed)
    with whole_file(output) as temporary:
        save_file(network.state_dict(), temporary)
    images, labels = read_split(data, "test")
    with torch.inference_mode():
        predicted = network.logits(features_training.to_network_range(pad(images))).argmax(dim=1).numpy()
    print(f"accuracy on the {len(labels)} test images: {100 * np.mean(predicted == labels):.2f}%")
