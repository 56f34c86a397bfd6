"""Off-policy estimates find known values, cover them, and reproduce the Open Bandit figures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ml import off_policy
from ml.off_policy import ESTIMATORS, evaluate, log_of

INTERVALS = 200


@dataclass(frozen=True)
class World:
    """rates, logging and target float[personas, arms]; mix float[personas]."""

    rates: np.ndarray
    logging: np.ndarray
    target: np.ndarray
    mix: np.ndarray

    @property
    def value(self) -> float:
        return float((self.mix[:, None] * self.target * self.rates).sum())

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, ...]:
        """persona, arm and reward of logged decisions."""
        persona = rng.choice(len(self.mix), count, p=self.mix)
        reached = np.cumsum(self.logging, axis=1)[persona]
        arm = np.minimum((rng.random((count, 1)) > reached).sum(axis=1), self.rates.shape[1] - 1)
        return persona, arm, (rng.random(count) < self.rates[persona, arm]).astype(float)


def world(seed: int, low: float, high: float, arms: int = 5, personas: int = 3) -> World:
    rng = np.random.default_rng(seed)
    return World(
        rates=np.stack([rng.permutation(np.linspace(low, high, arms)) for _ in range(personas)]),
        logging=rng.dirichlet(np.ones(arms), personas) * 0.75 + 0.25 / arms,
        target=rng.dirichlet(np.full(arms, 0.7), personas) * 0.9 + 0.1 / arms,
        mix=rng.dirichlet(np.full(personas, 5.0)),
    )


def expected_of(persona: np.ndarray, arm: np.ndarray, reward: np.ndarray, like: World):
    """Mean rewards of cells, drawn towards their arm's."""
    won, seen = np.zeros(like.rates.shape), np.zeros(like.rates.shape)
    np.add.at(won, (persona, arm), reward)
    np.add.at(seen, (persona, arm), 1)
    by_arm = (won.sum(axis=0) + reward.mean() * 50) / (seen.sum(axis=0) + 50)
    return (won + by_arm * 100) / (seen + 100)


def simulate(seed: int, low: float, high: float, count: int = 3000) -> dict[str, np.ndarray]:
    """Error, lower and upper error of each estimator over `INTERVALS` logs: float[., 3]."""
    like, rng = world(seed, low, high), np.random.default_rng(seed + 1)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in ESTIMATORS}
    for _ in range(INTERVALS):
        means = expected_of(*like.draw(rng, count), like)
        persona, arm, reward = like.draw(rng, count)
        log = log_of(arm, reward, like.logging[persona, arm])
        for one in evaluate(log, like.target[persona], means[persona]):
            found[one.estimator].append((one.value, one.lower, one.upper))
    return {name: np.array(rows) - like.value for name, rows in found.items()}


def check_intervals(found: dict[str, np.ndarray], note: object) -> None:
    noise = {name: rows[:, 0].std() for name, rows in found.items()}
    # The direct method's interval holds its bias, as far as the doubly robust one can tell it.
    off = np.sqrt((found["dm"][:, 0] ** 2).mean())
    noise["dm"] = max(off, noise["dr"])
    for name, rows in found.items():
        covered = ((rows[:, 1] <= 0) & (rows[:, 2] >= 0)).mean()
        width = (rows[:, 2] - rows[:, 1]).mean() / (2 * 1.96 * noise[name])
        assert covered >= 0.9, (name, covered, note)
        assert width <= 1.5, (name, width, note)


@pytest.mark.verify
def test_intervals_cover_and_doubly_robust_errs_less():
    # Low rates are those of clicks; high ones those of opens, where the control takes out more.
    seeds = np.random.SeedSequence().generate_state(5).tolist()
    squares = {}
    for low, high in ((0.02, 0.05), (0.2, 0.5)):
        rounds = [simulate(seed, low, high) for seed in seeds]
        for seed, found in zip(seeds, rounds, strict=True):
            check_intervals(found, (seed, low))
        squares[low] = {
            name: [float((found[name][:, 0] ** 2).mean()) for found in rounds]
            for name in ("ips", "dr")
        }
    assert all(np.less(squares[0.2]["dr"], squares[0.2]["ips"])), (seeds, squares)
    assert sum(squares[0.02]["dr"]) < sum(squares[0.02]["ips"]), (seeds, squares)


