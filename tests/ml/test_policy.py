"""Propensities are what the policy does, and the draw depends on nothing but its row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.policy import Choice, choose, keyed_uniforms, win_probabilities

ALPHA = np.array([30.0, 45.0, 40.0, 3.0])
BETA = np.array([970.0, 955.0, 1160.0, 60.0])
MATURED = np.array([1000, 1000, 1200, 500])


def keys(count: int) -> list[str]:
    return [f"opportunity {k}" for k in range(count)]


def decide(count: int = 1000, assignment: str = "policy", **changes) -> Choice:
    given_ = {
        "eligible": np.ones((count, 4), dtype=bool),
        "alpha": ALPHA,
        "beta": BETA,
        "matured": MATURED,
        "assignment": np.full(count, assignment, dtype=object),
        "bau_index": 1,
        "seed": 7,
        "keys": keys(count),
    }
    return choose(**{**given_, **changes})


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [
        (ALPHA, BETA),
        ([0.2, 0.4, 0.02], [5.0, 20.0, 1.0]),
        ([1.0] * 10, [1.0] * 10),
        ([20_000.0, 20_400.0, 1.0], [980_000.0, 979_600.0, 50.0]),
        ([300.0, 1.0], [2.0, 1.0]),
    ],
)
def test_win_probabilities_match_simulation(alpha, beta):
    alpha, beta = np.array([alpha]), np.array([beta])
    exact, error = win_probabilities(alpha, beta, np.ones(alpha.shape, dtype=bool))
    draws = np.random.default_rng(3).beta(alpha, beta, size=(150_000, alpha.shape[1]))
    simulated = np.bincount(draws.argmax(axis=1), minlength=alpha.shape[1]) / len(draws)
    assert error < 1e-5
    np.testing.assert_allclose(exact[0], simulated, atol=0.006)


def test_two_arms_match_the_closed_form():
    # P(Beta(a, b) > Beta(c, d)) with integers a, by Miller's sum (Evan Miller 2015, formula 6).
    from scipy.special import betaln

    a, b, c, d = 12, 88.0, 9.0, 91.0
    i = np.arange(a)
    closed = np.exp(betaln(c + i, b + d) - np.log(b + i) - betaln(1 + i, b) - betaln(c, d)).sum()
    exact, _ = win_probabilities(
        np.array([[a, c]], dtype=float), np.array([[b, d]]), np.ones((1, 2), dtype=bool)
    )
    assert exact[0, 0] == pytest.approx(closed, abs=1e-6)


def test_draws_follow_their_propensities():
    choice = decide(100_000)
    shares = np.bincount(choice.arm_index, minlength=4) / 100_000
    np.testing.assert_allclose(shares, choice.propensities[0], atol=0.006)


def test_floor_keeps_every_eligible_arm_alive():
    choice = decide(10, alpha=[900.0, 1.0, 1.0, 1.0], beta=[100.0, 999.0, 999.0, 999.0])
    np.testing.assert_allclose(choice.propensities[0], [0.97, 0.01, 0.01, 0.01], atol=1e-9)
    eligible = np.ones((5, 20), dtype=bool)
    alpha, beta = np.r_[900.0, np.ones(19)], np.r_[100.0, np.full(19, 999.0)]
    wide = decide(5, eligible=eligible, alpha=alpha, beta=beta, matured=np.full(20, 100))
    np.testing.assert_allclose(wide.propensities[0, 1:], 0.005, atol=1e-9)


def test_young_arms_are_not_starved():
    choice = decide(10, alpha=[900.0, 1.0, 1.0, 1.0], beta=[100.0, 999.0, 999.0, 999.0],
                    matured=[1000, 99, 100, 100])  # fmt: skip
    np.testing.assert_allclose(choice.propensities[0], [0.855, 0.125, 0.01, 0.01], atol=1e-9)


def test_assignments_do_what_they_are_called():
    eligible = np.array([[True, True, False, True]] * 400 + [[True, False, True, True]] * 400)
    keyed = {"count": 800, "eligible": eligible}
    random = decide(**keyed, assignment="random")
    np.testing.assert_array_equal(random.propensities, eligible / 3)
    assert set(random.arm_index[:400]) == {0, 1, 3}
    bau = decide(**keyed, assignment="bau")
    assert bau.arm_index.tolist() == [1] * 400 + [-1] * 400
    assert bau.propensities[0].tolist() == [0, 1, 0, 0]
    assert bau.propensities[400].tolist() == [0, 0, 0, 0]
    holdout = decide(**keyed, assignment="holdout")
    assert set(holdout.arm_index) == {-1}
    assert holdout.propensities.sum() == 0


def test_no_eligible_arm_is_silence():
    choice = decide(3, eligible=np.zeros((3, 4), dtype=bool))
    assert choice.arm_index.tolist() == [-1] * 3
    assert choice.propensities.sum() == 0
    nobody = decide(0, eligible=np.zeros((0, 4), dtype=bool))
    assert nobody.arm_index.shape == (0,)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_a_row_draws_the_same_in_any_company(seed, random):
    rng = np.random.default_rng(seed)
    count = 40
    case = {
        "eligible": rng.random((count, 4)) < 0.7,
        "alpha": rng.gamma(2.0, 2.0, (count, 4)) + 0.1,
        "beta": rng.gamma(20.0, 2.0, (count, 4)) + 0.1,
        "assignment": rng.choice(["policy", "random", "bau", "holdout"], count),
        "keys": np.array(keys(count)),
    }
    whole = decide(count, **case, seed=seed)
    rows = random.sample(range(count), 15)
    part = decide(15, **{name: values[rows] for name, values in case.items()}, seed=seed)
    np.testing.assert_array_equal(part.arm_index, whole.arm_index[rows])
    np.testing.assert_allclose(part.propensities, whole.propensities[rows], rtol=1e-12)
    sums = whole.propensities.sum(axis=1)
    assert np.all((whole.propensities > 0) <= case["eligible"])
    np.testing.assert_allclose(sums[sums > 0], 1, atol=1e-12)
    chosen = whole.arm_index >= 0
    np.testing.assert_array_equal(chosen, sums > 0)
    assert np.all(whole.propensities[chosen, whole.arm_index[chosen]] > 0)


def test_uniforms_are_pinned_uniform_and_apart_by_stream():
    draws = keyed_uniforms(keys(50_000), 1, "arm")
    assert draws.min() >= 0
    assert draws.max() < 1
    histogram = np.histogram(draws, 20, (0, 1))[0]
    assert ((histogram - 2500) ** 2 / 2500).sum() < 43.8  # chi-square, 19 degrees, 0.1 %
    other = keyed_uniforms(keys(50_000), 1, "hour")
    assert abs(np.corrcoef(draws, other)[0, 1]) < 0.02
    # A new release of the hash must not silently redraw recorded decisions.
    assert keyed_uniforms(["p|o"], 1, "arm")[0].hex() == "0x1.fefb95f0c3a0ep-1"


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="alpha"):
        decide(2, alpha=[1.0, 0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="none of policy"):
        decide(2, assignment="control")
    with pytest.raises(ValueError, match="keys"):
        decide(2, keys=["one"])
