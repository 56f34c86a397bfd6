"""Churn: the chance that a person who has ordered places no order in the label window.

Belongs here: the question, the split of time, the baseline, the gate and the reasons. Keep out:
how a calibrated classifier works (`classification`), how it is judged (`quality`) and what a
label is (the table `features.churn_labels`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml import classification, quality
from ml.cards import ModelCard, Refusal, data_digest, model_version

MODEL = "churn"
KEYS = ("person_id", "as_of")
RECENCY = "days_since_last_order"
ORDERS = "order_count"

PERSONS_PER_CLASS_AT_LEAST = 100
WINDOWS_OF_HISTORY_AT_LEAST = 3
TEST_ROWS_PER_CLASS_AT_LEAST = 20
CALIBRATION_ERROR_AT_MOST = 0.05
TRAINING_ROWS_AT_MOST = 16_000
REASONS_PER_PERSON = 3

SCORE_COLUMNS = ("person_id", "as_of", "churn_probability", "reasons", "model_version")


@dataclass(frozen=True)
class Evaluation:
    """The test slice: what was predicted, what the baseline said, what came. No identities."""

    labels: NDArray[np.bool_]
    probabilities: NDArray[np.float64]
    baseline: NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """A churn model that passed its gate."""

    card: ModelCard
    classifier: classification.Classifier
    evaluation: Evaluation


def fit(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    as_of: datetime,
    *,
    label_window_days: int = 60,
    seed: int = 20240501,
) -> Fitted | Refusal:
    """Train on weekly snapshots, or refuse with a card.

    `features`: `features.person_features`, one row per person_id and as_of; every other column
    is a feature. `labels`: person_id, as_of, is_churned. Labels whose window ends after `as_of`
    are not used. The recipe is judged on the latest labelled snapshot after training on
    snapshots whose label windows had ended by then, as it will be used; then trained again on
    all snapshots. Raises ValueError when a key column is missing.
    """
    window = timedelta(days=label_window_days)
    rows = _labelled(features, labels, pd.Timestamp(as_of), window)
    columns = [name for name in features.columns if name not in KEYS]
    params = {
        **classification.PARAMETERS,
        "rounds": classification.ROUNDS,
        "folds": classification.FOLDS,
        "rows_at_most": TRAINING_ROWS_AT_MOST,
        "label_window_days": label_window_days,
        "seed": seed,
    }
    version = model_version(MODEL, as_of, data_digest(rows), params)
    metrics = {**_described(rows, features, columns), "params": params}
    lack = _lacking(rows, pd.Timestamp(as_of), window)
    if lack:
        return _refusal(version, as_of, metrics, lack)
    tested = _evaluated(rows, columns, window, seed)
    if isinstance(tested, str):
        return _refusal(version, as_of, metrics, tested)
    verdict = _judged(tested)
    metrics.update(verdict)
    weakness = _weakness(verdict)
    if weakness:
        return _refusal(version, as_of, metrics, weakness)
    classifier = _trained(rows, columns, seed)
    metrics["importance"] = classifier.importance()
    metrics["calibration_method"] = classifier.calibrator.method
    metrics["features_dropped"] = dict(classifier.encoding.dropped)
    gain = verdict["auc_gain"]
    reason = f"AUC {verdict['auc']:.3f}, {gain:+.3f} against recency alone on the test snapshot"
    return Fitted(ModelCard(MODEL, version, as_of, metrics, "passed", reason), classifier, tested)


def score(fitted: Fitted, features: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """Rows for `ml.churn_scores`: everybody who has ordered, by the latest row up to `as_of`.

    `reasons` is a JSON list of {feature, value, contribution}, largest first; contributions are
    log-odds before calibration, above zero towards churn. Raises ValueError naming features
    that the model was trained on and `features` lacks.
    """
    rows = _latest(features, pd.Timestamp(as_of))
    classifier = fitted.classifier
    frame = pd.DataFrame(
        {
            "person_id": rows["person_id"],
            "as_of": pd.Series(pd.Timestamp(as_of), index=rows.index, dtype="datetime64[us, UTC]"),
            "churn_probability": classifier.probabilities(rows),
            "reasons": _reasons(classifier, rows),
            "model_version": fitted.card.model_version,
        },
        columns=list(SCORE_COLUMNS),
    )
    return frame.reset_index(drop=True)


def _labelled(
    features: pd.DataFrame, labels: pd.DataFrame, as_of: pd.Timestamp, window: timedelta
) -> pd.DataFrame:
    for name, frame in (("features", features), ("labels", labels)):
        missing = [key for key in KEYS if key not in frame]
        if missing:
            raise ValueError(f"churn {name} lack the column {missing[0]}")
    known = labels.assign(as_of=_instants(labels["as_of"])).dropna(subset=["is_churned"])
    known = known[known["as_of"] + window <= as_of]
    known = known[["person_id", "as_of", "is_churned"]].drop_duplicates(list(KEYS))
    seen = features.assign(as_of=_instants(features["as_of"])).drop_duplicates(list(KEYS))
    rows = seen.merge(known, on=list(KEYS), how="inner")
    rows["is_churned"] = rows["is_churned"].astype(bool)
    return rows.sort_values(["as_of", "person_id"], ignore_index=True)


def _instants(column: pd.Series) -> pd.Series:
    return pd.to_datetime(column, utc=True).dt.as_unit("us")


def _described(rows: pd.DataFrame, features: pd.DataFrame, columns: list[str]) -> dict[str, Any]:
    by_class = rows.groupby("is_churned")["person_id"]
    return {
        "data_window": [rows["as_of"].min(), rows["as_of"].max()] if len(rows) else [None, None],
        "features": columns,
        "rows": len(rows),
        "persons": int(rows["person_id"].nunique()),
        "snapshots": int(rows["as_of"].nunique()),
        "class_rows": {str(key).lower(): int(n) for key, n in by_class.size().items()},
        "class_persons": {str(key).lower(): int(n) for key, n in by_class.nunique().items()},
        "snapshot_rows_read": len(features),
    }


def _lacking(rows: pd.DataFrame, as_of: pd.Timestamp, window: timedelta) -> str | None:
    counts = rows.groupby("is_churned")["person_id"].nunique()
    stayed, churned = int(counts.get(False, 0)), int(counts.get(True, 0))
    if min(stayed, churned) < PERSONS_PER_CLASS_AT_LEAST:
        return (
            f"needs {PERSONS_PER_CLASS_AT_LEAST} persons of each class, has {churned} who "
            f"churned and {stayed} who stayed"
        )
    needed = WINDOWS_OF_HISTORY_AT_LEAST * window
    history = as_of - rows["as_of"].min()
    if history < needed:
        return f"needs {needed.days} days of history, has {history.days}"
    return None


def _evaluated(
    rows: pd.DataFrame, columns: list[str], window: timedelta, seed: int
) -> Evaluation | str:
    """The recipe on the latest snapshot, or why it cannot be tried."""
    latest = rows["as_of"].max()
    test = _thinned(rows[rows["as_of"] == latest])
    earlier = rows[rows["as_of"] + window <= latest]
    for name, part in (("test", test), ("training", earlier)):
        fewest = min(int(part["is_churned"].sum()), int((~part["is_churned"]).sum()))
        if fewest < TEST_ROWS_PER_CLASS_AT_LEAST:
            return (
                f"needs {TEST_ROWS_PER_CLASS_AT_LEAST} rows of each class in the {name} slice, "
                f"has {fewest}"
            )
    if not classification.learn_encoding(earlier, columns).columns:
        return "every feature is empty or constant"
    classifier = _trained(earlier, columns, seed)
    return Evaluation(
        labels=test["is_churned"].to_numpy(dtype=bool),
        probabilities=classifier.probabilities(test),
        baseline=_baseline(earlier, test),
    )


def _trained(rows: pd.DataFrame, columns: list[str], seed: int) -> classification.Classifier:
    """The recipe: thinned snapshots, calibrated on the later third of them."""
    kept = _thinned(rows)
    snapshots = np.sort(kept["as_of"].unique())
    later = snapshots[-max(1, len(snapshots) // 3) :][0]
    return classification.train(
        kept,
        kept["is_churned"].to_numpy(dtype=bool),
        kept["person_id"],
        (kept["as_of"] >= later).to_numpy(dtype=bool),
        classification.learn_encoding(kept, columns),
        seed,
    )


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """At most about `TRAINING_ROWS_AT_MOST`: every n-th snapshot back from the latest, then
    every m-th person. Neighbouring snapshots of a person say nearly the same."""
    sizes = rows.groupby("as_of").size().sort_index(ascending=False)
    for step in range(1, len(sizes) + 1):
        kept = sizes.iloc[::step]
        if kept.sum() <= TRAINING_ROWS_AT_MOST or len(kept) <= 4:
            break
    rows = rows[rows["as_of"].isin(kept.index)]
    share = -(-int(kept.sum()) // TRAINING_ROWS_AT_MOST)
    if share > 1:
        rows = rows[classification.person_hash(rows["person_id"]) // 64 % share == 0]
    return rows.reset_index(drop=True)


def _baseline(earlier: pd.DataFrame, test: pd.DataFrame) -> NDArray[np.float64]:
    """Recency alone, calibrated on the training slice; the base rate where there is none."""
    labels = earlier["is_churned"].to_numpy(dtype=bool)
    if RECENCY not in earlier or not earlier[RECENCY].notna().any():
        return np.full(len(test), labels.mean())
    farthest = earlier[RECENCY].max()
    past, now = (
        np.log1p(part[RECENCY].fillna(farthest).clip(0, farthest).to_numpy(dtype=np.float64))
        for part in (earlier, test)
    )
    return classification.platt(past, labels)(now)


def _judged(tested: Evaluation) -> dict[str, Any]:
    labels, chances, baseline = tested.labels, tested.probabilities, tested.baseline
    area, gain = quality.auc(labels, chances), quality.auc_gain(labels, chances, baseline)
    saved = quality.log_loss_gain(labels, chances, baseline)
    table = quality.reliability(labels, chances)
    return {
        "test_rows": len(labels),
        "test_churned": int(labels.sum()),
        "auc": area.value,
        "auc_interval": [area.lower, area.upper],
        "baseline_auc": quality.auc(labels, baseline).value,
        "auc_gain": gain.value,
        "auc_gain_interval": [gain.lower, gain.upper],
        "log_loss": float(quality.log_losses(labels, chances).mean()),
        "baseline_log_loss": float(quality.log_losses(labels, baseline).mean()),
        "log_loss_gain_interval": [saved.lower, saved.upper],
        "brier": quality.brier(labels, chances),
        "baseline_brier": quality.brier(labels, baseline),
        "calibration_error": table.error,
        "calibration_error_by_chance": table.error_by_chance,
        "lift_of_top_tenth": quality.lift(labels, chances),
        "baseline_lift_of_top_tenth": quality.lift(labels, baseline),
        "reliability": {
            "predicted": table.predicted,
            "observed": table.observed,
            "counts": table.counts,
        },
    }


def _weakness(verdict: Mapping[str, Any]) -> str | None:
    """Why the gate stays shut; None when it opens."""
    if max(verdict["auc_gain_interval"][0], verdict["log_loss_gain_interval"][0]) <= 0:
        return (
            f"not better than recency alone beyond noise: AUC {verdict['auc']:.3f} against "
            f"{verdict['baseline_auc']:.3f} on {verdict['test_rows']} persons"
        )
    allowed = CALIBRATION_ERROR_AT_MOST + verdict["calibration_error_by_chance"]
    if verdict["calibration_error"] > allowed:
        return f"calibration error {verdict['calibration_error']:.3f} above {allowed:.3f}"
    return None


def _refusal(version: str, as_of: datetime, metrics: Mapping[str, Any], reason: str) -> Refusal:
    return Refusal(ModelCard(MODEL, version, as_of, metrics, "refused", reason))


def _latest(features: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    rows = features.assign(as_of=_instants(features["as_of"]))
    rows = rows[rows["as_of"] <= as_of]
    if ORDERS in rows:
        rows = rows[rows[ORDERS].fillna(0) >= 1]
    rows = rows.sort_values(["person_id", "as_of"], kind="stable")
    return rows.drop_duplicates("person_id", keep="last")


def _reasons(classifier: classification.Classifier, rows: pd.DataFrame) -> list[str]:
    if rows.empty:
        return []
    encoding = classifier.encoding
    matrix, shares = encoding.matrix(rows), classifier.contributions(rows)
    largest = np.argsort(-np.abs(shares), axis=1, kind="stable")[:, :REASONS_PER_PERSON]
    return [
        json.dumps(
            [
                {
                    "feature": encoding.columns[column],
                    "value": encoding.value(column, matrix[row, column]),
                    "contribution": round(float(shares[row, column]), 4),
                }
                for column in best
            ]
        )
        for row, best in enumerate(largest)
    ]
