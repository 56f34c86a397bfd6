"""Planted hazards are found, probabilities mean what they say, and thin data is refused."""

import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from ml import churn, quality

AS_OF = datetime(2024, 5, 6, 6, tzinfo=UTC)
DAY = timedelta(days=1)


class Market(NamedTuple):
    features: pd.DataFrame
    labels: pd.DataFrame
    truth: pd.Series


def market(persons: int = 500, seed: int = 1, engagement: float = 1.5, weeks: int = 30) -> Market:
    """Snapshots whose churn log-odds are known: recency and, unless 0, engagement."""
    random = np.random.default_rng(seed)
    who = np.tile(np.arange(persons), weeks)
    week = np.repeat(np.arange(weeks), persons)
    recency = random.gamma(1.5, 30, persons * weeks)
    sessions = random.poisson(4, persons * weeks)
    odds = 1.2 * (np.log1p(recency) - 3.4) - engagement * (sessions - 4) / 2
    features = pd.DataFrame(
        {
            "person_id": pd.Series(who).map("p{:04d}".format),
            "as_of": pd.Timestamp(AS_OF) - pd.to_timedelta(7 * week, unit="D"),
            "days_since_last_order": recency,
            "order_count": 1 + random.poisson(1, persons * weeks),
            "sessions_30d_count": sessions,
            "country": random.choice(["DE", "FR", None], persons * weeks),
            "support_tickets_90d_count": np.nan,
            "sms_clicked_90d_count": 0,
        }
    )
    labels = features[["person_id", "as_of"]].copy()
    labels["is_churned"] = random.random(len(odds)) < expit(odds)
    return Market(features, labels, pd.Series(expit(odds)))


def refusal_of(fitted: churn.Fitted | churn.Refusal) -> str:
    assert isinstance(fitted, churn.Refusal)
    assert fitted.card.gate == "refused"
    return fitted.reason


@pytest.fixture(scope="module")
def known() -> Market:
    return market()


@pytest.fixture(scope="module")
def fitted(known: Market) -> churn.Fitted:
    model = churn.fit(known.features, known.labels, AS_OF)
    assert isinstance(model, churn.Fitted), model.reason
    return model


def test_planted_hazard_is_found_and_calibrated(known: Market, fitted: churn.Fitted) -> None:
    scores = churn.score(fitted, known.features, AS_OF)
    latest = (known.features["as_of"] == pd.Timestamp(AS_OF)).to_numpy()
    truth = known.truth[latest].to_numpy()
    outcome = known.labels.loc[latest, "is_churned"].to_numpy()
    chance = scores["churn_probability"].to_numpy()
    assert scores["person_id"].tolist() == known.features.loc[latest, "person_id"].tolist()
    assert np.abs(chance - truth).mean() < 0.06
    assert quality.auc(outcome, chance).value > quality.auc(outcome, truth).value - 0.02
    metrics = fitted.card.metrics
    assert metrics["auc_interval"][0] < metrics["auc"] < metrics["auc_interval"][1]
    assert metrics["auc_gain_interval"][0] > 0.02
    assert metrics["calibration_error"] < 0.05 + metrics["calibration_error_by_chance"]
    assert metrics["brier"] < metrics["baseline_brier"]


def test_card_accounts_for_the_data(known: Market, fitted: churn.Fitted) -> None:
    metrics = fitted.card.metrics
    usable = known.labels["as_of"] + 60 * DAY <= AS_OF
    assert metrics["rows"] == usable.sum()
    assert sum(metrics["class_rows"].values()) == metrics["rows"]
    assert metrics["test_rows"] == 500
    assert metrics["features_dropped"] == {
        "support_tickets_90d_count": "no finite value",
        "sms_clicked_90d_count": "constant",
    }
    assert next(iter(metrics["importance"])) == "sessions_30d_count"


def test_reasons_name_the_drivers_with_their_direction(known: Market, fitted: churn.Fitted) -> None:
    scores = churn.score(fitted, known.features, AS_OF)
    safest = json.loads(scores.sort_values("churn_probability").iloc[0]["reasons"])
    first = safest[0]
    assert len(safest) == 3
    assert first["feature"] in ("sessions_30d_count", "days_since_last_order")
    assert first["contribution"] < -0.5
    assert isinstance(first["value"], float)
    sizes = [abs(reason["contribution"]) for reason in safest]
    assert sizes == sorted(sizes, reverse=True)


