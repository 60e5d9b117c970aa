"""KID, precision and recall of generated images, computed by torch-fidelity from the Fréchet distance's features.

torch-fidelity takes torch tensors; torch is imported in the functions that call it, so that importing this module is
cheap.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from bigain.metrics.accuracy import CONFIDENCE, Estimate
from bigain.metrics.jackknife import BLOCKS, Jackknifed, jackknifed

SUBSETS, SUBSET = 100, 1000  # the defaults of torch-fidelity
ROWS = 512  # of a kernel matrix at a time


def kernel_distance(real: np.ndarray, generated: np.ndarray) -> Jackknifed:
    """Return KID x 1000: squared maximum mean discrepancy under a cubic kernel, over 100 subsets of 1,000 images.

    real and generated are features [N, D], the latter in the order of `by_stratum`. The interval is conditional on the
    real images, from the jackknife of the discrepancy of all images, of which the mean over subsets is an estimate.
    Both may be negative: the estimate is unbiased, so it scatters around zero for equal distributions. Raises
    ValueError if either set has fewer than 1,000 images.
    """
    if min(len(real), len(generated)) < SUBSET:
        raise ValueError(f"KID needs at least {SUBSET} images: {len(real)} real, {len(generated)} generated")
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    kid = kid_features_to_metric(
        torch.from_numpy(generated), torch.from_numpy(real), kid_subsets=SUBSETS, kid_subset_size=SUBSET, verbose=False
    )
    value = 1000 * kid["kernel_inception_distance_mean"]
    every, left_out = _discrepancies(real, generated)
    return jackknifed(value, value + 1000 * (left_out - every), len(generated))


def _discrepancies(real: np.ndarray, generated: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the unbiased squared discrepancy of all images, and without each block of generated ones.

    Both lack the kernel's mean over pairs of real images, which they share.
    """
    real, blocks = np.asarray(real, np.float64), [np.asarray(generated[b::BLOCKS], np.float64) for b in range(BLOCKS)]
    sizes, n = np.array([len(block) for block in blocks]), len(generated)
    with_real = np.array([_kernel_sum(block, real) for block in blocks])
    pairs = np.array(
        [
            [_kernel_sum(block, other) if b <= c else 0.0 for c, other in enumerate(blocks)]
            for b, block in enumerate(blocks)
        ]
    )
    itself = np.array([float(_cubic((block**2).sum(axis=1) / block.shape[1]).sum()) for block in blocks])
    pairs = pairs + np.triu(pairs, 1).T - np.diag(itself)  # an image and itself are no pair
    every = pairs.sum() / (n * (n - 1)) - 2 * with_real.sum() / (n * len(real))
    left, left_pairs = n - sizes, pairs.sum() - 2 * pairs.sum(axis=1) + np.diag(pairs)
    left_out = left_pairs / (left * (left - 1)) - 2 * (with_real.sum() - with_real) / (left * len(real))
    return float(every), left_out


def _kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
    """Return the sum of the kernel (a.b / D + 1)^3 over all pairs."""
    chunks = range(0, len(a), ROWS)
    return float(sum(_cubic(a[row : row + ROWS] @ b.T / a.shape[1]).sum() for row in chunks))


def _cubic(products: np.ndarray) -> np.ndarray:
    return (products + 1) ** 3


def precision_recall(real: np.ndarray, generated: np.ndarray) -> dict[str, Estimate]:
    """Return precision, the share of generated images among real ones, and recall, the reverse, in percent.

    An image is among the other set if it is closer to one of its images than that image's third nearest neighbour in
    the set. real and generated are features [N, D]; Wilson intervals, conditional on the other set.
    """
    import torch
    from torch_fidelity.metric_prc import prc_features_to_metric

    shares = prc_features_to_metric(
        torch.from_numpy(generated), torch.from_numpy(real), prc_neighborhood=3, save_cpu_ram=True, verbose=False
    )
    return {
        "precision": _share(shares["precision"], len(generated)),
        "recall": _share(shares["recall"], len(real)),
    }


def _share(value: float, count: int) -> Estimate:
    interval = stats.binomtest(round(value * count), count).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(100 * value, 100 * interval.low, 100 * interval.high, count)
