"""Planted habits are recovered, strangers get everybody's curve, and hours are drawn as stated."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from ml.cards import Refusal
from ml.send_hours import best_hours
from ml.send_time import SendTimes, fit

NOW = datetime(2026, 3, 1, 6, tzinfo=UTC)
HOURS = np.arange(168)
PEAKS = np.array([8, 20])
PEOPLE = 600


def planted(
    seed: int, sends: float, visits: float
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Two personas of early and late people; true chances float[people, 168]."""
    rng = np.random.default_rng(seed)
    persona = rng.integers(0, 2, PEOPLE)
    peak = (PEAKS[persona] + rng.normal(0, 1.5, PEOPLE)) % 24
    distance = np.abs(HOURS % 24 - peak[:, None])
    distance = np.minimum(distance, 24 - distance)
    level = 0.1 + 0.3 * rng.beta(2, 5, PEOPLE)
    true = level[:, None] * (0.3 + 1.5 * np.exp(-(distance**2) / 8))
    count = rng.poisson(sends, PEOPLE)
    person = np.repeat(np.arange(PEOPLE), count)
    hour = rng.integers(0, 168, len(person))
    answered = rng.random(len(person)) < true[person, hour]
    visitor = np.repeat(np.arange(PEOPLE), rng.poisson(visits, PEOPLE))
    at = np.rint(rng.normal(peak[visitor], 2)) % 24 + 24 * rng.integers(0, 7, len(visitor))
    rows = pd.concat([cells("email", person, hour, answered), cells("web", visitor, at)])
    groups = pd.DataFrame({"person_id": names(np.arange(PEOPLE)),
                           "persona_id": np.where(persona, "late", "early")})  # fmt: skip
    return rows, groups, true


def names(persons: np.ndarray) -> list[str]:
    return [f"person{p:05d}" for p in persons]


def cells(channel: str, person: np.ndarray, hour: np.ndarray, won=1) -> pd.DataFrame:
    trials = pd.DataFrame({"person": person, "hour_of_week": hour, "sends": 1, "responses": won})
    rows = trials.astype(int).groupby(["person", "hour_of_week"], as_index=False).sum()
    return rows.assign(person_id=names(rows.pop("person")), channel=channel)


def learned(rows: pd.DataFrame, groups: pd.DataFrame | None) -> SendTimes:
    found = fit(rows, groups, NOW)
    assert isinstance(found, SendTimes)
    return found


def earned(found: SendTimes, groups: pd.DataFrame, true: np.ndarray) -> float:
    """True mean response at the hours that the curves call best."""
    hours = best_hours(found.times, found.priors, groups, "email").best_hour_of_week
    return float(true[np.arange(PEOPLE), hours].mean())


@pytest.mark.parametrize("seed", [1, 2])
def test_planted_hours_beat_the_best_single_hour(seed):
    rows, groups, true = planted(seed, sends=40, visits=15)
    found = learned(rows, groups)
    single, oracle = true.mean(axis=0).max(), true.max(axis=1).mean()
    assert (earned(found, groups, true) - single) / (oracle - single) > 0.7
    metrics = found.card.metrics["channels"]["email"]
    assert metrics["log_loss"] < metrics["log_loss_of_population"] < metrics["log_loss_of_flat"]
    assert metrics["gain_lower"] > 0


def test_probabilities_are_calibrated_over_all_hours():
    rows, groups, true = planted(3, sends=40, visits=15)
    found = learned(rows, groups)
    curves = best_hours(found.times, found.priors, groups, "email").probabilities
    order = np.argsort(curves.ravel())
    for part in np.array_split(order, 8):
        assert curves.ravel()[part].mean() == pytest.approx(true.ravel()[part].mean(), abs=0.025)


def test_a_stranger_gets_the_persona_then_everybody():
    rows, groups, _ = planted(4, sends=30, visits=0)
    found = learned(rows, groups)
    strangers = pd.DataFrame({"person_id": ["new1", "new2"], "persona_id": ["late", None]})
    beliefs = best_hours(found.times, found.priors, strangers, "email")
    assert beliefs.source.tolist() == ["persona", "population"]
    assert abs(beliefs.best_hour_of_week[0] % 24 - 20) <= 2
    assert "new1" not in set(found.times["person_id"])
    unknown = best_hours(found.times, found.priors, strangers, "sms")
    assert unknown.source.tolist() == ["none", "none"]


