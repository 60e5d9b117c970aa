"""Scored cells of a made-up study, as `read_cells` returns them."""

import zlib

import numpy as np

from bigain.metrics.jackknife import BLOCKS, T

FAMILIES = {"u": "unet", "d": "dit"}


def cell(method, strength, hits, backbone="u", seed=0, first=0, metric="acc@1"):
    """A classified cell whose images have consecutive ids."""
    return {
        "cell": {"backbone": backbone, "dataset": "x", "method": method, "strength": strength, "seed": seed},
        "items": {"image": list(range(first, first + len(hits))), metric: [float(hit) for hit in hits]},
        "metrics": {},
        "left_out": {},
    }


def generated(method, strength, value, half, backbone="u"):
    """A generated cell with a distance and the half width of its interval, uncorrelated with those of other methods."""
    estimate = {"value": value, "low": value - half, "high": value + half, "n": 100}
    wave = np.cos(np.pi * (np.arange(BLOCKS) + 0.5) * (1 + zlib.crc32(method.encode()) % 19) / BLOCKS)
    left_out = value + half / T * np.sqrt(BLOCKS / (BLOCKS - 1)) * wave / np.sqrt((wave**2).sum())
    blocks = {"images": {"n": 100, "seed": 0}, "left_out": {"fd": left_out.tolist()}}
    return cell(method, strength, [], backbone) | {"items": {}, "metrics": {"fd": estimate}, "blocks": blocks}


def hits(right, count=200):
    """Hits of which the first are right."""
    return np.arange(count) < right
