"""A calibrated gradient-boosted probability: encoding, training, calibration, contributions.

Belongs here: what every yes-or-no model shares. Keep out: what the question is, how time is
split and when to refuse; those belong to the model that asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

Floats = NDArray[np.float64]

CATEGORIES_AT_MOST = 50
ISOTONIC_FROM = 1000
"""Persons of each class from which isotonic regression overfits less than a sigmoid misfits
(Niculescu-Mizil & Caruana 2005 put the crossing at about 1,000 calibration cases)."""
FOLDS = 3
THREADS = 1
"""LightGBM's threads spin while they wait for each other: on a machine of two busy cores one
fit took 40 s of processor time with two threads and 3.9 s with one."""
READERS = 2
"""Threads that explain rows, each its own rows: nothing waits, and nothing changes."""
ROUNDS = 150
PARAMETERS: Mapping[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_child_samples": 40,
    "lambda_l2": 5.0,
    "feature_fraction": 0.8,
    "max_bin": 127,
    "cat_smooth": 20.0,
    "min_data_per_group": 50,
    "num_threads": THREADS,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


@dataclass(frozen=True)
class Encoding:
    """How columns become numbers; learned once, stored with the model."""

    columns: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    dropped: Mapping[str, str]

    def matrix(self, frame: pd.DataFrame) -> Floats:
        """One float row per row of `frame`: infinite, null and unseen values become nan.

        Raises ValueError naming the columns that `frame` lacks.
        """
        missing = [name for name in self.columns if name not in frame]
        if missing:
            raise ValueError(
                f"features are missing that the model was trained on: {', '.join(missing)}; "
                "restore them or train anew"
            )
        matrix = np.empty((len(frame), len(self.columns)))
        for position, name in enumerate(self.columns):
            known = self.categories.get(name)
            matrix[:, position] = (
                _numbers(frame[name]) if known is None else _codes(frame[name], known)
            )
        return matrix

    def value(self, column: int, number: float) -> float | str | None:
        """What the number in `column` of the matrix stands for."""
        if np.isnan(number):
            return None
        known = self.categories.get(self.columns[column])
        return float(number) if known is None else known[int(number)]


def learn_encoding(frame: pd.DataFrame, columns: Sequence[str]) -> Encoding:
    """Which `columns` carry anything; constant and empty ones are dropped with the reason."""
    kept: list[str] = []
    categories: dict[str, tuple[str, ...]] = {}
    dropped: dict[str, str] = {}
    for name in columns:
        if _is_text(frame[name]):
            counts = frame[name].value_counts()
            known = sorted(counts.index, key=lambda value: (-counts[value], str(value)))
            categories[name] = tuple(map(str, known[:CATEGORIES_AT_MOST]))
            values = _codes(frame[name], categories[name])
        else:
            values = _numbers(frame[name])
        finite = values[~np.isnan(values)]
        if not finite.size:
            dropped[name] = "no finite value"
        elif np.ptp(finite) == 0 and finite.size == values.size:
            dropped[name] = "constant"
        else:
            kept.append(name)
    used = {name: known for name, known in categories.items() if name in kept}
    return Encoding(tuple(kept), used, dropped)


def _is_text(column: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return False
    present = column.dropna()
    return bool(present.map(lambda value: isinstance(value, str)).any())


def _numbers(column: pd.Series) -> Floats:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _codes(column: pd.Series, known: tuple[str, ...]) -> Floats:
    codes = pd.Categorical(column.astype("object"), categories=list(known)).codes
    return np.where(codes < 0, np.nan, codes.astype(np.float64))


@dataclass(frozen=True)
class Calibrator:
    """A monotone map from a score to a probability."""

    method: Literal["isotonic", "platt"]
    scores: Floats
    probabilities: Floats
    slope: float = 0.0
    intercept: float = 0.0

    def __call__(self, scores: Floats) -> Floats:
        """Probabilities strictly between 0 and 1."""
        if self.method == "platt":
            return np.clip(expit(self.slope * scores + self.intercept), 1e-6, 1 - 1e-6)
        return np.interp(scores, self.scores, self.probabilities)


def learn_calibrator(scores: Floats, labels: NDArray[np.bool_], groups: int) -> Calibrator:
    """Isotonic when at least `ISOTONIC_FROM` persons of the rarer class speak, else Platt.

    `groups` is the number of distinct persons of the rarer class. Isotonic steps are joined by
    straight lines and kept half a person away from 0 and 1.
    """
    if groups < ISOTONIC_FROM:
        return platt(scores, labels)
    steps = IsotonicRegression(out_of_bounds="clip").fit(scores, labels.astype(np.float64))
    chances = np.clip(steps.y_thresholds_, 0.5 / groups, 1 - 0.5 / groups)
    return Calibrator("isotonic", steps.X_thresholds_, chances)


def platt(scores: Floats, labels: NDArray[np.bool_]) -> Calibrator:
    """A sigmoid through the scores, with the smoothed targets of Platt 1999."""
    positives, negatives = int(labels.sum()), int((~labels).sum())
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    target = np.where(labels, high, low)
    doubled = np.concatenate([scores, scores]).reshape(-1, 1)
    outcome = np.repeat([1, 0], len(scores))
    weights = np.concatenate([target, 1 - target])
    line = LogisticRegression(C=1e6).fit(doubled, outcome, sample_weight=weights)
    empty = np.empty(0)
    return Calibrator("platt", empty, empty, float(line.coef_[0, 0]), float(line.intercept_[0]))


@dataclass(frozen=True)
class Classifier:
    """Encoding, trees and calibrator of one training; the trees kept as LightGBM's own text."""

    encoding: Encoding
    trees: str = field(repr=False)
    calibrator: Calibrator

    @cached_property
    def booster(self) -> lightgbm.Booster:
        """The trees, parsed once."""
        return lightgbm.Booster(model_str=self.trees)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("encoding", "trees", "calibrator")}

    def probabilities(self, frame: pd.DataFrame) -> Floats:
        """The calibrated probability of every row."""
        return self.calibrator(_log_odds(self.booster, self.encoding.matrix(frame)))

    def contributions(self, frame: pd.DataFrame) -> Floats:
        """Log-odds that each feature adds before calibration (TreeSHAP), rows × features."""
        matrix = self.encoding.matrix(frame)
        shares = self.booster.predict(matrix, pred_contrib=True, num_threads=READERS)
        return np.asarray(shares)[:, :-1]

    def importance(self) -> dict[str, float]:
        """Each feature's share of the total gain, largest first."""
        gains = self.booster.feature_importance(importance_type="gain").astype(np.float64)
        shares = gains / gains.sum() if gains.sum() > 0 else gains
        ranked = sorted(zip(self.encoding.columns, shares, strict=True), key=lambda x: (-x[1], x))
        return {name: float(share) for name, share in ranked}


