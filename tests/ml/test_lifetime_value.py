"""Lifetime values add up to what comes; broken assumptions are refused with the reason."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ml import lifetime_value
from ml.lifetime_value import RFM_COLUMNS, Fitted, Refusal, summarise

AS_OF = datetime(2024, 5, 6, 6, tzinfo=UTC)


def orders_of(persons: int, seed: int, quiet_share: float = 0.0) -> pd.DataFrame:
    """Poisson orders over 300 days at Gamma rates; `quiet_share` of the last 100 days' lost."""
    random = np.random.default_rng(seed)
    rate = random.gamma(1.2, 1 / 40, persons)
    start = random.uniform(0, 200, persons)
    counts = random.poisson(rate * (300 - start))
    who = np.repeat(np.arange(persons), counts + 1)
    day = start[who] + random.uniform(size=len(who)) * (300 - start[who])
    first = np.cumsum(counts + 1) - counts - 1
    day[first] = start
    typical = random.gamma(5, 8, persons)[who]
    orders = pd.DataFrame(
        {
            "person_id": pd.Series(who).map("p{:05d}".format),
            "ordered_at": pd.Timestamp(AS_OF) - pd.to_timedelta(300 - day, unit="D"),
            "net_revenue_amount": typical * random.gamma(4, 1 / 4, len(who)),
        }
    )
    return orders[(day < 200) | (random.uniform(size=len(who)) >= quiet_share)]


@pytest.fixture(scope="module")
def orders() -> pd.DataFrame:
    return orders_of(1500, 1)


@pytest.fixture(scope="module")
def rfm(orders: pd.DataFrame) -> pd.DataFrame:
    return summarise(orders, AS_OF)


def passed(result: Fitted | Refusal) -> Fitted:
    assert isinstance(result, Fitted), result.reason
    return result


def reason_of(result: Fitted | Refusal) -> str:
    assert isinstance(result, Refusal)
    assert result.card.gate == "refused"
    return result.reason


def test_held_out_orders_and_revenue_are_forecast(orders: pd.DataFrame) -> None:
    cut = AS_OF - timedelta(days=100)
    before = summarise(orders, cut)
    fitted = passed(lifetime_value.fit(before, cut, horizon_days=100))
    scores = lifetime_value.score(fitted, before, cut)
    known = orders["person_id"].isin(before["person_id"])
    coming = orders[known & (orders["ordered_at"] > cut)]
    assert scores["expected_orders"].sum() == pytest.approx(len(coming), rel=0.1)
    assert scores["expected_revenue_amount"].sum() == pytest.approx(
        coming["net_revenue_amount"].sum(), rel=0.15
    )
    counts = coming.groupby("person_id").size().reindex(scores["person_id"]).fillna(0)
    ranked = scores.assign(actual=counts.to_numpy()).sort_values("expected_orders")
    assert ranked["actual"].tail(300).mean() > 3 * ranked["actual"].head(300).mean()


def test_card_holds_parameters_correlation_and_holdout(
    orders: pd.DataFrame, rfm: pd.DataFrame
) -> None:
    fitted = passed(lifetime_value.fit(rfm, AS_OF, orders))
    metrics = fitted.card.metrics
    assert metrics["rows"] == 1500
    assert abs(metrics["rank_correlation"]) < 0.15
    assert 0.85 < metrics["holdout"]["ratio"] < 1.15
    assert fitted.holdout is not None
    assert fitted.holdout.actual.sum() == metrics["holdout"]["actual_orders"]
    low, high = metrics["order_rate"]["alpha_interval"]
    assert low < metrics["order_rate"]["alpha"] < high


def test_summary_equals_a_slow_count(orders: pd.DataFrame) -> None:
    until = AS_OF - timedelta(days=30)
    few = orders[orders["person_id"] < "p00040"]
    doubled = pd.concat([few, few.tail(20).assign(net_revenue_amount=7.0)])
    extra = few.head(3).assign(net_revenue_amount=-5.0, person_id=["p00000", "p00000", None])
    table = summarise(pd.concat([doubled, extra]), until).set_index("person_id")
    for person, own in doubled[doubled["ordered_at"] <= until].groupby("person_id"):
        days: dict[object, list[tuple[pd.Timestamp, float]]] = {}
        for at, amount in zip(own["ordered_at"], own["net_revenue_amount"], strict=True):
            days.setdefault(at.date(), []).append((at, amount))
        firsts = [min(at for at, _ in days[day]) for day in sorted(days)]
        sums = [sum(amount for _, amount in days[day]) for day in sorted(days)]
        row = table.loc[person]
        assert row["frequency"] == len(firsts) - 1
        assert row["recency_days"] == pytest.approx((firsts[-1] - firsts[0]) / timedelta(days=1))
        assert row["age_days"] == pytest.approx((until - firsts[0]) / timedelta(days=1))
        assert row["mean_order_amount"] == pytest.approx(np.mean(sums))


