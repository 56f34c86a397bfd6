"""The hour at which to send, from curves of response over the local week.

Here: looking curves up, and drawing one hour among those allowed. Not here: learning the curves
(`ml.send_time`), which hours are allowed (guardrails say), when a message expires.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ml.hour_pooling import HOURS
from ml.policy import keyed_uniforms

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EXPLORATION = 0.1


@dataclass(frozen=True)
class HourBeliefs:
    """probabilities: float[n, 168]. best_hour_of_week: int[n]. source: str[n], person | persona |
    population, or 'none' where the channel has no curve and every hour counts alike."""

    probabilities: Floats
    best_hour_of_week: Ints
    source: NDArray[np.object_]


@dataclass(frozen=True)
class HourChoice:
    """offset_hours: int[n], full hours after `as_of`, -1 where no hour is allowed. propensity:
    float[n], chance with which that hour was drawn."""

    offset_hours: Ints
    propensity: Floats


def best_hours(
    times: pd.DataFrame, priors: pd.DataFrame, persons: pd.DataFrame, channel: str
) -> HourBeliefs:
    """The curve of each person on one channel: own, else persona's, else everybody's.

    times, priors: ml.send_times and ml.send_time_priors. persons: person_id, persona_id (null
    allowed), one row per person wanted, in the wanted order.
    """
    own = times[times["channel"] == channel]
    shared = priors[priors["channel"] == channel]
    of_persona = shared[shared["persona_id"].notna()]
    house = shared[shared["persona_id"].isna()]
    table = np.full((len(persons), HOURS), 1.0 / HOURS)
    source = np.full(len(persons), "none", dtype=object)
    if len(house):
        table[:], source[:] = house["probabilities"].iloc[0], "population"
    for frame, key, name in ((of_persona, "persona_id", "persona"), (own, "person_id", "person")):
        if frame.empty:
            continue
        index = pd.Index(frame[key], dtype=object)
        place = index.get_indexer(pd.Index(persons[key], dtype=object))
        curves = np.stack(frame["probabilities"].to_list())
        table[place >= 0], source[place >= 0] = curves[place[place >= 0]], name
    return HourBeliefs(table, table.argmax(axis=1), source)


def upcoming_hours(
    as_of: datetime, zones: Sequence[str | None], default_zone: str, horizon_hours: int = 24
) -> Ints:
    """int[n, horizon]: hour of the local week (0 = Monday 00:00) at as_of + 0, 1, 2 … hours.

    Each instant is converted by itself, so days that change their clock come out right. A zone
    that is missing, or that the time zone database does not know, is `default_zone`. `as_of`
    must be aware.
    """
    instants = [as_of.astimezone(UTC) + timedelta(hours=k) for k in range(horizon_hours)]
    codes, names = pd.factorize(pd.Series(list(zones), dtype=object), use_na_sentinel=True)
    rows = [_local_hours(instants, _zone(str(name), default_zone)) for name in names]
    rows.append(_local_hours(instants, ZoneInfo(default_zone)))
    return np.array(rows, dtype=np.int64)[codes]


def choose_hours(
    probabilities: Floats,
    hours_of_week: Ints,
    allowed: ArrayLike,
    keys: ArrayLike,
    seed: int,
    exploration: float = EXPLORATION,
) -> HourChoice:
    """Draw an hour for each message: the likeliest allowed one, now and then any allowed one.

    probabilities: float[n, 168] of `best_hours`. hours_of_week: int[n, horizon] of
    `upcoming_hours`. allowed: bool[168] or bool[n, 168] over local hours. keys: str[n], one per
    message. With chance `exploration` the hour is uniform over the allowed ones, so that every
    hour keeps being tried; equally likely best hours share the rest.
    """
    rows = np.arange(len(hours_of_week))[:, None]
    can = np.broadcast_to(np.asarray(allowed, dtype=bool), probabilities.shape)
    is_open = can[rows, hours_of_week]
    chance = np.where(is_open, probabilities[rows, hours_of_week], -1.0)
    is_best = is_open & (chance == chance.max(axis=1, keepdims=True))
    weights = exploration * _shares(is_open) + (1 - exploration) * _shares(is_best)
    reached = np.cumsum(weights, axis=1)
    drawn = reached > (keyed_uniforms(keys, seed, "hour") * reached[:, -1])[:, None]
    offset = drawn.argmax(axis=1)
    has_hour = is_open.any(axis=1)
    return HourChoice(
        offset_hours=np.where(has_hour, offset, -1),
        propensity=np.where(has_hour, weights[rows[:, 0], offset], 0.0),
    )


def _shares(marked: NDArray[np.bool_]) -> Floats:
    return marked / np.maximum(marked.sum(axis=1, keepdims=True), 1)


def _zone(name: str, default: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo(default)


def _local_hours(instants: list[datetime], zone: ZoneInfo) -> list[int]:
    local = [instant.astimezone(zone) for instant in instants]
    return [moment.weekday() * 24 + moment.hour for moment in local]
