"""Scenes of four Fashion-MNIST items: the multi-label data of the embedded study, as COCO is in the paper.

A scene is a 2x2 grid of items at half size on the 32x32 canvas and shows one to four distinct classes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bigain.datasets.fashion_mnist import CLASSES

# How often a scene shows 1, 2, 3 and 4 distinct classes. Few show one, so that the prompt of a single class stays
# mostly the prompt of a single item.
DISTINCT_CLASSES = (0.1, 0.4, 0.3, 0.2)


def draw(items_of_class: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """Draw the item indices of a scene in reading order: [4]. `items_of_class[c]` holds the indices of class c."""
    count = generator.choice(len(DISTINCT_CLASSES), p=DISTINCT_CLASSES) + 1
    distinct = generator.permutation(len(items_of_class))[:count]
    extra = generator.choice(distinct, size=4 - count)
    places = generator.permutation(np.concatenate([distinct, extra]))
    return np.array([generator.choice(items_of_class[c]) for c in places])


def compose(items: np.ndarray) -> np.ndarray:
    """Compose four items at half size on one canvas: [..., 4, 28, 28] uint8 -> [..., 32, 32] uint8."""
    *batch, four, height, width = items.shape
    assert (four, height, width) == (4, 28, 28), items.shape
    halves = items.reshape(*batch, 4, 14, 2, 14, 2).astype(np.float32).mean(axis=(-3, -1))
    quarters = np.pad(np.rint(halves).astype(np.uint8), [(0, 0)] * (len(batch) + 1) + [(1, 1), (1, 1)])
    rows = quarters.reshape(*batch, 2, 2, 16, 16)
    return np.moveaxis(rows, -3, -2).reshape(*batch, 32, 32)


def caption(classes: Iterable[int]) -> str:
    """Return the caption of a scene from its class indices in reading order, e.g. "a photo of a sneaker and a bag"."""
    distinct = dict.fromkeys(classes)
    return "a photo of " + " and ".join(f"a {CLASSES[c]}" for c in distinct)