def test_same_data_and_seed_give_the_same_bits(known: Market, fitted: churn.Fitted) -> None:
    shuffled = known.features.sample(frac=1, random_state=3)
    doubled = pd.concat([shuffled, shuffled.head(50)])
    again = churn.fit(doubled, known.labels.sample(frac=1, random_state=4), AS_OF)
    assert isinstance(again, churn.Fitted)
    first = churn.score(fitted, known.features, AS_OF)
    pd.testing.assert_frame_equal(
        first, churn.score(again, shuffled, AS_OF), check_exact=True, obj="scores"
    )
    assert again.card.model_version == fitted.card.model_version


def test_labels_whose_window_is_open_are_not_read(known: Market, fitted: churn.Fitted) -> None:
    open_window = known.labels["as_of"] + 60 * DAY > AS_OF
    flipped = known.labels.assign(is_churned=known.labels["is_churned"] ^ open_window)
    again = churn.fit(known.features, flipped, AS_OF)
    assert again.card.model_version == fitted.card.model_version


def test_overlapping_label_windows_leak_nothing() -> None:
    """Labels shared by all snapshots of a 60-day block: only a leaky split can guess them."""
    noise = market(seed=5, weeks=40)
    random = np.random.default_rng(5)
    person = noise.features["person_id"].str[1:].astype(int)
    block = ((pd.Timestamp(AS_OF) - noise.features["as_of"]).dt.days // 60).astype(int)
    coins = random.random((500, 8)) < 0.5
    labels = noise.labels.assign(is_churned=coins[person, block])
    telling = noise.features[["person_id", "as_of", "days_since_last_order"]]
    telling = telling.assign(fingerprint=random.normal(size=500)[person])
    assert "not better than recency" in refusal_of(churn.fit(telling, labels, AS_OF))


def test_a_model_that_knows_only_recency_is_refused() -> None:
    plain = market(seed=2, engagement=0.0)
    reason = refusal_of(churn.fit(plain.features, plain.labels, AS_OF))
    assert "not better than recency alone beyond noise" in reason


@pytest.mark.parametrize(
    ("persons", "weeks", "expected"),
    [(10, 30, "100 persons of each class"), (400, 12, "180 days of history, has 77")],
)
def test_too_little_data_is_refused_with_what_is_missing(
    persons: int, weeks: int, expected: str
) -> None:
    few = market(persons=persons, weeks=weeks)
    assert expected in refusal_of(churn.fit(few.features, few.labels, AS_OF))


def test_degenerate_data_is_refused_with_a_sentence(known: Market) -> None:
    features, labels = known.features, known.labels
    one_class = labels.assign(is_churned=True)
    assert "has 500 who churned and 0 who stayed" in refusal_of(
        churn.fit(features, one_class, AS_OF)
    )
    columns = [name for name in features if name not in churn.KEYS]
    for value in (np.nan, np.inf, 1.0):
        flat = features.assign(**dict.fromkeys(columns, value))
        assert "empty or constant" in refusal_of(churn.fit(flat, labels, AS_OF))
    assert "has 0 who churned" in refusal_of(churn.fit(features.head(0), labels, AS_OF))


def test_scoring_handles_unseen_values_and_names_lost_features(
    known: Market, fitted: churn.Fitted
) -> None:
    latest = known.features[known.features["as_of"] == pd.Timestamp(AS_OF)]
    strange = latest.assign(country="ATLANTIS", sessions_30d_count=np.inf)
    scores = churn.score(fitted, strange, AS_OF)
    assert scores["churn_probability"].between(0, 1, inclusive="neither").all()
    never = latest.assign(order_count=0)
    assert churn.score(fitted, never, AS_OF).empty
    with pytest.raises(ValueError, match="sessions_30d_count"):
        churn.score(fitted, latest.drop(columns="sessions_30d_count"), AS_OF)