def _log_odds(booster: lightgbm.Booster, matrix: Floats) -> Floats:
    if not len(matrix):
        return np.empty(0)
    return np.asarray(booster.predict(matrix, raw_score=True, num_threads=THREADS))


def train(
    frame: pd.DataFrame,
    labels: NDArray[np.bool_],
    persons: pd.Series,
    calibration: NDArray[np.bool_],
    encoding: Encoding,
    seed: int,
) -> Classifier:
    """Trees on all rows, a calibrator on the rows marked `calibration`.

    A calibration row is judged by trees that never saw its person, in `FOLDS` folds, so every
    person serves both and no label window of one person lies on both sides.
    """
    matrix = encoding.matrix(frame)
    fold = person_hash(persons) % FOLDS
    held_out = np.full(len(frame), np.nan)
    for part in range(FOLDS):
        wanted = calibration & (fold == part)
        seen = fold != part
        if wanted.any() and seen.any():
            booster = _boost(matrix[seen], labels[seen], encoding, seed)
            held_out[wanted] = _log_odds(booster, matrix[wanted])
    judged = ~np.isnan(held_out)
    rarer = min(persons[judged & labels].nunique(), persons[judged & ~labels].nunique())
    calibrator = learn_calibrator(held_out[judged], labels[judged], rarer)
    trees = _boost(matrix, labels, encoding, seed).model_to_string()
    return Classifier(encoding, trees, calibrator)


def person_hash(persons: pd.Series) -> NDArray[np.uint64]:
    """A fixed 64-bit hash of every person id; the same in every run and on every machine."""
    return pd.util.hash_array(persons.to_numpy(dtype=object))


def _boost(
    matrix: Floats, labels: NDArray[np.bool_], encoding: Encoding, seed: int
) -> lightgbm.Booster:
    texts = [encoding.columns.index(name) for name in encoding.categories]
    data = lightgbm.Dataset(
        matrix, labels.astype(np.float64), categorical_feature=texts, free_raw_data=True
    )
    return lightgbm.train({**PARAMETERS, "seed": seed}, data, ROUNDS)
