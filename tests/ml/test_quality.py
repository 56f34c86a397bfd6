"""Figures of probabilities agree with their definitions and cover the truth."""

import numpy as np
import pytest

from ml import quality


def test_auc_agrees_with_counting_pairs() -> None:
    labels = np.array([0, 0, 1, 1, 0, 1])
    scores = np.array([0.1, 0.4, 0.4, 0.8, 0.2, 0.3])
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high in scores[labels == 1]
        for low in scores[labels == 0]
    ]
    assert quality.auc(labels, scores).value == pytest.approx(np.mean(pairs))


def test_auc_interval_covers_the_truth() -> None:
    """Two normals one apart: the area is Φ(1/√2) = 0.7602."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    covered = [
        interval.lower <= 0.7602 <= interval.upper
        for interval in (quality.auc(labels, random.normal(labels)) for _ in range(300))
    ]
    assert 0.91 <= np.mean(covered) <= 0.985


def test_equal_scores_gain_nothing_and_better_ones_do() -> None:
    random = np.random.default_rng(1)
    truth = random.uniform(size=2000)
    labels = random.uniform(size=2000) < truth
    blurred = np.clip(truth + random.normal(0, 0.4, 2000), 0.01, 0.99)
    assert quality.auc_gain(labels, truth, truth).value == 0
    assert quality.auc_gain(labels, truth, blurred).lower > 0
    assert quality.log_loss_gain(labels, truth, blurred).lower > 0
    assert quality.log_loss_gain(labels, blurred, truth).upper < 0


def test_calibration_error_is_chance_for_exact_and_large_for_shifted_probabilities() -> None:
    random = np.random.default_rng(2)
    truth = random.uniform(0.05, 0.85, 5000)
    labels = random.uniform(size=5000) < truth
    exact, shifted = quality.reliability(labels, truth), quality.reliability(labels, truth + 0.1)
    assert exact.error < 2 * exact.error_by_chance
    assert shifted.error == pytest.approx(0.1, abs=0.02)
    assert exact.counts.sum() == 5000


def test_lift_compares_the_top_with_everybody() -> None:
    labels = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    assert quality.lift(labels, np.arange(10, 0, -1), share=0.2) == pytest.approx(5.0)


def test_an_auc_of_one_class_is_an_error_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="two rows of each class"):
        quality.auc([1, 1, 1], [0.1, 0.2, 0.3])
