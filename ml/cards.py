"""Model cards: what was trained, on what, how good it is, and whether it may publish.

Belongs here: the card, the refusal, versions and the training rhythm. Keep out: anything that
knows one model from another.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd

Gate = Literal["passed", "refused"]

CARD_COLUMNS = (
    "model",
    "model_version",
    "trained_at",
    "as_of",
    "metrics",
    "gate",
    "reason",
    "is_champion",
)


@dataclass(frozen=True)
class ModelCard:
    """One training of one model. `metrics` also holds data window, features, rows, classes."""

    model: str
    model_version: str
    as_of: datetime
    metrics: Mapping[str, Any] = field(repr=False)
    gate: Gate
    reason: str

    def as_json(self) -> str:
        """The card as one JSON object with sorted keys: equal cards give equal bytes."""
        return json.dumps(
            {
                "model": self.model,
                "model_version": self.model_version,
                "as_of": self.as_of.isoformat(),
                "metrics": plain(self.metrics),
                "gate": self.gate,
                "reason": self.reason,
            },
            sort_keys=True,
        )


@dataclass(frozen=True)
class Refusal:
    """A model that must not publish; its card says what is missing or wrong."""

    card: ModelCard

    @property
    def reason(self) -> str:
        """Why, in one sentence."""
        return self.card.reason


def card_from_json(text: str) -> ModelCard:
    """The card that `ModelCard.as_json` wrote."""
    fields = json.loads(text)
    return ModelCard(**{**fields, "as_of": datetime.fromisoformat(fields["as_of"])})


def plain(value: Any) -> Any:
    """`value` in JSON's own types: numpy scalars and arrays unpacked, non-finite numbers null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return None if pd.isna(value) else value.isoformat()
    return value


def data_digest(*frames: pd.DataFrame | np.ndarray) -> str:
    """A digest of the values and column names of `frames`, in their given order."""
    digest = hashlib.sha256()
    for frame in frames:
        table = pd.DataFrame(frame)
        digest.update("\x1f".join(map(str, table.columns)).encode())
        rows = pd.util.hash_pandas_object(table, index=False)
        digest.update(rows.to_numpy(dtype="<u8").tobytes())
    return digest.hexdigest()


def model_version(model: str, as_of: datetime, digest: str, params: Mapping[str, Any]) -> str:
    """16 hex digits that name a training: same name, time, data and parameters, same version."""
    parts = [model, as_of.isoformat(), digest, json.dumps(plain(params), sort_keys=True)]
    return hashlib.sha256("\x1e".join(parts).encode()).hexdigest()[:16]


def due(as_of: datetime, champion_as_of: datetime | None, every_days: int = 7) -> bool:
    """Whether to train: there is no champion, or it is at least `every_days` old."""
    return champion_as_of is None or as_of - champion_as_of >= timedelta(days=every_days)


def card_frame(cards: Iterable[ModelCard], champion: Mapping[str, str]) -> pd.DataFrame:
    """Rows for `ml.model_cards`; `champion` maps a model to the version that now publishes.

    A card whose version is not the champion's gets `is_champion` false. Raises ValueError when
    a champion's own card was refused.
    """
    rows = []
    for card in cards:
        is_champion = champion.get(card.model) == card.model_version
        if is_champion and card.gate == "refused":
            raise ValueError(f"{card.model} {card.model_version} was refused: {card.reason}")
        metrics = json.dumps(plain(card.metrics), sort_keys=True)
        rows.append(
            (
                card.model,
                card.model_version,
                card.as_of,
                card.as_of,
                metrics,
                card.gate,
                card.reason,
                is_champion,
            )
        )
    return pd.DataFrame(rows, columns=list(CARD_COLUMNS))
