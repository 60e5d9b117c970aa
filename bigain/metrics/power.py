"""Power of paired comparisons: how small a difference n images can show, and how many images a difference needs.

Both solve Connor's equation for McNemar's test (Biometrics 43, 1987) at a two-sided level of 5% and a power of 80%,
z_.975 sqrt(pi) + z_.8 sqrt(pi - Delta^2) = Delta sqrt(n), where pi is the discordance, the share of images that only
one of two methods gets right, and Delta the difference in accuracy. For differences that are not -1, 0 or 1, such as
means over seeds, pi is their mean square. A difference Delta implies a discordance of at least Delta, so a smaller
discordance (a pilot without a discordant image, say) is raised to Delta.
"""

from __future__ import annotations

import math

from scipy import optimize, stats

LEVEL, POWER = 0.05, 0.8
Z_EQUIVALENCE = [float(z) for z in stats.norm.ppf([1 - LEVEL, (1 + POWER) / 2])]
Z_LEVEL, Z_POWER = (float(z) for z in stats.norm.ppf([1 - LEVEL / 2, POWER]))


def detectable_difference(discordance: float, n: int) -> float:
    """Return the smallest true difference, from 0 to 1, that n images show with 80% power; inf if there is none.

    Raises ValueError for a discordance outside of 0 to 1.
    """
    _check(discordance)

    def excess(difference: float) -> float:
        return difference * math.sqrt(n) - _spreads(discordance, difference)

    if excess(1) < 0:
        return math.inf
    return float(optimize.brentq(excess, 1e-9, 1))


def images_needed(discordance: float, difference: float) -> int:
    """Return the number of images that show a true difference, above 0 up to 1, with 80% power.

    Raises ValueError for a discordance outside of 0 to 1 or another difference.
    """
    _check(discordance)
    if not 0 < difference <= 1:
        raise ValueError(f"difference is {difference}; above 0, up to 1 is allowed")
    return math.ceil((_spreads(discordance, difference) / difference) ** 2)


def images_for_equivalence(discordance: float, margin: float) -> int:
    """Return the number of images that show two equal methods to differ by less than a margin, with 80% power.

    Each of two one-sided tests at a level of 5% has to succeed: n = pi (z_.95 + z_.9)^2 / margin^2. Raises ValueError
    for a discordance outside of 0 to 1 or a margin that is not above 0, up to 1.
    """
    return _images_within(discordance, margin, sum(Z_EQUIVALENCE))


def images_for_noninferiority(discordance: float, margin: float) -> int:
    """Return the number of images that show a method not to lose more than a margin to its equal, with 80% power.

    One one-sided test at a level of 5% has to succeed: n = pi (z_.95 + z_.8)^2 / margin^2. Raises ValueError as
    `images_for_equivalence` does.
    """
    return _images_within(discordance, margin, Z_EQUIVALENCE[0] + Z_POWER)


def _images_within(discordance: float, margin: float, reach: float) -> int:
    _check(discordance)
    if not 0 < margin <= 1:
        raise ValueError(f"margin is {margin}; above 0, up to 1 is allowed")
    return max(1, math.ceil(discordance * (reach / margin) ** 2))


def _spreads(discordance: float, difference: float) -> float:
    """Return the left side of Connor's equation: z_.975 sqrt(pi) + z_.8 sqrt(pi - Delta^2)."""
    discordance = max(discordance, difference)
    return Z_LEVEL * math.sqrt(discordance) + Z_POWER * math.sqrt(discordance - difference**2)


def _check(discordance: float) -> None:
    if not 0 <= discordance <= 1:
        raise ValueError(f"discordance is {discordance}; 0 to 1 is allowed")
