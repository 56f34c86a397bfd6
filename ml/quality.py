"""How good a probability is: ranking, calibration and the noise around both.

Belongs here: figures computed from labels and probabilities alone. Keep out: models, features
and thresholds of any one of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    lower: float
    upper: float


def auc(labels: ArrayLike, scores: ArrayLike) -> Interval:
    """Area under the ROC curve with DeLong's interval, cut to [0, 1]."""
    areas, covariance = _delong(_booleans(labels), [_floats(scores)])
    margin = _margin(float(covariance[0, 0]))
    area = float(areas[0])
    return Interval(area, max(0.0, area - margin), min(1.0, area + margin))


def auc_gain(labels: ArrayLike, scores: ArrayLike, baseline: ArrayLike) -> Interval:
    """AUC of `scores` minus AUC of `baseline` on the same rows, with DeLong's paired interval."""
    areas, covariance = _delong(_booleans(labels), [_floats(scores), _floats(baseline)])
    gain = float(areas[0] - areas[1])
    margin = _margin(float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]))
    return Interval(gain, gain - margin, gain + margin)


def log_losses(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """Log loss of every row, in nats; probabilities are kept 1e-9 away from 0 and 1."""
    clipped = np.clip(_floats(probabilities), 1e-9, 1 - 1e-9)
    return np.where(_booleans(labels), -np.log(clipped), -np.log1p(-clipped))


def log_loss_gain(labels: ArrayLike, probabilities: ArrayLike, baseline: ArrayLike) -> Interval:
    """Mean log loss that `probabilities` save against `baseline`, paired normal interval."""
    saved = log_losses(labels, baseline) - log_losses(labels, probabilities)
    gain = float(saved.mean())
    margin = _margin(float(saved.var(ddof=1)) / len(saved)) if len(saved) > 1 else np.inf
    return Interval(gain, gain - margin, gain + margin)


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared difference of probability and outcome."""
    return float(np.mean((_floats(probabilities) - _booleans(labels)) ** 2))


@dataclass(frozen=True)
class Reliability:
    """What was predicted and what came, in bins of equal size ordered by probability."""

    predicted: Floats
    observed: Floats
    counts: NDArray[np.int64]
    noise: Floats
    """Standard error of `observed` in each bin were the probabilities exact."""

    @property
    def error(self) -> float:
        """Expected calibration error: the mean absolute gap, weighted by rows."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.counts))

    @property
    def error_by_chance(self) -> float:
        """The error that exact probabilities would show on as many rows, on average."""
        return float(np.average(np.sqrt(2 / np.pi) * self.noise, weights=self.counts))


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> Reliability:
    """The reliability table of at least one row; fewer bins where rows are fewer."""
    chances = _floats(probabilities)
    order = np.argsort(chances, kind="stable")
    groups = np.array_split(order, min(bins, len(order)))
    outcomes = _booleans(labels)
    return Reliability(
        predicted=np.array([chances[group].mean() for group in groups]),
        observed=np.array([outcomes[group].mean() for group in groups]),
        counts=np.array([len(group) for group in groups]),
        noise=np.array(
            [np.sqrt((chances[g] * (1 - chances[g])).sum()) / len(g) for g in groups],
        ),
    )


def lift(labels: ArrayLike, scores: ArrayLike, share: float = 0.1) -> float:
    """Positives among the highest `share` of scores over positives among all rows."""
    outcomes = _booleans(labels)
    top = max(1, round(share * len(outcomes)))
    highest = np.argsort(-_floats(scores), kind="stable")[:top]
    return float(outcomes[highest].mean() / outcomes.mean())


def _booleans(labels: ArrayLike) -> NDArray[np.bool_]:
    return np.asarray(labels).astype(bool)


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _margin(variance: float) -> float:
    return float(norm.ppf(0.975) * np.sqrt(max(variance, 0.0)))


def _delong(labels: NDArray[np.bool_], scores: list[Floats]) -> tuple[Floats, Floats]:
    """Areas and their covariance by midranks: Sun & Xu 2014, after DeLong et al. 1988."""
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if positives < 2 or negatives < 2:
        raise ValueError("an AUC with an interval needs at least two rows of each class")
    above = np.empty((len(scores), positives))
    below = np.empty((len(scores), negatives))
    for row, score in enumerate(scores):
        ranks = rankdata(score)
        above[row] = (ranks[labels] - rankdata(score[labels])) / negatives
        below[row] = 1 - (ranks[~labels] - rankdata(score[~labels])) / positives
    covariance = np.cov(above).reshape(len(scores), -1) / positives
    covariance = covariance + np.cov(below).reshape(len(scores), -1) / negatives
    return above.mean(axis=1), covariance
