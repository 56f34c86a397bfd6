"""A small market of arms with known rates, played day by day with rewards that come late.

Belongs here: the market, and how much of what could be gained the policy gained.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml import bandit, delays, policy

Floats = NDArray[np.float64]
LAST_DAYS = 7


@dataclass(frozen=True)
class Market:
    """rates: float[arms, personas]; `a_day` decisions for `days` days; all rewards are known
    `window` days after their decision, and come after `mean_delay` days (None: on the last)."""

    rates: Floats
    days: int = 25
    a_day: int = 800
    window: int = 7
    mean_delay: float | None = None


def alike(arms: int, personas: int = 3) -> Floats:
    """Rates from 2 to 5 %, evenly apart, the same for every persona."""
    return np.repeat(np.linspace(0.02, 0.05, arms)[:, None], personas, axis=1)


def apart(arms: int, seed: int, personas: int = 3) -> Floats:
    """The same rates, dealt anew to every persona."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.permutation(alike(arms)[:, 0]) for _ in range(personas)])


def gain(market: Market, seed: int, sharpness: float = policy.SHARPNESS) -> float:
    """(policy - random) / (oracle - random) over the last seven days, in true rates."""
    rng = np.random.default_rng(seed)
    arms, personas = market.rates.shape
    shape = market.days, arms, personas
    decided, late = np.zeros(shape), np.zeros((market.days, market.window + 1, arms, personas))
    earned, best = np.zeros(market.days), np.zeros(market.days)
    for day in range(market.days):
        persona = rng.integers(0, personas, market.a_day)
        decisions, rewards, matured = known(decided, late, day, market.window)
        alpha, beta = bandit.from_counts(decisions, rewards)
        choice = policy.choose(
            np.ones((market.a_day, arms), dtype=bool),
            alpha.T[persona],
            beta.T[persona],
            matured,
            np.full(market.a_day, "policy", dtype=object),
            0,
            seed,
            np.arange(market.a_day).astype(str) + f".{day}",
            sharpness=sharpness,
        )
        chance = market.rates[choice.arm_index, persona]
        earned[day] = (choice.propensities * market.rates.T[persona]).sum(axis=1).mean()
        best[day] = market.rates.max(axis=0)[persona].mean()
        won = rng.random(market.a_day) < chance
        np.add.at(decided[day], (choice.arm_index, persona), 1)
        after = _days_late(rng, market, int(won.sum()))
        np.add.at(late[day], (after, choice.arm_index[won], persona[won]), 1)
    uniform = market.rates.mean()
    last = slice(-LAST_DAYS, None)
    return float((earned[last].mean() - uniform) / (best[last].mean() - uniform))


def _days_late(rng: np.random.Generator, market: Market, count: int) -> NDArray[np.int64]:
    if market.mean_delay is None:
        return np.full(count, market.window)
    cut = 1 - np.exp(-market.window / market.mean_delay)
    drawn = -market.mean_delay * np.log1p(-rng.random(count) * cut)
    return np.ceil(drawn).astype(np.int64)


def known(
    decided: Floats, late: Floats, day: int, window: int
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """What the decisions before `day` teach on it, by arm and persona, and the matured by arm."""
    age = day - np.arange(day)
    seen = late[:day] * (np.arange(window + 1) <= age[:, None])[:, :, None, None]
    on, after = seen.sum(axis=(2, 3)).nonzero()
    times = seen.sum(axis=(2, 3))[on, after].astype(int)
    curve = delays.fit(np.repeat(after, times), np.repeat(age[on], times), window)
    rewards = seen.sum(axis=1)
    share = np.where(age >= window, 1.0, curve.arrived(age))[:, None, None]
    counts = rewards + (decided[:day] - rewards) * share
    if not curve.rewards:
        counts, rewards = (a[age >= window] for a in (decided[:day], rewards))
    matured = decided[:day][age >= window].sum(axis=(0, 2)).astype(np.int64)
    return counts.sum(axis=0), rewards.sum(axis=0), matured
