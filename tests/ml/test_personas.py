"""Planted groups are found, keep their names over weeks, and no groups means a refusal."""

import json
import pickle
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from ml import behaviour, persona_names, personas
from ml.personas import Fitted, Refusal

AS_OF = datetime(2024, 5, 6, 6, tzinfo=UTC)
WEEK = timedelta(days=7)


def people(persons: int = 900, seed: int = 1, drift: float = 1.0) -> tuple[pd.DataFrame, pd.Series]:
    """Loyal buyers, bargain hunters and window shoppers, with skewed and zero-heavy counts."""
    random = np.random.default_rng(seed)
    group = np.random.default_rng(9).choice(3, persons, p=[0.4, 0.3, 0.3])
    orders = random.poisson(np.array([9 * drift, 2, 0])[group]) * (group < 2) + (group < 2)
    buys = orders > 0
    frame = pd.DataFrame(
        {
            "person_id": [f"p{number:05d}" for number in range(persons)],
            "as_of": pd.Timestamp(AS_OF),
            "days_since_last_seen": random.exponential(np.array([6, 60, 10])[group]),
            "order_count": orders,
            "average_order_amount": np.where(
                buys, np.array([60, 30, 1])[group] * random.gamma(8, 1 / 8, persons), np.nan
            ),
            "discount_share": np.where(
                buys, random.beta(np.array([1, 9, 1])[group], np.array([12, 3, 1])[group]), np.nan
            ),
            "sessions_90d_count": random.poisson(np.array([12, 2, 20])[group]),
            "products_viewed_30d_count": random.poisson(np.array([10, 1, 30])[group]),
            "support_tickets_90d_count": 0,
            "country": "DE",
        }
    )
    return frame, pd.Series(group, index=frame["person_id"])


def passed(result: Fitted | Refusal) -> Fitted:
    assert isinstance(result, Fitted), result.reason
    return result


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return passed(personas.fit(people()[0], AS_OF))


def test_planted_groups_are_found_and_named(fitted: Fitted) -> None:
    frame, truth = people()
    scores = personas.score(fitted, frame, AS_OF).set_index("person_id")
    held = scores["persona_id"].notna()
    assert held.mean() > 0.85
    planted = truth.reindex(scores.index)[held]
    assert adjusted_rand_score(planted, scores.loc[held, "persona_id"]) > 0.93
    names = fitted.personas["name"]
    assert names.is_unique
    shoppers = scores.loc[held & (truth.reindex(scores.index) == 2), "persona_id"].mode()[0]
    hunters = scores.loc[held & (truth.reindex(scores.index) == 1), "persona_id"].mode()[0]
    rows = fitted.personas.set_index("persona_id")
    assert rows.loc[shoppers, "name"].endswith("visitors")
    assert "eal-seeking" in rows.loc[hunters, "name"]
    profile = json.loads(rows.loc[hunters, "profile"])
    assert profile["features"]["discount_share"]["mean"] > 0.6
    sizes = scores["persona_id"].value_counts()
    assert rows["size"].to_dict() == sizes.to_dict()


def test_personas_keep_their_identity_while_people_drift(fitted: Fitted) -> None:
    frame, _ = people()
    before = personas.score(fitted, frame, AS_OF)
    later, _ = people(persons=1000, seed=2, drift=1.3)
    later["as_of"] = pd.Timestamp(AS_OF + WEEK)
    again = passed(personas.fit(later, AS_OF + WEEK, before, fitted.personas))
    assert set(again.persona_ids) == set(fitted.persona_ids)
    assert again.card.model_version != fitted.card.model_version
    was = fitted.personas.set_index("persona_id")
    now = again.personas.set_index("persona_id").loc[was.index]
    assert now["name"].tolist() == was["name"].tolist()
    assert (now["since_at"] == pd.Timestamp(AS_OF)).all()
    assert now["retired_at"].isna().all()
    assert now["size"].sum() > was["size"].sum()