def test_amounts_that_depend_on_frequency_are_refused(rfm: pd.DataFrame) -> None:
    tied = rfm.assign(mean_order_amount=rfm["mean_order_amount"] * (1 + rfm["frequency"]))
    assert "order amounts depend on order frequency" in reason_of(lifetime_value.fit(tied, AS_OF))


def test_a_broken_process_is_refused_by_the_holdout() -> None:
    fading = orders_of(1500, 3, quiet_share=0.8)
    reason = reason_of(lifetime_value.fit(summarise(fading, AS_OF), AS_OF, fading))
    assert "held-out 100 days" in reason


def test_same_data_give_the_same_bits(rfm: pd.DataFrame) -> None:
    shuffled = rfm.sample(frac=1, random_state=1)
    one = passed(lifetime_value.fit(rfm, AS_OF))
    two = passed(lifetime_value.fit(shuffled, AS_OF))
    assert one.card.as_json() == two.card.as_json()
    pd.testing.assert_frame_equal(
        lifetime_value.score(one, rfm, AS_OF),
        lifetime_value.score(two, shuffled, AS_OF),
        check_exact=True,
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"person_id": "p1"}, "needs 100 persons who ordered, has 1"),
        ({"frequency": 0.0, "recency_days": 0.0}, "50 persons with a paid repeat order, has 0"),
        ({"mean_order_amount": np.nan}, "50 persons with a paid repeat order, has 0"),
        ({"mean_order_amount": np.inf}, "50 persons with a paid repeat order, has 0"),
        ({"age_days": 20.0, "recency_days": 0.0}, "60 days of history, has 20"),
        ({"age_days": np.nan}, "needs 100 persons who ordered, has 0"),
        ({"age_days": -1.0}, "needs 100 persons who ordered, has 0"),
        ({"frequency": np.inf}, "needs 100 persons who ordered, has 0"),
    ],
)
def test_degenerate_data_is_refused_with_a_sentence(
    rfm: pd.DataFrame, change: dict[str, object], expected: str
) -> None:
    assert expected in reason_of(lifetime_value.fit(rfm.assign(**change), AS_OF))


def test_ten_persons_and_nobody_are_refused(rfm: pd.DataFrame) -> None:
    assert "has 10" in reason_of(lifetime_value.fit(rfm.head(10), AS_OF))
    empty = pd.DataFrame(columns=list(RFM_COLUMNS))
    assert "has 0" in reason_of(lifetime_value.fit(empty, AS_OF))
    with pytest.raises(ValueError, match="age_days"):
        lifetime_value.fit(rfm.drop(columns="age_days"), AS_OF)


def test_equal_amounts_are_forecast_as_they_are(rfm: pd.DataFrame) -> None:
    flat = rfm.assign(mean_order_amount=25.0)
    fitted = passed(lifetime_value.fit(flat, AS_OF))
    unknown = flat.assign(mean_order_amount=flat["mean_order_amount"].where(flat.index % 2 == 0))
    scores = lifetime_value.score(fitted, unknown, AS_OF)
    worth = scores["expected_revenue_amount"] / scores["expected_orders"]
    assert worth.to_numpy() == pytest.approx(25.0, rel=0.01)
    assert np.isnan(fitted.amount.spread[0]), "a parameter at its bound has no interval"


def test_two_orders_of_the_first_day_are_no_repeat(rfm: pd.DataFrame) -> None:
    fitted = passed(lifetime_value.fit(rfm, AS_OF))
    once = rfm.head(1).assign(frequency=0, recency_days=[0.0], age_days=50.0)
    twice = once.assign(recency_days=0.3)
    one, two = (lifetime_value.score(fitted, row, AS_OF) for row in (once, twice))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_scores_leave_out_what_is_no_history(rfm: pd.DataFrame) -> None:
    fitted = passed(lifetime_value.fit(rfm, AS_OF))
    strange = rfm.head(5).assign(recency_days=[-1, np.nan, 1e9, 0, 0], frequency=[1, 1, 1, 0, 0])
    scores = lifetime_value.score(fitted, strange, AS_OF)
    assert scores["person_id"].tolist() == rfm["person_id"].iloc[3:5].tolist()
    assert np.isfinite(scores["expected_revenue_amount"]).all()
