"""Young decisions, late answers and amounts become what a posterior can add up."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from ml import delays, rewards

NOW = datetime(2026, 3, 1, 6, tzinfo=UTC)
WINDOW = 7.0


def truncated(rng: np.random.Generator, count: int, mean: float = 2.0) -> np.ndarray:
    """Delays, exponential up to the window."""
    return -mean * np.log1p(-rng.random(count) * (1 - np.exp(-WINDOW / mean)))


def share_by(age: np.ndarray, mean: float = 2.0) -> np.ndarray:
    return (1 - np.exp(-age / mean)) / (1 - np.exp(-WINDOW / mean))


def decisions(count: int, seed: int, rate: float = 0.05, oldest: float = 20.0) -> pd.DataFrame:
    """One program's decisions of all ages up to `oldest` days, as known at NOW."""
    rng = np.random.default_rng(seed)
    age, delay = rng.random(count) * oldest, truncated(rng, count)
    since = pd.Timestamp(NOW) - pd.to_timedelta(age, unit="D")
    is_seen = (rng.random(count) < rate) & (delay <= age)
    is_matured = age >= WINDOW
    return pd.DataFrame(
        {
            "reward": pd.Series(is_seen.astype(float)).where(is_matured),
            "reward_so_far": is_seen.astype(float),
            "is_matured": is_matured,
            "decided_at": since,
            "reward_from": since,
            "rewarded_at": pd.Series(since + pd.to_timedelta(delay, unit="D")).where(is_seen),
            "matured_at": since + pd.Timedelta(days=WINDOW),
            "reward_kind": "click",
        }
    )


def test_the_curve_of_delays_is_found_from_young_and_old_alike():
    rng = np.random.default_rng(1)
    ages = rng.random(4000) * 20
    late = truncated(rng, 4000)
    seen = late <= ages
    curve = delays.fit(late[seen], ages[seen], WINDOW)
    at = np.array([0.25, 1.0, 2.0, 4.0, 6.5])
    np.testing.assert_allclose(curve.arrived(at), share_by(at), atol=0.03)
    # What has been seen so far is fast: by plain counts the curve would be ahead of the truth.
    young = seen & (ages < WINDOW)
    naive = (late[young, None] <= at).mean(axis=0)
    assert (naive[1:4] > share_by(at[1:4]) + 0.05).all()
    assert curve.arrived([0.0, WINDOW, 90.0]).tolist() == [0.0, 1.0, 1.0]
    assert curve.quantile(0.5) == pytest.approx(1.33, abs=0.15)


def test_rewards_that_all_come_on_the_last_day_leave_the_young_out():
    curve = delays.fit(np.full(50, WINDOW), np.full(50, 9.0), WINDOW)
    assert curve.arrived([0.0, 3.0, 6.9]).tolist() == [0.0] * 3


def test_too_few_rewards_make_no_curve():
    assert delays.fit(np.ones(500), np.full(500, 3.0), WINDOW) is delays.UNKNOWN
    assert delays.fit([], [], WINDOW).arrived([1.0, 99.0]).tolist() == [0.0, 0.0]
    assert delays.UNKNOWN.quantile(0.5) is None
    with pytest.raises(ValueError, match="before its decision or after"):
        delays.fit([5.0], [3.0], WINDOW)


def test_the_young_count_by_the_share_that_would_have_come():
    rows = decisions(40_000, 2)
    found = rewards.evidence(rows, NOW)
    old = rows["is_matured"].to_numpy()
    assert found.decided[old].tolist() == [1.0] * int(old.sum())
    young = ~old
    rate = found.earned[young].sum() / found.decided[young].sum()
    # Seen so far, over all young decisions, would be 0.034; the standard error is 0.002.
    assert rate == pytest.approx(0.05, abs=0.008)
    assert rows.loc[young, "reward_so_far"].mean() < 0.04
    assert (found.decided <= 1).all()


def test_few_rewards_leave_the_young_out_even_the_fast_among_them():
    rows = decisions(200, 3)
    found = rewards.evidence(rows, NOW)
    assert found.curve is delays.UNKNOWN
    assert found.decided[~rows["is_matured"]].sum() == 0
    assert found.earned[~rows["is_matured"]].sum() == 0


def test_a_reward_that_is_not_yet_known_makes_no_delay():
    rows = decisions(40_000, 4)
    later = rows.assign(rewarded_at=rows["rewarded_at"] + pd.Timedelta(days=30))
    assert rewards.evidence(later, NOW).curve is delays.UNKNOWN


def test_revenue_is_as_sure_as_its_variance_says():
    rng = np.random.default_rng(5)
    rows = decisions(20_000, 6, oldest=40.0)
    amount = np.round(rng.lognormal(3.5, 0.5, len(rows)), 2) * rows["reward_so_far"]
    rows = rows.assign(
        reward_kind="revenue", reward_so_far=amount, reward=amount.where(rows["is_matured"])
    )
    found = rewards.evidence(rows, NOW)
    matured = rows["is_matured"].to_numpy()
    assert 1 < found.surer < 20
    capped = np.minimum(rows["reward"][matured], found.unit_amount)
    alpha = found.earned[matured].sum()
    beta = found.decided[matured].sum() - alpha
    mean = alpha / (alpha + beta)
    assert mean * found.unit_amount == pytest.approx(capped.mean())
    sure = np.sqrt(mean * (1 - mean) / (alpha + beta)) * found.unit_amount
    assert sure == pytest.approx(capped.std() / np.sqrt(matured.sum()), rel=0.01)
    with pytest.raises(ValueError, match="negative"):
        rewards.evidence(rows.assign(reward=-1.0), NOW)


def test_an_empty_program_teaches_nothing():
    found = rewards.evidence(decisions(0, 1), NOW, half_life_days=5)
    assert found.decided.shape == found.earned.shape == (0,)
