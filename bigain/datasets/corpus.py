"""The training data of the embedded models: Fashion-MNIST's training split, as single items and as scenes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bigain.core.rng import numpy_generator
from bigain.datasets import fashion_mnist, scenes

SCENES = 30_000
SCENE_FRACTION = 0.35  # of training samples


@dataclass(frozen=True)
class Corpus:
    """Canvases [N, 32, 32] uint8: first every single item with its label, then the scenes with their captions."""

    images: np.ndarray
    labels: np.ndarray  # [items]
    captions: list[str]  # [scenes]
    scene_classes: np.ndarray  # [scenes, 4]

    def present(self) -> np.ndarray:
        """Return which classes each canvas shows: bool [N, 10]."""
        shown = np.zeros((len(self.images), len(fashion_mnist.CLASSES)), dtype=bool)
        shown[np.arange(len(self.labels)), self.labels] = True
        np.put_along_axis(shown[len(self.labels) :], self.scene_classes, True, axis=1)
        return shown

    def draw(self, generator: np.random.Generator) -> tuple[int, str]:
        """Draw a training sample for a text-conditioned model: index of the canvas, and caption."""
        if generator.random() < SCENE_FRACTION:
            scene = int(generator.integers(len(self.captions)))
            return len(self.labels) + scene, self.captions[scene]
        item = int(generator.integers(len(self.labels)))
        return item, fashion_mnist.prompt(fashion_mnist.CLASSES[self.labels[item]])


def read(folder: Path | str, seed: int) -> Corpus:
    """Read the corpus from the folder with the official Fashion-MNIST files, and compose its scenes."""
    images, labels = fashion_mnist.read_split(folder, "train")
    items_of_class = [np.flatnonzero(labels == c) for c in range(len(fashion_mnist.CLASSES))]
    chosen = [scenes.draw(items_of_class, numpy_generator(seed, "training scene", i)) for i in range(SCENES)]
    canvases = np.concatenate([fashion_mnist.pad(images), scenes.compose(images[np.stack(chosen)])])
    classes = labels[np.stack(chosen)]
    return Corpus(canvases, labels, [scenes.caption(scene) for scene in classes], classes)


def words() -> list[str]:
    """Return every word and sign that a caption can contain, for the tokenizer."""
    text = " ".join(map(fashion_mnist.prompt, fashion_mnist.CLASSES)) + " and"
    return sorted(set(re.findall(r"[a-z]+|-", text)))
