"""KID, precision and recall of generated images, from the same features as the Fréchet distance, by torch-fidelity.

Its functions take torch tensors, so torch is imported when they are called; planning and reporting never do.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from bigain.metrics.accuracy import CONFIDENCE, Estimate

SUBSETS, SUBSET = 100, 1000  # torch-fidelity's own


def kernel_distance(real: np.ndarray, generated: np.ndarray) -> Estimate:
    """KID x 1000: the squared maximum mean discrepancy under a cubic kernel, mean over 100 subsets of 1,000 images.

    The interval is the spread of the subsets, scaled from their 1,000 images to all generated ones. Raises ValueError
    if either set has fewer than 1,000.
    """
    if min(len(real), len(generated)) < SUBSET:
        raise ValueError(f"KID needs at least {SUBSET} images: {len(real)} real, {len(generated)} generated")
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    found = kid_features_to_metric(
        torch.from_numpy(generated), torch.from_numpy(real), kid_subsets=SUBSETS, kid_subset_size=SUBSET, verbose=False
    )
    value = 1000 * found["kernel_inception_distance_mean"]
    spread = 1960 * found["kernel_inception_distance_std"] * math.sqrt(SUBSET / len(generated))
    return Estimate(value, value - spread, value + spread, len(generated))


def precision_recall(real: np.ndarray, generated: np.ndarray) -> dict[str, Estimate]:
    """The share of generated images among real ones (precision), and of real among generated (recall), in percent.

    Among: nearer to some image of the other set than its third neighbour there. Wilson intervals, the other set taken
    as given.
    """
    import torch
    from torch_fidelity.metric_prc import prc_features_to_metric

    found = prc_features_to_metric(
        torch.from_numpy(generated), torch.from_numpy(real), prc_neighborhood=3, save_cpu_ram=True, verbose=False
    )
    return {
        "precision": _share(found["precision"], len(generated)),
        "recall": _share(found["recall"], len(real)),
    }


def _share(value: float, count: int) -> Estimate:
    interval = stats.binomtest(round(value * count), count).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(100 * value, 100 * interval.low, 100 * interval.high, count)
