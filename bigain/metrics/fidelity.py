"""KID, precision and recall of generated images, computed by torch-fidelity from the Fréchet distance's features.

torch-fidelity takes torch tensors; torch is imported in the functions that call it, so that importing this module is
cheap.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from bigain.metrics.accuracy import CONFIDENCE, Estimate

SUBSETS, SUBSET = 100, 1000  # the defaults of torch-fidelity


def kernel_distance(real: np.ndarray, generated: np.ndarray) -> Estimate:
    """KID x 1000: squared maximum mean discrepancy under a cubic kernel, averaged over 100 subsets of 1,000 images.

    real and generated are features [N, D]. The interval is the spread over subsets, scaled from 1,000 images to all
    generated ones. Both may be negative: the estimate is unbiased, so it scatters around zero for equal distributions.
    Raises ValueError if either set has fewer than 1,000 images.
    """
    if min(len(real), len(generated)) < SUBSET:
        raise ValueError(f"KID needs at least {SUBSET} images: {len(real)} real, {len(generated)} generated")
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    kid = kid_features_to_metric(
        torch.from_numpy(generated), torch.from_numpy(real), kid_subsets=SUBSETS, kid_subset_size=SUBSET, verbose=False
    )
    value = 1000 * kid["kernel_inception_distance_mean"]
    spread = 1960 * kid["kernel_inception_distance_std"] * math.sqrt(SUBSET / len(generated))
    return Estimate(value, value - spread, value + spread, len(generated))


def precision_recall(real: np.ndarray, generated: np.ndarray) -> dict[str, Estimate]:
    """Precision, the share of generated images among real ones, and recall, of real among generated, in percent.

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
