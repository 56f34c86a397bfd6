"""Posteriors find planted rates, share what personas share, and win with the policy."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from ml.bandit import COLUMNS, Learner, beliefs, from_counts, posteriors
from tests.ml.playing_arms import Market, alike, apart, gain

NOW = datetime(2026, 3, 1, 6, tzinfo=UTC)
ARMS = ["a", "b", "c", "d"]
MANY = list("abcdefghij")


def feedback(rates: np.ndarray, decisions: int, seed: int, days_ago: float = 9) -> pd.DataFrame:
    """`decisions` matured rows per arm and persona with reward rates float[arms, personas]."""
    rng = np.random.default_rng(seed)
    decided_at = pd.Timestamp(NOW) - pd.Timedelta(days=days_ago)
    arm, persona = np.indices(rates.shape).reshape(2, -1).repeat(decisions, axis=1)
    reward = (rng.random(len(arm)) < rates[arm, persona]).astype(float)
    return pd.DataFrame(
        {
            "decision_id": [f"d{seed}.{k}" for k in range(len(arm))],
            "program": "welcome",
            "arm": np.array(MANY, dtype=object)[arm],
            "persona_id": np.array([f"p{k}" for k in range(rates.shape[1])], dtype=object)[persona],
            "reward": reward,
            "is_matured": True,
            "decided_at": decided_at,
            "reward_kind": "click",
            "reward_so_far": reward,
            "reward_from": decided_at,
            "rewarded_at": (decided_at + pd.Timedelta(days=1)) if len(arm) else pd.NaT,
            "matured_at": decided_at + pd.Timedelta(days=min(7.0, days_ago)),
        }
    )


def row(frame: pd.DataFrame, arm: str, persona: str | None = None) -> pd.Series:
    of_persona = frame["persona_id"].isna() if persona is None else frame["persona_id"] == persona
    return frame[(frame["arm"] == arm) & of_persona].iloc[0]


def mean(found: pd.Series) -> float:
    return found["alpha"] / (found["alpha"] + found["beta"])


def test_planted_rates_are_inside_their_posteriors():
    rates = np.array([[0.02, 0.02], [0.05, 0.01], [0.03, 0.03], [0.01, 0.06]])
    frame = posteriors(feedback(rates, 4000, 1), {"welcome": ARMS}, NOW).frame
    assert frame.columns.tolist() == COLUMNS
    assert len(frame) == 4 * 3
    draws = np.random.default_rng(5)
    for (a, p), rate in np.ndenumerate(rates):
        found = row(frame, ARMS[a], f"p{p}")
        low, high = np.quantile(draws.beta(found["alpha"], found["beta"], 4000), [0.001, 0.999])
        assert low < rate < high


def test_personas_alike_share_and_personas_apart_do_not():
    alike = np.repeat([[0.02], [0.08], [0.04], [0.03]], 6, axis=1)
    apart = np.array([[0.02, 0.15] * 3, [0.15, 0.02] * 3, [0.04, 0.04] * 3, [0.03, 0.09] * 3])
    few = feedback(alike, 300, 2)
    few = few[(few["persona_id"] != "p5") | (few["decision_id"].str[-1] == "0")]
    shared = posteriors(few, {"welcome": ARMS}, NOW)
    split = posteriors(feedback(apart, 300, 2), {"welcome": ARMS}, NOW)
    strengths = [r.card.metrics["programs"]["welcome"]["persona_strength"] for r in (shared, split)]
    assert strengths[0] > 4 * strengths[1]
    # Thirty decisions of its own, yet as sure as hundreds: it borrows from the others.
    borrowed = row(shared.frame, "b", "p5")
    assert borrowed["matured_count"] < 60
    assert borrowed["alpha"] + borrowed["beta"] > 300
    assert mean(borrowed) == pytest.approx(0.08, abs=0.02)


def test_an_arm_shown_to_the_eager_does_not_look_better():
    rng = np.random.default_rng(40)
    rates = np.array([[0.05, 0.20], [0.05, 0.20], [0.05, 0.20], [0.05, 0.20]])
    rows = feedback(rates, 2000, 4)
    eager = rows["persona_id"] == "p1"
    shown = np.where(rows["arm"] == "a", np.where(eager, 1.0, 0.1), np.where(eager, 0.1, 1.0))
    frame = posteriors(rows[rng.random(len(rows)) < shown], {"welcome": ARMS}, NOW).frame
    means = [mean(row(frame, arm)) for arm in ARMS]
    # By plain counts the ratio would be 2.9.
    assert max(means) / min(means) < 1.5


def test_young_decisions_without_a_delay_curve_teach_nothing():
    rows = feedback(np.full((4, 2), 0.1), 100, 3).assign(rewarded_at=pd.NaT)
    young = rows.assign(decision_id="y" + rows["decision_id"], is_matured=False, reward=None)
    old = posteriors(rows, {"welcome": ARMS}, NOW).frame
    both = posteriors(pd.concat([rows, young]), {"welcome": ARMS}, NOW).frame
    same = ["alpha", "beta", "matured_count"]
    pd.testing.assert_frame_equal(old[same], both[same])
    assert both.loc[both["persona_id"].notna(), "pending_count"].tolist() == [100] * 8
    assert both.loc[both["persona_id"].isna(), "pending_count"].tolist() == [200] * 4


def test_a_new_arm_starts_from_the_hierarchy():
    rows = feedback(np.array([[0.04], [0.05], [0.03]]), 3000, 6)
    frame = posteriors(rows, {"welcome": ARMS, "win_back": ["x"]}, NOW).frame
    new = row(frame, "d")
    assert mean(new) == pytest.approx(0.04, abs=0.006)
    assert new["alpha"] + new["beta"] < 300
    untried = frame[frame["program"] == "win_back"].iloc[0]
    assert mean(untried) == pytest.approx(0.05)


def test_decay_follows_a_taste_that_drifts():
    past = feedback(np.array([[0.10], [0.02], [0.05], [0.05]]), 2000, 7, days_ago=60)
    now = feedback(np.array([[0.02], [0.10], [0.05], [0.05]]), 1000, 8, days_ago=5)
    rows = pd.concat([past, now])
    stale = posteriors(rows, {"welcome": ARMS}, NOW).frame
    drifting = {"welcome": Learner(half_life_days=10)}
    fresh = posteriors(rows, {"welcome": ARMS}, NOW, drifting).frame
    assert mean(row(stale, "a")) > mean(row(stale, "b"))
    assert mean(row(fresh, "b")) > 2 * mean(row(fresh, "a"))
    assert row(fresh, "a")["matured_count"] == 3000


def test_the_order_of_rows_does_not_change_a_bit():
    rows = feedback(np.full((4, 3), 0.05), 50, 9)
    first = posteriors(rows, {"welcome": ARMS}, NOW)
    second = posteriors(rows.sample(frac=1, random_state=1), {"welcome": ARMS}, NOW)
    pd.testing.assert_frame_equal(first.frame, second.frame, check_exact=True)
    assert first.card == second.card


def test_beliefs_fall_back_to_the_program():
    rows = feedback(np.array([[0.1, 0.3]] * 4), 200, 10)
    frame = posteriors(rows, {"welcome": ARMS}, NOW).frame
    found = beliefs(frame, "welcome", ["p1", None, "never met", "p0"], ["b", "a"])
    assert found.alpha.shape == (4, 2)
    assert found.alpha[0, 1] == row(frame, "a", "p1")["alpha"]
    assert found.beta[1, 0] == found.beta[2, 0] == row(frame, "b")["beta"]
    assert found.matured.tolist() == [400, 400]
    with pytest.raises(ValueError, match="no posterior for z"):
        beliefs(frame, "welcome", ["p1"], ["a", "z"])
    empty = posteriors(rows[:0], {"welcome": ARMS}, NOW)
    assert beliefs(empty.frame, "welcome", ["p1"], ARMS).alpha.shape == (1, 4)
    assert "no matured" in empty.card.reason


def test_a_reward_that_is_an_amount_is_refused():
    rows = feedback(np.full((4, 1), 0.1), 5, 1).assign(reward=19.9)
    with pytest.raises(ValueError, match="outside"):
        posteriors(rows, {"welcome": ARMS}, NOW)


def test_counts_teach_what_rows_teach():
    rows = feedback(np.array([[0.1, 0.3], [0.2, 0.1]]), 200, 10)
    frame = posteriors(rows, {"welcome": ["a", "b"]}, NOW).frame
    table = rows.pivot_table(index="arm", columns="persona_id", values="reward", aggfunc="sum")
    alpha, beta = from_counts(np.full((2, 2), 200.0), table.to_numpy())
    for (a, p), value in np.ndenumerate(alpha):
        found = row(frame, "ab"[a], [*table.columns, None][p])
        assert (found["alpha"], found["beta"]) == pytest.approx((value, beta[a, p]))


def test_a_learner_without_personas_gives_all_the_same():
    rows = feedback(np.array([[0.1, 0.3]] * 4), 200, 10)
    house = posteriors(rows, {"welcome": ARMS}, NOW, {"welcome": Learner(by_persona=False)}).frame
    assert house["persona_id"].isna().all()
    assert house["matured_count"].tolist() == [400] * 4


def test_the_best_arm_of_each_persona_wins_and_regret_is_below_uniform():
    rates = np.array([[0.02, 0.05], [0.03, 0.02], [0.05, 0.03], [0.02, 0.02]])
    # Uniform has gain 0; 20 seeds gave 0.89 on average, a standard deviation of 0.11.
    assert gain(Market(rates, days=18, window=5), seed=1) > 0.6


def fresh_seeds(count: int) -> list[int]:
    """Seeds drawn at test time: a threshold that holds for chosen seeds alone holds for none."""
    return np.random.SeedSequence().generate_state(count).tolist()


@pytest.mark.verify
@pytest.mark.parametrize(("arms", "least"), [(4, 0.85), (10, 0.65)])
def test_gain_over_random_after_20000_decisions(arms, least):
    # 60 seeds gave 0.93 and 0.75; the standard error of a mean of 20 is 0.02 and 0.025.
    rounds = [fresh_seeds(20) for _ in range(5)]
    means = [np.mean([gain(Market(alike(arms)), seed) for seed in seeds]) for seeds in rounds]
    assert min(means) >= least, (means, rounds)


@pytest.mark.verify
def test_fast_answers_are_used_before_their_window_closes():
    # Answers after a day on average, a window of 14: 12 seeds gave 0.95, a standard deviation of
    # 0.03; where all answers come on the last day, 0.85.
    market = Market(alike(4), window=14, mean_delay=1.0)
    gains = [gain(market, seed) for seed in fresh_seeds(8)]
    assert np.mean(gains) >= 0.9, gains


@pytest.mark.verify
def test_personas_of_their_own_taste_are_learned():
    # With the same rates dealt anew to each persona, its arms are learned with a third of the data.
    gains = [gain(Market(apart(4, seed)), seed) for seed in fresh_seeds(10)]
    assert np.mean(gains) > 0.5, gains