def test_little_history_stays_near_the_persona_and_much_leaves_it():
    rows, groups, _ = planted(5, sends=30, visits=0)
    early = groups.loc[groups["persona_id"] == "early", "person_id"].iloc[:2].tolist()
    rows = rows[~rows["person_id"].isin(early)]
    night = (HOURS % 24 >= 2) & (HOURS % 24 <= 4)
    own = pd.concat(
        [
            pd.DataFrame({"person_id": early[0], "hour_of_week": [3], "sends": 1, "responses": 1}),
            pd.DataFrame(
                {"person_id": early[1], "hour_of_week": HOURS, "sends": 1, "responses": night * 1}
            ),
        ]
    ).assign(channel="email")
    found = learned(pd.concat([rows, own]), groups)
    wanted = pd.DataFrame({"person_id": early, "persona_id": "early"})
    beliefs = best_hours(found.times, found.priors, wanted, "email")
    prior = best_hours(found.times[:0], found.priors, wanted, "email")
    assert beliefs.probabilities[0, 3] < 3 * prior.probabilities[0, 3]
    assert beliefs.probabilities[1, night].mean() > 3 * prior.probabilities[1, night].mean()
    assert 2 <= beliefs.best_hour_of_week[1] % 24 <= 4


def test_visits_tell_the_hour_before_anything_was_sent():
    rows, groups, true = planted(6, sends=0, visits=20)
    found = learned(rows, groups)
    assert found.card.metrics["channels"]["email"]["basis"] == "visits"
    single, oracle = true.mean(axis=0).max(), true.max(axis=1).mean()
    assert (earned(found, groups, true) - single) / (oracle - single) > 0.5


def test_persons_without_habits_get_everybodys_curve_or_no_worse():
    rng = np.random.default_rng(7)
    person, hour = np.repeat(np.arange(PEOPLE), 5), rng.integers(0, 168, PEOPLE * 5)
    rows = cells("email", person, hour, rng.random(len(person)) < 0.2)
    metrics = learned(rows, None).card.metrics["channels"]["email"]
    assert metrics["log_loss_of_population"] == pytest.approx(metrics["log_loss_of_flat"], abs=0.01)
    assert (
        metrics["log_loss"] < metrics["log_loss_of_population"] + 0.01
        or not metrics["publishes_persons"]
    )


def test_curves_of_168_hours_in_contract_columns():
    rows, groups, _ = planted(8, sends=10, visits=5)
    found = learned(rows, groups)
    assert found.times.columns.tolist() == [
        "person_id", "channel", "probabilities", "best_hour_of_week", "model_version",
    ]  # fmt: skip
    assert found.priors.columns.tolist() == [
        "persona_id", "channel", "probabilities", "model_version",
    ]  # fmt: skip
    assert not found.times.duplicated(["person_id", "channel"]).any()
    curves = np.stack([*found.times["probabilities"], *found.priors["probabilities"]])
    assert curves.shape[1] == 168
    assert curves.dtype == np.float32
    assert ((curves > 0) & (curves < 1)).all()


def test_same_rows_in_any_order_give_the_same_bits():
    rows, groups, _ = planted(9, sends=15, visits=5)
    first = learned(rows, groups)
    second = learned(rows.sample(frac=1, random_state=1), groups.sample(frac=1, random_state=2))
    assert first.card == second.card
    for one, two in ((first.times, second.times), (first.priors, second.priors)):
        np.testing.assert_array_equal(
            np.stack(one["probabilities"]), np.stack(two["probabilities"])
        )


def test_curves_are_written_for_those_who_can_be_reached_and_learned_from_all():
    rows, groups, _ = planted(7, sends=15, visits=5)
    everybody = learned(rows, groups)
    reachable = pd.DataFrame({"person_id": names(np.arange(0, PEOPLE, 3)), "channel": "email"})
    found = fit(rows, groups, NOW, reachable=reachable)
    assert isinstance(found, SendTimes)
    assert set(found.times["person_id"]) == set(reachable["person_id"])
    email = everybody.times[everybody.times["channel"] == "email"]
    kept = email[email["person_id"].isin(reachable["person_id"])]
    np.testing.assert_allclose(np.stack(found.times["probabilities"]),
                               np.stack(kept["probabilities"]), rtol=1e-5)  # fmt: skip
    assert found.card == everybody.card


def test_too_little_is_refused_with_what_is_missing():
    rows = pd.DataFrame({"person_id": ["a"], "channel": ["email"], "hour_of_week": [3],
                         "sends": [5], "responses": [1]})  # fmt: skip
    for few in (rows, rows[:0]):
        found = fit(few, None, NOW)
        assert isinstance(found, Refusal)
        assert "200 sends" in found.reason
    with pytest.raises(ValueError, match="hour_of_week"):
        fit(rows.assign(hour_of_week=168), None, NOW)
    with pytest.raises(ValueError, match="more responses"):
        fit(rows.assign(responses=6), None, NOW)