def test_estimators_agree_on_a_log_worked_by_hand():
    log = log_of([0, 1, 0, 1], [1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.8, 0.2])
    target = np.array([[0.5, 0.5], [0.5, 0.5], [0.4, 0.6], [0.4, 0.6]])
    means = np.array([[0.6, 0.4]] * 4)
    found = {one.estimator: one for one in evaluate(log, target, means)}
    # Weights 1, 1, 0.5, 3: earned 1 + 3 over 4 decisions.
    assert found["ips"].value == pytest.approx(1.0)
    assert found["snips"].value == pytest.approx(4 / 5.5)
    assert found["dm"].value == pytest.approx((0.5 + 0.5 + 0.48 + 0.48) / 4)
    assert found["dr"].value == pytest.approx(0.49 + (0.4 - 0.4 - 0.5 * 0.6 + 3 * 0.6) / 4)
    assert found["ips"].effective_sample_size == pytest.approx(5.5**2 / 11.25)
    own = evaluate(log_of([0, 1], [1.0, 0.0], [0.5, 0.5]), np.full((2, 2), 0.5), np.zeros(2))
    assert own[0].value == own[1].value == 0.5


def test_the_logging_policy_is_worth_what_it_earned():
    like, rng = world(3, 0.1, 0.4), np.random.default_rng(4)
    persona, arm, reward = like.draw(rng, 2000)
    log = log_of(arm, reward, like.logging[persona, arm])
    found = evaluate(log, like.logging[persona], np.full(5, reward.mean()))
    for one in found:
        assert one.value == pytest.approx(reward.mean(), abs=1e-9)
        assert one.effective_sample_size == pytest.approx(2000)
    logged = off_policy.mean_reward(log)
    assert logged.lower < like_value(like) < logged.upper
    gained = off_policy.difference(log, like.logging[persona], like.logging[persona], np.zeros(5))
    assert (gained.value, gained.lower, gained.upper) == (0, 0, 0)


def like_value(like: World) -> float:
    return float((like.mix[:, None] * like.logging * like.rates).sum())


def test_a_heavy_weight_is_switched_to_the_model():
    rng = np.random.default_rng(8)
    arm = np.zeros(4000, dtype=int)
    arm[:2] = 1
    chance = np.where(arm == 1, 0.0005, 0.9995)
    reward = np.where(arm == 1, 1.0, rng.random(4000) < 0.05)
    target, means = np.tile([0.975, 0.025], (4000, 1)), np.full(2, 0.05)
    found = {one.estimator: one for one in evaluate(log_of(arm, reward, chance), target, means)}
    width = {name: one.upper - one.lower for name, one in found.items()}
    # Two decisions of weight 50 are worth 0.025 of value and nearly all of the doubt.
    assert width["switch_dr"] < 0.5 * width["dr"]
    assert found["switch_dr"].value == pytest.approx(0.05, abs=0.01)
    assert found["dr"].value > 0.06


def test_decisions_of_one_person_count_once():
    like, rng = world(5, 0.1, 0.4), np.random.default_rng(6)
    persona, arm, reward = like.draw(rng, 500)
    chance, target = like.logging[persona, arm], like.target[persona]
    alone = evaluate(log_of(arm, reward, chance), target, np.zeros(5))[0]
    many = [np.tile(a, 10) for a in (arm, reward, chance)]
    people = np.tile([f"p{k}" for k in range(500)], 10)
    again = evaluate(log_of(*many, people), np.tile(target, (10, 1)), np.zeros(5))[0]
    assert again.value == pytest.approx(alone.value)
    assert again.upper - again.lower == pytest.approx(alone.upper - alone.lower)


