"""Cards name their training exactly, and a refused model is never a champion."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ml.cards import ModelCard, card_frame, card_from_json, data_digest, due, model_version, plain

AS_OF = datetime(2024, 5, 6, 6, tzinfo=UTC)


def card(gate: str = "passed", version: str = "v1") -> ModelCard:
    metrics = {"auc": np.float64(0.8), "interval": (0.7, np.nan), "rows": np.int64(5)}
    return ModelCard("churn", version, AS_OF, metrics, gate, "better than recency")


def test_version_changes_with_name_time_data_and_parameters_only() -> None:
    data = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None]})
    version = model_version("churn", AS_OF, data_digest(data), {"leaves": 15, "seed": 1})
    again = model_version("churn", AS_OF, data_digest(data.copy()), {"seed": 1, "leaves": 15})
    assert version == again
    others = {
        model_version("value", AS_OF, data_digest(data), {"leaves": 15, "seed": 1}),
        model_version("churn", AS_OF + timedelta(days=1), data_digest(data), {"leaves": 15}),
        model_version("churn", AS_OF, data_digest(data.assign(a=[1.0, 3.0])), {"leaves": 15}),
        model_version("churn", AS_OF, data_digest(data.rename(columns={"a": "c"})), {"leaves": 15}),
        model_version("churn", AS_OF, data_digest(data), {"leaves": 16, "seed": 1}),
    }
    assert version not in others
    assert len(others) == 5


def test_card_frame_holds_json_metrics_and_one_champion() -> None:
    frame = card_frame([card(), card(version="v2")], {"churn": "v2"})
    assert frame["is_champion"].tolist() == [False, True]
    metrics = json.loads(frame.loc[0, "metrics"])
    assert metrics == {"auc": 0.8, "interval": [0.7, None], "rows": 5}
    assert (frame["trained_at"] == AS_OF).all()


def test_a_refused_card_cannot_be_champion() -> None:
    with pytest.raises(ValueError, match="was refused"):
        card_frame([card("refused")], {"churn": "v1"})


def test_card_survives_json() -> None:
    back = card_from_json(card().as_json())
    assert back.as_json() == card().as_json()
    assert back.as_of == AS_OF


def test_training_is_due_without_a_champion_or_after_a_week() -> None:
    assert due(AS_OF, None)
    assert due(AS_OF, AS_OF - timedelta(days=7))
    assert not due(AS_OF, AS_OF)
    assert not due(AS_OF, AS_OF - timedelta(days=6, hours=23))
    assert due(AS_OF, AS_OF - timedelta(days=1), every_days=1)


def test_plain_leaves_nothing_json_cannot_say() -> None:
    value = {"t": AS_OF, 1: np.array([1.0, np.inf]), "nat": pd.NaT, "flag": np.bool_(True)}
    said = {"t": AS_OF.isoformat(), "1": [1.0, None], "nat": None, "flag": True}
    assert plain(value) == said
