"""Candidates are judged on rewards they have not seen, and promoted beyond noise only."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ml import policy_evaluation
from ml.cards import card_frame
from ml.policy_evaluation import COLUMNS, LEARNERS, Program, due, evaluate, held, known_at

NOW = datetime(2026, 3, 1, 6, tzinfo=UTC)
ARMS = ["a", "b", "c", "d"]
PROGRAM = {"welcome": Program(ARMS, "a")}


def logged(rates: np.ndarray, count: int, seed: int, days: int = 60) -> pd.DataFrame:
    """A random group's decisions with rates float[arms, personas], all matured after 3 days."""
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, len(rates), count)
    persona = rng.integers(0, rates.shape[1], count)
    decided_at = pd.Timestamp(NOW) - pd.to_timedelta(4 + rng.integers(0, days, count), unit="D")
    reward = (rng.random(count) < rates[arm, persona]).astype(float)
    return pd.DataFrame(
        {
            "decision_id": [f"d{k:06d}" for k in range(count)],
            "program": "welcome",
            "arm": np.array(ARMS, dtype=object)[arm],
            "propensity": 1 / len(rates),
            "reward": reward,
            "reward_so_far": reward,
            "reward_kind": "click",
            "reward_from": decided_at,
            "rewarded_at": pd.Series(decided_at + pd.Timedelta(days=2)).where(reward > 0),
            "matured_at": decided_at + pd.Timedelta(days=3),
            "person_id": [f"q{k}" for k in range(count)],
            "persona_id": np.array([f"p{k}" for k in range(9)], dtype=object)[persona],
            "assignment": np.where(rng.random(count) < 0.5, "random", "policy"),
            "is_matured": True,
            "decided_at": decided_at,
            "candidates": json.dumps(dict.fromkeys(ARMS[: len(rates)], 0.25)),
        }
    )


APART = np.array([[0.02, 0.20], [0.20, 0.02], [0.03, 0.03], [0.03, 0.03]])


def test_a_candidate_that_is_better_beyond_noise_is_promoted():
    found = evaluate(logged(APART, 12_000, 1), PROGRAM, NOW, {"welcome": "thompson_program"})
    assert found.current == {"welcome": "thompson"}
    assert "thompson in place of thompson_program" in found.card.reason
    values = found.frame.set_index(["policy", "estimator"])
    assert found.frame.columns.tolist() == COLUMNS
    assert values.loc[("thompson", "dr"), "lower"] > values.loc[("thompson_program", "dr"), "value"]
    # Random earns the mean of all rates, the declared arm its own.
    for name, worth in (("random", 0.07), ("bau", 0.11)):
        row = values.loc[(name, "dr")]
        assert row["lower"] < worth < row["upper"]
    assert set(values.loc["logged"].index) == {"on_policy"}


def test_without_a_difference_the_policy_in_force_stays():
    flat = np.full((4, 2), 0.1)
    found = evaluate(logged(flat, 3000, 2), PROGRAM, NOW, {"welcome": "thompson_drifting"})
    assert found.current == {"welcome": "thompson_drifting"}, found.card.reason


def test_a_candidate_on_wrong_propensities_is_not_trusted():
    rows = logged(APART, 6000, 1).assign(propensity=0.5)
    found = evaluate(rows, PROGRAM, NOW, {"welcome": "thompson_program"})
    assert found.current == {"welcome": "thompson_program"}
    weights = found.card.metrics["programs"]["welcome"]["weights"]["thompson"]
    assert weights["mean"] == pytest.approx(0.5, abs=0.05)


def test_too_few_rewards_are_refused_with_their_number():
    found = evaluate(logged(np.full((4, 2), 0.01), 300, 3), PROGRAM, NOW, {})
    assert found.card.gate == "refused"
    assert found.frame.empty
    assert "of 30 needed" in found.card.reason
    assert found.current == {"welcome": "thompson"}
    empty = evaluate(logged(APART, 0, 1), PROGRAM, NOW, {})
    assert "0 rewards of 30 needed" in empty.card.reason


def test_nobody_is_judged_on_rewards_it_learned_from():
    """Rates that turn over before the last weeks: who had seen them would not fall for the past."""
    rows = logged(np.repeat([[0.2], [0.02], [0.02], [0.02]], 2, axis=1), 8000, 4)
    week = rows["decided_at"] > pd.Timestamp(NOW) - pd.Timedelta(days=11)
    turned = rows.loc[week & rows["arm"].eq("a")].index
    rows.loc[turned, ["reward", "reward_so_far"]] = 0.0
    rows.loc[turned, "rewarded_at"] = pd.NaT
    found = evaluate(rows[rows["decided_at"] > rows["decided_at"].max() - pd.Timedelta(days=30)],
                     PROGRAM, NOW, {})  # fmt: skip
    values = found.frame.set_index(["policy", "estimator"])["value"]
    # Arm a earned nothing in one week of four: a policy that trusts the past earns 3/4 of 0.2.
    assert values["thompson", "dr"] < 0.18


def test_the_past_is_known_as_it_was():
    rows = logged(APART, 500, 5)
    moment = NOW - timedelta(days=20)
    then = known_at(rows, moment)
    assert (then["decided_at"] <= moment).all()
    assert then.loc[~then["is_matured"], "reward"].isna().all()
    young = then[~then["is_matured"]]
    is_late = rows.loc[young.index, "rewarded_at"] > moment
    assert is_late.any()
    assert (young.loc[is_late, "reward_so_far"] == 0).all()


def test_weekly_and_only_when_something_matured():
    found = evaluate(logged(APART, 3000, 6), PROGRAM, NOW, {})
    table = card_frame([found.card], {"policy": found.card.model_version})
    before = held(table, NOW, inclusive=False)
    assert before is None
    assert due(before, 3000, NOW)
    after = held(table, NOW, inclusive=True)
    assert policy_evaluation.current(after) == found.current
    assert policy_evaluation.learners(after) == {"welcome": LEARNERS["thompson"]}
    assert not due(after, 4000, NOW + timedelta(days=6))
    assert not due(after, 3000, NOW + timedelta(days=7))
    assert due(after, 4000, NOW + timedelta(days=7))


def test_the_order_of_rows_does_not_change_a_bit():
    rows = logged(APART, 2000, 7)
    first = evaluate(rows, PROGRAM, NOW, {})
    second = evaluate(rows.sample(frac=1, random_state=1), PROGRAM, NOW, {})
    pd.testing.assert_frame_equal(first.frame, second.frame, check_exact=True)
    assert first.card == second.card
