"""How late rewards come: the share of them that has arrived by each age of a decision.

Here: estimating the curve from rewards seen so far, old decisions and young alike. Not here: what
a reward is (the program says, marts measure), what it is worth to a posterior (`ml.rewards`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

REWARDS_AT_LEAST = 30
"""Rewards of matured decisions from which a curve is believed: its error is then below 0.09
(the standard error of a share of one half among 30)."""


@dataclass(frozen=True)
class DelayCurve:
    """F(age), the share of rewards that come by an age, as a step function.

    days: distinct delays in ascending order. shares: F at them; the last is 1. rewards: how many
    it rests on; 0 is the curve of whom nothing is known, where all rewards wait for the window.
    """

    days: Floats
    shares: Floats
    rewards: int

    def arrived(self, ages_days: ArrayLike) -> Floats:
        """float[n] in 0..1: the share of rewards that has come by each age, in days."""
        ages = np.asarray(ages_days, dtype=np.float64)
        steps = np.concatenate([[0.0], self.shares])
        return steps[np.searchsorted(self.days, ages, side="right")]

    def quantile(self, share: float) -> float | None:
        """Days by which `share` of the rewards has come; None where nothing is known."""
        if not self.rewards:
            return None
        return float(self.days[np.searchsorted(self.shares, min(share, self.shares[-1]))])


UNKNOWN = DelayCurve(np.empty(0), np.empty(0), 0)


def fit(delays_days: ArrayLike, ages_days: ArrayLike, window_days: ArrayLike) -> DelayCurve:
    """The curve from rewarded decisions, each seen because it answered before its age today.

    delays_days, ages_days, window_days: float[n] of rewarded decisions. A delay beyond its age
    or window cannot have been seen (ValueError). Young decisions show their fast answers only,
    so delays are truncated on the right at min(age, window); the product-limit estimator for
    that is F(t) = prod over delays d > t of (1 - n_d / R_d), n_d rewards of delay d, R_d those
    with delay <= d that would have been seen at d (Lynden-Bell 1971; Kalbfleisch & Lawless 1989,
    reporting delays). `UNKNOWN` below `REWARDS_AT_LEAST` rewards of matured decisions: without
    them nobody knows how much is still to come.
    """
    delays, ages, windows = np.broadcast_arrays(
        *(np.asarray(a, dtype=np.float64) for a in (delays_days, ages_days, window_days))
    )
    limits = np.minimum(ages, windows)
    if (delays > limits + 1e-9).any() or (delays < 0).any():
        raise ValueError("a reward was seen before its decision or after its age or window")
    if (ages >= windows).sum() < REWARDS_AT_LEAST:
        return UNKNOWN
    days, counts = np.unique(delays, return_counts=True)
    at_risk = np.cumsum(counts) - np.searchsorted(np.sort(limits), days - 1e-9, side="left")
    kept = 1 - counts[1:] / at_risk[1:]
    shares = np.concatenate([np.cumprod(kept[::-1])[::-1], [1.0]])
    return DelayCurve(days, shares, len(delays))