def test_a_lost_group_is_retired_and_a_new_one_is_born(fitted: Fitted) -> None:
    frame, truth = people()
    before = personas.score(fitted, frame, AS_OF)
    changed = frame.copy()
    changed["as_of"] = pd.Timestamp(AS_OF + WEEK)
    hunters = (truth == 1).to_numpy()
    changed = changed[~hunters]
    fresh = frame[hunters].assign(
        as_of=pd.Timestamp(AS_OF + WEEK),
        person_id=[f"new{number:04d}" for number in range(int(hunters.sum()))],
        average_order_amount=lambda rows: rows["average_order_amount"] * 20,
        days_since_last_seen=lambda rows: rows["days_since_last_seen"] / 20,
    )
    again = passed(personas.fit(pd.concat([changed, fresh]), AS_OF + WEEK, before, fitted.personas))
    rows = again.personas.set_index("persona_id")
    lost = set(fitted.persona_ids) - set(again.persona_ids)
    born = set(again.persona_ids) - set(fitted.persona_ids)
    assert len(lost) == 1
    assert len(born) == 1
    assert rows.loc[lost.pop(), "retired_at"] == pd.Timestamp(AS_OF + WEEK)
    assert rows.loc[born.pop(), "since_at"] == pd.Timestamp(AS_OF + WEEK)
    third = passed(
        personas.fit(
            pd.concat([changed, fresh]),
            AS_OF + 2 * WEEK,
            personas.score(again, pd.concat([changed, fresh]), AS_OF + WEEK),
            again.personas,
        )
    )
    retired = third.personas.dropna(subset="retired_at")
    assert retired["retired_at"].tolist() == [pd.Timestamp(AS_OF + WEEK)]


def test_a_second_discovery_of_the_same_day_changes_nothing(fitted: Fitted) -> None:
    frame, _ = people()
    before = personas.score(fitted, frame, AS_OF)
    shuffled = frame.sample(frac=1, random_state=5)
    again = passed(personas.fit(shuffled, AS_OF, before, fitted.personas))
    pd.testing.assert_frame_equal(again.personas, fitted.personas, check_exact=True)
    pd.testing.assert_frame_equal(personas.score(again, shuffled, AS_OF), before, check_exact=True)
    assert again.card.as_json() == fitted.card.as_json()
    copied = pickle.loads(pickle.dumps(fitted))
    pd.testing.assert_frame_equal(personas.score(copied, frame, AS_OF), before, check_exact=True)


def test_new_people_are_assigned_without_a_search(fitted: Fitted) -> None:
    frame, truth = people(persons=300, seed=7)
    scores = personas.score(fitted, frame, AS_OF).set_index("person_id")
    held = scores["persona_id"].notna()
    assert adjusted_rand_score(truth[held[held].index], scores.loc[held, "persona_id"]) > 0.9
    assert scores["membership_probability"].between(0, 1).all()
    gone = frame.assign(order_count=0, days_since_last_seen=200.0)
    assert personas.score(fitted, gone, AS_OF).empty
    with pytest.raises(ValueError, match="discount_share"):
        personas.score(fitted, frame.drop(columns="discount_share"), AS_OF)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_cloud_of_people_is_no_structure(seed: int) -> None:
    random = np.random.default_rng(seed)
    frame = people(persons=800)[0]
    for name in ("order_count", "average_order_amount", "sessions_90d_count"):
        frame[name] = 1 + random.gamma(4, 3, len(frame))
    for name in ("days_since_last_seen", "discount_share", "products_viewed_30d_count"):
        frame[name] = random.normal(20, 3, len(frame))
    result = personas.fit(frame, AS_OF)
    assert isinstance(result, Refusal)
    assert "no clear groups" in result.reason


@pytest.mark.parametrize(
    ("rows", "value", "expected"),
    [
        (10, None, "needs 200 customers and active visitors, has 10"),
        (0, None, "has 0"),
        (900, 1.0, "fewer than two behaviour features vary"),
        (900, np.nan, "has 0"),
        (900, np.inf, "has 0"),
    ],
)
def test_degenerate_data_is_refused_with_a_sentence(
    rows: int, value: float | None, expected: str
) -> None:
    frame = people()[0].head(rows)
    if value is not None:
        numbers = [name for name in behaviour.BEHAVIOUR if name in frame]
        frame = frame.assign(**dict.fromkeys(numbers, value))
    result = personas.fit(frame, AS_OF)
    assert isinstance(result, Refusal)
    assert expected in result.reason


def test_names_stay_apart_and_every_feature_has_words() -> None:
    assert set(persona_names.TRAITS) == set(behaviour.BEHAVIOUR)
    contrasts = {"order_count": 2.0, "average_order_amount": -1.0, "discount_share": 0.1}
    first = persona_names.name_of(contrasts, 1.0, [])
    assert first == "Frequent, small-basket customers"
    assert persona_names.name_of(contrasts, 1.0, [first]) == f"{first} 2"
    assert persona_names.name_of(contrasts, 0.0, []) == "Typical visitors"