def test_weights_say_when_the_log_does_not_fit():
    like, rng = world(7, 0.1, 0.4), np.random.default_rng(8)
    persona, arm, reward = like.draw(rng, 4000)
    right = off_policy.weights(
        log_of(arm, reward, like.logging[persona, arm]), like.target[persona]
    )
    assert right.mean == pytest.approx(1, abs=0.1)
    assert right.unsupported_share == 0
    wrong = off_policy.weights(log_of(arm, reward, np.full(4000, 0.6)), like.target[persona])
    assert wrong.mean < 0.7
    assert wrong.effective_sample_size < 4000
    assert 0 < wrong.share_of_largest < 0.01


@pytest.mark.parametrize(
    ("log", "target", "text"),
    [
        (([], [], []), np.ones((0, 2)), "nothing was logged"),
        (([0], [np.nan], [0.5]), np.full((1, 2), 0.5), "missing"),
        (([0], [1.0], [0.0]), np.full((1, 2), 0.5), "propensity"),
        (([0], [1.0], [0.5]), np.full((1, 2), 0.6), "sum to 1"),
        (([0], [1.0], [0.5]), np.full((2, 2), 0.5), "shape"),
    ],
)
def test_what_cannot_be_weighted_is_refused(log, target, text):
    with pytest.raises(ValueError, match=text):
        evaluate(log_of(*log), target, np.zeros(2))


def thompson_of_the_top_three(alpha: np.ndarray, beta: np.ndarray, draws: int) -> np.ndarray:
    """P(arm holds place 1, 2, 3) when the three greatest draws are shown: float[3, arms]."""
    rng = np.random.default_rng(0)
    shares = np.zeros((3, len(alpha)))
    for _ in range(draws // 10_000):
        drawn = rng.beta(alpha, beta, size=(10_000, len(alpha)))
        for place, arms in enumerate(np.argsort(-drawn, axis=1)[:, :3].T):
            shares[place] += np.bincount(arms, minlength=len(alpha))
    return shares / draws


@pytest.mark.parametrize(
    ("campaign", "random_mean", "thompson_mean", "value", "lower", "upper"),
    [
        ("men", 0.0046, 0.0069, 0.0045, 0.0024, 0.0070),
        ("women", 0.0046, 0.0046, 0.0068, 0.0035, 0.0106),
    ],
)
def test_open_bandit_figures(
    shared_data: Path, campaign, random_mean, thompson_mean, value, lower, upper
):
    """Bernoulli Thompson sampling of ZOZOTOWN from its uniform log (Saito et al. 2020)."""
    folder = shared_data / "obd"
    read = {
        name: pd.read_csv(folder / name / campaign / f"{campaign}.csv.gz", index_col=0)
        for name in ("random", "bts")
    }
    assert read["random"]["click"].mean() == pytest.approx(random_mean)
    assert read["bts"]["click"].mean() == pytest.approx(thompson_mean)
    prior = yaml.safe_load((folder / "prior_bts.yaml").read_text())[campaign]
    shares = thompson_of_the_top_three(*map(np.array, (prior["alpha"], prior["beta"])), 50_000)
    rows = read["random"]
    log = log_of(rows["item_id"], rows["click"], rows["propensity_score"])
    target = shares[rows["position"].to_numpy() - 1]
    means = np.full(shares.shape[1], random_mean)
    found = evaluate(log, target, means, as_bootstrap=True)[0]
    assert found.value == pytest.approx(value, abs=1e-4)
    # 46 clicks: our own interval, which knows how little that is, is wider.
    assert found.lower == pytest.approx(lower, abs=2e-4)
    assert found.upper == pytest.approx(upper, abs=3e-4)
    own = evaluate(log, target, means)[0]
    assert own.lower < found.lower < found.upper < own.upper
    assert off_policy.weights(log, target).mean == pytest.approx(1, abs=0.03)
