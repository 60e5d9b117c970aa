"""The official Fashion-MNIST files (60,000 training, 10,000 test images of 28x28, grey, 10 classes; MIT licence)."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

# (file, sha256 of its uncompressed content, because mirrors compress it anew)
OFFICIAL = {
    "train": (
        ("train-images-idx3-ubyte.gz", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        ("train-labels-idx1-ubyte.gz", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte.gz", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        ("t10k-labels-idx1-ubyte.gz", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
}

MOST_BYTES = 1 << 26  # of uncompressed content; the largest official file has 47 MB


def read_split(folder: Path | str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the images [N, 28, 28] uint8 and labels [N] of a split, from the folder that holds the four `.gz` files.

    Raises FileNotFoundError naming the missing file and ValueError naming the file whose checksum is wrong.
    """
    arrays = []
    for name, expected in OFFICIAL[split]:
        path = Path(folder) / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing. Fashion-MNIST's four .gz files belong in {folder}: on Debian "
                "`apt-get install dataset-fashion-mnist` puts them in /usr/share/datasets/fashion-mnist, elsewhere "
                "`bigain fetch-fashion --to FOLDER` downloads them."
            )
        try:
            with gzip.open(path) as packed:
                raw = packed.read(MOST_BYTES)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is truncated or not a gzip file ({error})") from error
        if (actual := hashlib.sha256(raw).hexdigest()) != expected:
            raise ValueError(f"{path}: the sha256 of its content is {actual}, the official one is {expected}")
        header = 16 if "images" in name else 8  # IDX: magic number and one 32-bit size per dimension
        arrays.append(np.frombuffer(raw, dtype=np.uint8, offset=header))
    images, labels = arrays
    return images.reshape(-1, 28, 28), labels.astype(np.int64)


def pad(images: np.ndarray) -> np.ndarray:
    """Pad images with two black pixels on each side to the canvas of the models: [..., 28, 28] -> [..., 32, 32]."""
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + [(2, 2), (2, 2)])


def prompt(class_name: str) -> str:
    """Return the paper's prompt of a class (B.2.1), which always says "a"."""
    return f"a photo of a {class_name}"
