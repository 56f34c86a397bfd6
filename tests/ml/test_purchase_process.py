"""Known order processes are recovered, and published figures reproduced."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import check_grad
from scipy.special import hyp2f1

from ml import purchase_process
from ml.purchase_process import History, OrderRate, fit_order_amount, fit_order_rate

SHARED = Path(os.environ.get("LOOPDRIVE_SHARED_DATA", Path(__file__).parents[3] / "shared/data"))
CDNOW = SHARED / "cdnow" / "cdnow_customers_summary_with_transactions.csv"


@pytest.fixture(scope="module")
def cdnow() -> pd.DataFrame:
    if not CDNOW.exists():
        pytest.skip(f"the CDNOW data is not at {CDNOW}")
    return pd.read_csv(CDNOW).astype(float)


def history(frame: pd.DataFrame) -> History:
    return History(frame["x"].to_numpy(), frame["t_x"].to_numpy(), frame["T"].to_numpy())


def simulated(persons: int, seed: int, future: float) -> tuple[History, np.ndarray]:
    """BG/NBD with r 0.6, α 20, a 0.8, b 2.5 in days: the history, and orders to come."""
    random = np.random.default_rng(seed)
    rate, quit_chance = random.gamma(0.6, 1 / 20, persons), random.beta(0.8, 2.5, persons)
    age = random.uniform(60, 300, persons)
    frequency, recency, coming = np.zeros(persons), np.zeros(persons), np.zeros(persons)
    clock, alive = np.zeros(persons), np.ones(persons, dtype=bool)
    while alive.any():
        clock = clock + random.exponential(1 / rate)
        past, ahead = alive & (clock <= age), alive & (clock > age) & (clock <= age + future)
        frequency[past] += 1
        recency[past] = clock[past]
        coming[ahead] += 1
        alive &= (clock <= age + future) & (random.random(persons) >= quit_chance)
    return History(frequency, recency, age), coming


def test_planted_order_rate_is_recovered_and_forecasts_the_future() -> None:
    seen, coming = simulated(8_000, 1, future=200)
    rate = fit_order_rate(seen)
    truth = {"r": 0.6, "alpha": 20, "a": 0.8, "b": 2.5}
    for (name, planted), error in zip(truth.items(), rate.spread, strict=True):
        assert abs(np.log(getattr(rate, name) / planted)) < 3.5 * error, name
        assert error < 0.35
    expected = rate.expected_orders(seen, 200)
    assert expected.sum() == pytest.approx(coming.sum(), rel=0.06)
    for count in (0, 1, 3):
        group = seen.frequency == count
        assert expected[group].mean() == pytest.approx(coming[group].mean(), rel=0.1)


def test_planted_amounts_are_recovered() -> None:
    random = np.random.default_rng(2)
    frequency = random.geometric(0.4, 20_000).astype(float)
    nu = random.gamma(4.0, 1 / 15.0, 20_000)
    mean = random.gamma(6.0 * frequency, 1 / (nu * frequency))
    amount = fit_order_amount(frequency, mean)
    assert [amount.p, amount.q, amount.v] == pytest.approx([6.0, 4.0, 15.0], rel=0.08)
    truth = 6.0 / nu
    expected = amount.expected_amount(frequency, mean)
    assert expected.sum() == pytest.approx(truth.sum(), rel=0.03)
    assert np.abs(expected - truth).mean() < np.abs(mean - truth).mean()
    assert amount.expected_amount(np.zeros(1), np.array([np.nan]))[0] == pytest.approx(
        truth.mean(), rel=0.05
    )


def test_cdnow_parameters_are_those_published(cdnow: pd.DataFrame) -> None:
    """Fader, Hardie & Lee 2005, table 2; weeks."""
    rate = fit_order_rate(history(cdnow))
    assert [rate.r, rate.alpha, rate.a, rate.b] == pytest.approx(
        [0.243, 4.414, 0.793, 2.426], rel=0.005
    )
    assert rate.log_likelihood == pytest.approx(-9582.4, abs=0.1)
    one = History(np.array([2.0]), np.array([30.43]), np.array([38.86]))
    assert rate.expected_orders(one, 39.0)[0] == pytest.approx(1.226, abs=0.001)
    repeats = cdnow[cdnow["x"] > 0]
    amount = fit_order_amount(repeats["x"].to_numpy(), repeats["zbar"].to_numpy())
    assert [amount.p, amount.q, amount.v] == pytest.approx([6.25, 3.74, 15.44], rel=0.005)


def test_unit_of_time_changes_only_alpha() -> None:
    seen, _ = simulated(3000, 3, future=1)
    days = fit_order_rate(seen)
    weeks = fit_order_rate(History(seen.frequency, seen.recency / 7, seen.age / 7))
    assert [weeks.r, weeks.alpha * 7, weeks.a, weeks.b] == pytest.approx(
        [days.r, days.alpha, days.a, days.b], rel=1e-4
    )
    # A density per repeat order gains ln 7 for each when a unit is seven times longer.
    gained = weeks.log_likelihood - days.log_likelihood
    assert gained == pytest.approx(seen.frequency.sum() * np.log(7), rel=1e-6)


def test_expected_orders_equal_the_paper_and_survive_large_counts() -> None:
    rate = OrderRate(0.24, 4.4, 0.79, 2.43, (), 0.0, True)
    x, last, age = np.array([0.0, 1, 5, 30]), np.array([0.0, 3, 20, 35]), np.full(4, 38.0)
    r, alpha, a, b, ahead = 0.24, 4.4, 0.79, 2.43, 39.0
    series = hyp2f1(r + x, b + x, a + b + x - 1, ahead / (alpha + age + ahead))
    shrunk = 1 - ((alpha + age) / (alpha + age + ahead)) ** (r + x) * series
    odds = (x > 0) * a / (b + x - 1) * ((alpha + age) / (alpha + last)) ** (r + x)
    paper = (a + b + x - 1) / (a - 1) * shrunk / (1 + odds)
    assert rate.expected_orders(History(x, last, age), ahead) == pytest.approx(paper, rel=1e-9)
    many = History(np.array([2000.0]), np.array([299.9]), np.array([300.0]))
    assert 1000 < rate.expected_orders(many, 365.0)[0] < 2600
    single = OrderRate(0.24, 4.4, 1.0, 2.43, (), 0.0, True)
    near = OrderRate(0.24, 4.4, 1.001, 2.43, (), 0.0, True)
    assert single.expected_orders(many, 365.0) == pytest.approx(
        near.expected_orders(many, 365.0), rel=0.01
    )


def test_gradients_are_those_of_the_likelihoods() -> None:
    seen, _ = simulated(50, 4, future=1)
    weights = np.ones(50)

    def rate(logs: np.ndarray) -> tuple[float, np.ndarray]:
        return purchase_process._order_rate_likelihood(
            np.exp(logs), seen.frequency, seen.recency, seen.age, weights
        )

    def amount(logs: np.ndarray) -> tuple[float, np.ndarray]:
        return purchase_process._order_amount_likelihood(
            np.exp(logs), seen.frequency + 1, seen.age, weights
        )

    for likelihood, point in ((rate, [0.2, 2.0, -0.3, 0.7]), (amount, [1.0, 0.5, 2.0])):
        wrong = check_grad(
            lambda logs, of=likelihood: of(logs)[0],
            lambda logs, of=likelihood: of(logs)[1],
            np.array(point),
        )
        assert wrong < 1e-3


def test_nobody_ordering_twice_is_an_error_with_a_sentence() -> None:
    once = History(np.zeros(5), np.zeros(5), np.full(5, 30.0))
    with pytest.raises(ValueError, match="nobody has ordered twice"):
        fit_order_rate(once)
