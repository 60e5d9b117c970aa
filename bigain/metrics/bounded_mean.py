"""Test the mean of bounded values, such as paired differences of hits, by the distribution of their sum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import fft, optimize

FINEST = 24  # steps from 0 to the bound of values that lie on a lattice, such as means of hits over seeds
STEPS = 64  # from 0 to the bound for values that do not
FEW = 5  # values other than the most frequent; the signs of fewer are never significant
LOOPED = 8  # fewer values, such as those of hits, are summed faster by Python; numpy adds them in the same order
ACCURACY = 1e-12  # of a tail summed by FFT


@dataclass(frozen=True)
class BoundedMean:
    """n values in [-bound, bound] on a lattice, and the tails of their mean under any true mean.

    Under a true mean delta, the values are taken as draws from the most likely distribution with that mean on the
    observed values and the two bounds: a multinomial maximum-likelihood estimate under one constraint, which is an
    empirical likelihood (Owen, 1988) that also admits the bounds. For differences in {-1, 0, 1} it is Tango's
    (Statistics in Medicine 17, 1998). The distribution of the sum of n draws is then exact, a power of a Fourier
    transform. The bounds keep losses possible that no image showed: after n values of 0, the 95% interval still
    reaches to 1 - .05^(1/n) on both sides.
    """

    counts: np.ndarray  # of each lattice value, from -bound to bound; whole numbers unless values were split
    total: float  # sum of the values, in steps of the lattice
    bound: float

    @classmethod
    def of(cls, values: np.ndarray, bound: float) -> BoundedMean:
        """Put values in [-bound, bound] on the coarsest lattice that holds them.

        Without such a lattice, each is split between its two neighbours on a fine one in the shares that keep the mean.
        Where enough values vary, so that a test of their signs could be significant, the largest of them, with either
        sign, takes the place of the bound.
        """
        values = np.asarray(values, dtype=float)
        if len(values) - np.unique(values, return_counts=True)[1].max() >= FEW:
            bound = float(np.abs(values).max())
        scaled = values / bound
        for steps in range(1, FINEST + 1):
            if np.allclose(scaled * steps, nearest := np.rint(scaled * steps), rtol=0, atol=1e-6):
                counts = np.bincount(nearest.astype(int) + steps, minlength=2 * steps + 1)
                return cls(counts.astype(float), float(nearest.sum()), bound)
        below = np.floor(scaled * STEPS).clip(-STEPS, STEPS - 1).astype(int)
        share = scaled * STEPS - below
        counts = np.bincount(below + STEPS, 1 - share, 2 * STEPS + 1)
        counts += np.bincount(below + STEPS + 1, share, 2 * STEPS + 1)
        return cls(counts, float(scaled.sum() * STEPS), bound)

    @cached_property
    def n(self) -> int:
        """Number of values."""
        return round(self.counts.sum())

    @cached_property
    def lattice(self) -> np.ndarray:
        """The lattice values."""
        return np.linspace(-self.bound, self.bound, len(self.counts))

    @property
    def steps(self) -> int:
        """Steps of the lattice from 0 to the bound."""
        return len(self.counts) // 2

    @property
    def mean(self) -> float:
        """Mean of the values."""
        return self.total * self.bound / (self.n * self.steps)

    def tails(self, delta: float) -> tuple[float, float]:
        """Return the probabilities of a mean at least, and at most, as large as the observed one if delta is true.

        Half of the probability of the observed mean itself counts in each (mid-p), so that they add up to 1.
        """
        if abs(delta) >= self.bound:
            below = 0.5 if self.total == delta / self.bound * self.n * self.steps else float(delta < 0)
            return 1 - below, below
        first, pmf = _of_sum(self.most_likely(delta), self.n)
        # Index of the observed sum: that of the lowest possible one is 0.
        place = self.total + self.n * self.steps - first
        middle = np.cumsum(pmf) - pmf / 2
        below = float(np.interp(place, np.arange(len(pmf)), middle / pmf.sum()))
        below = min(max(below, ACCURACY), 1 - ACCURACY)
        return 1 - below, below

    def most_likely(self, delta: float) -> np.ndarray:
        """Return the most likely probabilities of the lattice values with mean delta, inside the bounds.

        They are c_i / (n (1 + lambda (v_i - delta))). Where no lambda gives this mean, the remaining probability goes
        to a bound that was not observed.
        """
        offsets = self.lattice - delta
        observed = self.counts > 0
        counts, distance = self.counts[observed], offsets[observed]

        terms = list(zip(counts.tolist(), distance.tolist(), strict=True)) if len(counts) < LOOPED else []

        def moment(multiplier: float) -> float:  # of the observed values around delta; falls with the multiplier
            if terms:
                total = 0.0
                for count, value in terms:
                    total += count * value / (1 + multiplier * value)
                return total
            return float((counts * distance / (1 + multiplier * distance)).sum())

        low, high = _bracket(np.append(distance, offsets[[0, -1]]), np.append(counts, [0, 0]) / self.n)
        if moment(low) <= 0:
            multiplier, rest = low, -1
        elif moment(high) >= 0:
            multiplier, rest = high, 0
        else:
            multiplier, rest = optimize.brentq(moment, low, high, xtol=1e-15), -1
        probabilities = np.zeros(len(self.counts))
        probabilities[observed] = counts / (self.n * (1 + multiplier * distance))
        probabilities[rest] += max(0.0, 1 - probabilities.sum())
        return probabilities


def _of_sum(probabilities: np.ndarray, n: int) -> tuple[int, np.ndarray]:
    """Return the distribution of the sum of n draws of an index: its first sum, and probabilities from there on.

    It is a power of a Fourier transform. Sums further from the mean than Bernstein's inequality lets them be with a
    probability of e^-30 are left out, so that the transform is short.
    """
    indices = np.arange(len(probabilities))
    mean = float(probabilities @ indices)
    variance = float(probabilities @ (indices - mean) ** 2)
    linear = (len(probabilities) - 1) * 30 / 3
    reach = math.ceil(linear + math.sqrt(linear**2 + 60 * n * variance))
    first = max(0, math.floor(n * mean) - reach)
    size = min(n * (len(probabilities) - 1), math.ceil(n * mean) + reach) - first + 1
    length = fft.next_fast_len(max(size, len(probabilities)), real=True)
    periodic = fft.irfft(fft.rfft(probabilities, length) ** n, length)
    start = first % length
    return first, np.concatenate([periodic[start:], periodic[:start]])[:size].clip(min=0)


def _bracket(distances: np.ndarray, shares: np.ndarray) -> tuple[float, float]:
    """Return the range of multipliers that give no value a probability above 1."""
    above, below = distances > 0, distances < 0
    return ((shares - 1)[above] / distances[above]).max(), ((shares - 1)[below] / distances[below]).min()
