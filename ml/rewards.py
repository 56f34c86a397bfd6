"""What each decision teaches: how much of a decision it counts for, and how much it has earned.

Here: age, delay, drift and amounts turned into weights that a Beta posterior can add up. Not
here: the posteriors (`ml.bandit`), the curve of delays (`ml.delays`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml import delays
from ml.delays import DelayCurve

Floats = NDArray[np.float64]

REVENUE = "revenue"
CAPPED_AT = 0.99
"""Quantile of the positive amounts at which revenue is capped: one wholesale order must not
decide what everybody hears. What lies above is named in the card."""
SURER_AT_MOST = 50.0
AMOUNTS_AT_LEAST = 30
DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Evidence:
    """decided, earned: float[n] by row of the feedback, what to add to alpha + beta and to alpha.

    curve: the delays of the program. unit_amount: what an earned 1 is worth (1 for clicks and
    conversions, the cap for revenue). surer: how much more a decision tells about the mean
    than a coin of that mean would, 1 for clicks and conversions.
    """

    decided: Floats
    earned: Floats
    curve: DelayCurve
    unit_amount: float
    surer: float

    def facts(self) -> Mapping[str, Any]:
        """What a card says of it."""
        return {
            "rewards_in_delay_curve": self.curve.rewards,
            "half_of_rewards_by_days": self.curve.quantile(0.5),
            "nine_tenths_of_rewards_by_days": self.curve.quantile(0.9),
            "unit_amount": self.unit_amount,
            "surer_than_coins": self.surer,
        }


def evidence(rows: pd.DataFrame, as_of: datetime, half_life_days: float | None = None) -> Evidence:
    """What the decisions of one program teach at `as_of`.

    rows: reward (null while pending), reward_so_far, is_matured, decided_at, reward_from,
    rewarded_at (null: not yet), matured_at, reward_kind. A matured decision counts as one. A
    young one with a reward counts as one; without, as the share F(age) of rewards that would
    have come by its age: log(1 - theta F) = F log(1 - theta) to first order in theta, so it adds
    F(age) to beta (Vernade, Cappé & Perchet 2017; Chapelle 2014). With too few rewards to know
    F, the young do not count at all, not even the fast answers among them.

    half_life_days halves the weight of a decision with its age. Revenue is capped and divided by
    the cap; a decision then weighs m (1 - m) / v, m and v the mean and variance of the shares,
    so that a Beta is as sure of the mean as v / n says. Raises ValueError on clicks or
    conversions outside 0..1 and on negative revenue.
    """
    reward = rows["reward"].astype("float64")
    is_matured = (rows["is_matured"].astype(bool) & reward.notna()).to_numpy()
    so_far = np.where(is_matured, reward, rows["reward_so_far"].astype("float64").fillna(0.0))
    unit, surer = 1.0, 1.0
    if rows["reward_kind"].eq(REVENUE).any():
        so_far, unit, surer = _shares_of_cap(so_far, is_matured)
    elif not pd.Series(so_far).between(0, 1).all():
        raise ValueError("a reward lies outside 0..1: only a revenue program earns amounts")
    ages = _days(as_of, rows["reward_from"])
    curve = _curve(rows, ages, so_far)
    counts = np.where(is_matured, 1.0, np.where(so_far > 0, 1.0, curve.arrived(ages)))
    counts *= is_matured | (curve.rewards > 0)
    weight = counts * surer
    if half_life_days is not None:
        weight *= np.exp2(-_days(as_of, rows["decided_at"]) / half_life_days)
    return Evidence(weight, weight * so_far, curve, unit, surer)


def _curve(rows: pd.DataFrame, ages: Floats, so_far: Floats) -> DelayCurve:
    """The delays of rewards that had come within their windows."""
    since = pd.to_datetime(rows["reward_from"], utc=True)
    delay, window = (
        (pd.to_datetime(rows[name], utc=True) - since).dt.total_seconds().to_numpy() / DAY_SECONDS
        for name in ("rewarded_at", "matured_at")
    )
    # A comparison with a delay that is not known is false.
    seen = (so_far > 0) & (delay >= 0) & (delay <= np.minimum(ages, window))
    return delays.fit(delay[seen], ages[seen], window[seen])


def _shares_of_cap(amounts: Floats, is_matured: NDArray[np.bool_]) -> tuple[Floats, float, float]:
    if (amounts < 0).any():
        raise ValueError("a revenue reward is negative: refunds are not rewards")
    known = amounts[is_matured]
    positive = known[known > 0]
    if not positive.size:
        return np.zeros_like(amounts), 1.0, 1.0
    cap = float(np.quantile(positive, CAPPED_AT))
    shares = np.minimum(amounts / cap, 1.0)
    mean, variance = shares[is_matured].mean(), shares[is_matured].var()
    if positive.size < AMOUNTS_AT_LEAST or variance <= 0:
        return shares, cap, 1.0
    return shares, cap, float(np.clip(mean * (1 - mean) / variance, 1.0, SURER_AT_MOST))


def _days(as_of: datetime, moments: pd.Series) -> Floats:
    age = pd.Timestamp(as_of) - pd.to_datetime(moments, utc=True)
    return np.maximum(age.dt.total_seconds().to_numpy(dtype=np.float64) / DAY_SECONDS, 0.0)
