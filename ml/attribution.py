"""What each channel adds: removal effects of a Markov chain, and the values of coalitions.

Belongs here: the arithmetic over journeys counted by path, and which months it is due for. Keep
out: building paths, and sharing a conversion out among its touches (both are dbt's).

Sources: Anderl, Becker, von Wangenheim & Schumann, "Mapping the customer journey" (2016), for
the chain; Shapley, "A value for n-person games" (1953), and Zhao, Mahboobi & Bagheri, "Shapley
value methods for attribution modeling in online advertising" (2018), for coalitions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

VERSION = "1"
"""Names this arithmetic in what it writes; another one leaves the months it finds alone."""

SEPARATOR = " > "
EFFECT_COLUMNS = [
    "month", "channel", "removal_effect", "credited_conversions", "shapley_conversions", "version",
]  # fmt: skip
COALITION_COLUMNS = ["month", "channels", "journey_count", "conversion_count", "version"]


@dataclass(frozen=True)
class Journeys:
    """Journeys counted by path: P paths over N channels, S steps in all.

    `channels`: N names, sorted. `steps`: int[S], the channels of all paths one after the other.
    `starts`: int[P + 1], where each path begins, and S. `conversions`, `nulls`: float[P], how
    many journeys of that path ended in a conversion, and in none. No path is empty.
    """

    channels: tuple[str, ...]
    steps: Integers
    starts: Integers
    conversions: Floats
    nulls: Floats

    @property
    def conversion_count(self) -> float:
        """Conversions of all paths."""
        return float(self.conversions.sum())


@dataclass(frozen=True)
class Effects:
    """Removal effects: float[N], 0-1, and each channel's conversions, which sum to all."""

    channels: tuple[str, ...]
    removal_effect: Floats
    credited_conversions: Floats
    conversion_probability: float


def journeys(paths: pa.Array, conversions: pa.Array, nulls: pa.Array) -> Journeys:
    """Count journeys by path.

    paths: strings ("a > b > c") or lists of strings, one row per journey or per group of equal
    journeys; conversions, nulls: numbers, as many rows. Chunked arrays are taken as well. Rows
    without a step are left out.
    Raises ValueError when a count is negative or missing.
    """
    counts = [_counts(column) for column in (conversions, nulls)]
    if pa.types.is_list(paths.type) or pa.types.is_large_list(paths.type):
        split = _one_chunk(paths)
    else:
        encoded = _one_chunk(paths).dictionary_encode()
        place = encoded.indices.to_numpy(zero_copy_only=False)
        number = len(encoded.dictionary)
        counts = [_summed(place, count, number) for count in counts]
        split = pc.split_pattern(encoded.dictionary, SEPARATOR)
        empty = pc.equal(encoded.dictionary, "")
        if pc.any(empty).as_py():
            split = pc.if_else(empty, _NO_STEPS, split)
    lengths = pc.list_value_length(split).to_numpy(zero_copy_only=False).astype(np.int64)
    codes = split.flatten().dictionary_encode()
    names = np.array(codes.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names)
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    kept = lengths > 0
    starts = np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64)
    steps = rank[codes.indices.to_numpy(zero_copy_only=False)]
    return Journeys(tuple(names[order]), steps, starts, counts[0][kept], counts[1][kept])


_NO_STEPS = pa.scalar([], type=pa.list_(pa.string()))


def _one_chunk(column: pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _counts(column: pa.Array) -> Floats:
    numbers = column.cast(pa.float64()).to_numpy().astype(np.float64)
    if not bool((numbers >= 0).all()):
        raise ValueError("counts of journeys are numbers of at least zero")
    return numbers


def _summed(place: Integers, weight: Floats, size: int) -> Floats:
    return np.bincount(place, weight, size).astype(np.float64, copy=False)


def touch_credits(counted: Journeys) -> pd.DataFrame:
    """Conversions by channel when the first, the last or every step alike takes the credit.

    One row per channel: first_touch, last_touch, linear.
    """
    size, begin, end = len(counted.channels), counted.starts[:-1], counted.starts[1:]
    even = np.repeat(counted.conversions / (end - begin), end - begin)
    return pd.DataFrame(
        {
            "first_touch": _summed(counted.steps[begin], counted.conversions, size),
            "last_touch": _summed(counted.steps[end - 1], counted.conversions, size),
            "linear": _summed(counted.steps, even, size),
        },
        index=pd.Index(counted.channels, name="channel"),
    )


def transitions(counted: Journeys) -> tuple[Floats, Floats]:
    """How often each step followed which: float[N + 1, N + 2], and visits float[N + 1].

    Rows: the start, then the channels. Columns: the channels, then conversion, then no
    conversion. A channel that follows itself is a transition like any other.
    """
    size, begin, end = len(counted.channels), counted.starts[:-1], counted.starts[1:]
    weight = counted.conversions + counted.nulls
    before = np.empty(len(counted.steps), dtype=np.int64)
    before[1:] = counted.steps[:-1] + 1
    before[begin] = 0
    width = size + 2
    cells = (size + 1) * width
    last = (counted.steps[end - 1] + 1) * width + size
    followed = _summed(before * width + counted.steps, np.repeat(weight, end - begin), cells)
    ended = _summed(last, counted.conversions, cells) + _summed(last + 1, counted.nulls, cells)
    matrix = (followed + ended).reshape(size + 1, width)
    return matrix, matrix.sum(axis=1)


def removal_effects(counted: Journeys) -> Effects:
    """The share of conversions that would be lost without a channel, exactly.

    The journeys make an absorbing Markov chain of order 1 with transition matrix Q among the
    channels, s from the start and c into conversion. With N = (I - Q)^-1, a journey converts
    with p = s N c. Removing channel k sends whoever reaches it to no conversion: that loses
    h_k x_k, with x = N c and h_k = (s N)_k / N_kk the probability of ever reaching k. The
    effect is h_k x_k / p; credited conversions are all conversions in proportion to effects.

    Raises ValueError when no journey converts.
    """
    if not counted.conversion_count:
        raise ValueError("no journey converts: nothing can be removed")
    matrix, visits = transitions(counted)
    size = len(counted.channels)
    share = matrix / np.maximum(visits, 1e-300)[:, None]
    start, inner, converting = share[0, :size], share[1:, :size], share[1:, size]
    visited = visits[1:] > 0  # a channel of paths that count nothing is never reached
    inverse = np.linalg.inv(np.eye(size) - inner * visited[:, None])
    reached = start @ inverse / np.diag(inverse)
    from_here = inverse @ (converting * visited)
    probability = float(start @ from_here)
    effect = np.clip(reached * from_here / probability, 0.0, 1.0)
    credited = effect / effect.sum() * counted.conversion_count
    return Effects(counted.channels, effect, credited, probability)


def coalitions(counted: Journeys) -> pd.DataFrame:
    """Journeys by the set of channels they met: channels (sorted list), journey_count,
    conversion_count; one row per set, in order of the sets.
    """
    found: dict[tuple[str, ...], Floats] = {}
    ends = zip(counted.starts[:-1], counted.starts[1:], strict=True)
    for path, (begin, end) in enumerate(ends):
        met = tuple(counted.channels[code] for code in np.unique(counted.steps[begin:end]))
        counts = found.setdefault(met, np.zeros(2))
        counts += (counted.conversions[path] + counted.nulls[path], counted.conversions[path])
    rows = sorted((met, counts) for met, counts in found.items() if counts[0] > 0)
    return pd.DataFrame(
        {
            "channels": [list(met) for met, _ in rows],
            "journey_count": [round(counts[0]) for _, counts in rows],
            "conversion_count": [round(counts[1]) for _, counts in rows],
        }
    )


def shapley_conversions(coalition_rows: pd.DataFrame, channels: Sequence[str]) -> Floats:
    """Shapley value of each channel, float[N], in the game of the month's conversions.

    The worth of a set of channels is the conversions of the journeys that met only channels of
    it. That game is a sum of unanimity games, so its Shapley value has a closed form: every
    coalition's conversions in equal parts to its members. They sum to all conversions.
    """
    place = {channel: index for index, channel in enumerate(channels)}
    values = np.zeros(len(channels))
    met = zip(coalition_rows["channels"], coalition_rows["conversion_count"], strict=True)
    for members, conversions in met:
        values[[place[channel] for channel in members]] += conversions / len(members)
    return values


def due(as_of: datetime, time_zone: str, latest: date | None) -> tuple[date, date] | None:
    """The months to estimate: later than the first of two days, earlier than the second.

    latest: the latest month that was estimated, None for none. Months that are over are closed;
    None when there is no later one. A month that came after its successor stays without.
    """
    running = as_of.astimezone(ZoneInfo(time_zone)).date().replace(day=1)
    if latest is None:
        return date.min, running
    following = (latest.replace(day=1) + timedelta(days=31)).replace(day=1)
    return (latest, running) if following < running else None


def estimate(paths: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Removal effects and coalitions of each month, from journeys counted by path.

    paths: month (date), path (list of channels), conversion_count, null_count. Returns rows of
    ml.channel_removal_effects and of ml.channel_coalitions. A month without a conversion has
    neither: there is nothing to explain.
    """
    effects, sets = [], []
    for month, rows in paths.sort_values("month", kind="stable").groupby("month"):
        if not rows["conversion_count"].sum():
            continue
        own_effects, own_sets = _estimated(rows)
        effects.append(own_effects.assign(month=month, version=VERSION))
        sets.append(own_sets.assign(month=month, version=VERSION))
    return _stacked(effects, EFFECT_COLUMNS), _stacked(sets, COALITION_COLUMNS)


def _estimated(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    counted = journeys(
        pa.array([list(path) for path in rows["path"]], type=pa.list_(pa.string())),
        pa.array(rows["conversion_count"].to_numpy(dtype=np.float64)),
        pa.array(rows["null_count"].to_numpy(dtype=np.float64)),
    )
    found, sets = removal_effects(counted), coalitions(counted)
    effects = pd.DataFrame(
        {
            "channel": list(found.channels),
            "removal_effect": found.removal_effect,
            "credited_conversions": found.credited_conversions,
            "shapley_conversions": shapley_conversions(sets, found.channels),
        }
    )
    return effects, sets


def _stacked(frames: Iterable[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    kept = list(frames)
    if not kept:
        return pd.DataFrame(columns=columns)
    return pd.concat(kept, ignore_index=True)[columns]
