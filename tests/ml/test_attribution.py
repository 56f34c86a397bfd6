"""Removal effects and coalition values against published totals, definitions and planted truth."""

import csv
import gzip
import itertools
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ml import attribution
from ml.attribution import Journeys, coalitions, journeys, removal_effects, shapley_conversions

CHANNELS = ("a", "b", "c", "d")


def counted(paths: Mapping[str, tuple[int, int]]) -> Journeys:
    """Journeys from path -> (conversions, nulls)."""
    return journeys(
        pa.array(list(paths)),
        pa.array([counts[0] for counts in paths.values()]),
        pa.array([counts[1] for counts in paths.values()]),
    )


def random_journeys(seed: int) -> Journeys:
    draw = np.random.default_rng(seed)
    paths = [
        attribution.SEPARATOR.join(draw.choice(CHANNELS, draw.integers(1, 6))) for _ in range(40)
    ]
    return counted({path: (int(draw.integers(1, 9)), int(draw.integers(9))) for path in paths})


@pytest.mark.parametrize(("column", "with_nulls"), [("null0", 0), ("null1", 1)])
def test_markov_totals_are_the_exact_ones(shared_data: Path, column: str, with_nulls: int) -> None:
    folder = shared_data / "attribution_paths"
    if not folder.is_dir():
        pytest.skip("attribution_paths is not among the shared data")
    with gzip.open(folder / "eeghor_mta_data.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    with (folder / "reference_attribution.csv").open() as file:
        reference = {row[""]: row for row in csv.DictReader(file)}
    found = journeys(
        pa.array([row["path"] for row in rows]),
        pa.array([int(row["total_conversions"]) for row in rows]),
        pa.array([with_nulls * int(row["total_null"]) for row in rows]),
    )
    effects = removal_effects(found)
    assert set(effects.channels) == set(reference)
    totals = dict(zip(effects.channels, effects.credited_conversions, strict=True))
    removal = dict(zip(effects.channels, effects.removal_effect, strict=True))
    for channel, row in reference.items():
        assert totals[channel] == pytest.approx(float(row[f"mk1_conv_{column}"]), abs=1e-6)
        assert removal[channel] == pytest.approx(float(row[f"re_{column}"]), abs=1e-9)
    if not with_nulls:
        named = {"alpha": 5260.07, "iota": 3899.25, "eta": 3347.77, "beta": 2585.41}
        assert {name: round(totals[name], 2) for name in named} == named
    else:
        assert round(totals["alpha"], 2) == 5344.95
        assert effects.conversion_probability == pytest.approx(0.223845, abs=5e-7)
    touches = attribution.touch_credits(found)
    for model, prefix in (("first_touch", "first"), ("last_touch", "last"), ("linear", "lin")):
        for channel, row in reference.items():
            expected = float(row[f"{prefix}_conv"])
            assert touches.loc[channel, model] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_effects_are_those_of_a_chain_without_the_channel(seed: int) -> None:
    """The definition, slowly: take the channel out, solve the chain again."""
    found = random_journeys(seed)
    effects = removal_effects(found)
    matrix, visits = attribution.transitions(found)
    share = matrix / np.maximum(visits, 1)[:, None]

    def converted(without: int | None) -> float:
        inner = share.copy()
        if without is not None:
            inner[:, without] = 0
        size = len(found.channels)
        from_here = np.linalg.solve(np.eye(size) - inner[1:, :size], inner[1:, size])
        return float(inner[0, :size] @ from_here)

    base = converted(None)
    lost = [1 - converted(k) / base for k in range(len(found.channels))]
    assert effects.removal_effect == pytest.approx(lost, abs=1e-12)
    assert effects.conversion_probability == pytest.approx(base, abs=1e-12)
    assert effects.credited_conversions.sum() == pytest.approx(found.conversion_count)


def test_the_effects_of_a_planted_chain_are_found() -> None:
    """100,000 journeys walked through a known chain give its effects back within 0.01."""
    chain = np.array(  # rows: start, a, b; columns: a, b, conversion, none
        [[0.6, 0.4, 0, 0], [0.2, 0.3, 0.1, 0.4], [0.1, 0.1, 0.3, 0.5]]
    )
    draw = np.random.default_rng(3)
    paths: dict[str, tuple[int, int]] = {}
    for uniforms in draw.random((100_000, 40)):
        state, steps = 0, []
        for uniform in uniforms:
            state = int(np.searchsorted(chain[state].cumsum(), uniform)) + 1
            if state > 2:
                break
            steps.append("ab"[state - 1])
        path = attribution.SEPARATOR.join(steps)
        conversions, nulls = paths.get(path, (0, 0))
        paths[path] = (conversions + (state == 3), nulls + (state == 4))
    inverse = np.linalg.inv(np.eye(2) - chain[1:, :2])
    base = chain[0, :2] @ inverse @ chain[1:, 2]
    only = [chain[0, k] * chain[1 + k, 2] / (1 - chain[1 + k, k]) for k in (1, 0)]
    found = removal_effects(counted(paths)).removal_effect
    assert found == pytest.approx([1 - value / base for value in only], abs=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_shapley_values_are_those_of_all_orders(seed: int) -> None:
    """The definition, slowly: the mean gain over every order in which channels may come."""
    found = random_journeys(seed)
    sets = coalitions(found)
    worth = {
        frozenset(met): conversions
        for met, conversions in zip(sets["channels"], sets["conversion_count"], strict=True)
    }

    def value(of: frozenset[str]) -> float:
        return sum(conversions for met, conversions in worth.items() if met <= of)

    gains = dict.fromkeys(found.channels, 0.0)
    for order in itertools.permutations(found.channels):
        for place, channel in enumerate(order):
            before = frozenset(order[:place])
            gains[channel] += value(before | {channel}) - value(before)
    expected = [gains[channel] / math.factorial(len(found.channels)) for channel in found.channels]
    values = shapley_conversions(sets, found.channels)
    assert values == pytest.approx(expected)
    assert values.sum() == pytest.approx(found.conversion_count)


def test_coalitions_count_every_journey_once() -> None:
    sets = coalitions(counted({"b > a": (2, 1), "a > b > a": (1, 0), "a": (0, 4), "c": (0, 0)}))
    assert sets.to_dict("records") == [
        {"channels": ["a"], "journey_count": 4, "conversion_count": 0},
        {"channels": ["a", "b"], "journey_count": 4, "conversion_count": 3},
    ]


def test_lists_and_strings_count_the_same() -> None:
    strings = counted({"b > a": (2, 1), "a": (0, 4)})
    lists = journeys(pa.array([["a"], ["b", "a"], []]), pa.array([0, 2, 7]), pa.array([4, 1, 7]))
    assert strings.channels == lists.channels
    assert removal_effects(strings).removal_effect == pytest.approx(
        removal_effects(lists).removal_effect
    )


def test_what_cannot_be_counted_or_removed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least zero"):
        counted({"a": (-1, 0)})
    with pytest.raises(ValueError, match="no journey converts"):
        removal_effects(counted({"a": (0, 3)}))


@pytest.mark.parametrize(
    ("as_of", "latest", "expected"),
    [
        # The last minute of March in Berlin is 21:59 in UTC: it is over at 22:00.
        ("2026-03-31T21:59", None, (date.min, date(2026, 3, 1))),
        ("2026-03-31T22:00", None, (date.min, date(2026, 4, 1))),
        ("2026-03-31T21:59", date(2026, 2, 1), None),
        ("2026-03-31T22:00", date(2026, 2, 1), (date(2026, 2, 1), date(2026, 4, 1))),
        ("2026-06-15T06:00", date(2026, 2, 1), (date(2026, 2, 1), date(2026, 6, 1))),
        ("2026-01-15T06:00", date(2025, 12, 1), None),
    ],
)
def test_a_month_is_due_once_it_is_over(
    as_of: str, latest: date | None, expected: tuple[date, date] | None
) -> None:
    moment = datetime.fromisoformat(as_of).replace(tzinfo=UTC)
    assert attribution.due(moment, "Europe/Berlin", latest) == expected


def test_months_are_estimated_apart_and_a_month_without_conversions_is_not() -> None:
    paths = pd.DataFrame(
        {
            "month": [date(2026, 2, 1), date(2026, 1, 1), date(2026, 1, 1), date(2026, 3, 1)],
            "path": [["b"], ["a"], ["a", "b"], ["a"]],
            "conversion_count": [3, 1, 1, 0],
            "null_count": [1, 1, 0, 5],
        }
    )
    effects, sets = attribution.estimate(paths)
    assert list(effects.columns) == attribution.EFFECT_COLUMNS
    assert list(sets.columns) == attribution.COALITION_COLUMNS
    assert effects[["month", "channel", "removal_effect"]].values.tolist() == [
        [date(2026, 1, 1), "a", 1.0],
        [date(2026, 1, 1), "b", 0.5],
        [date(2026, 2, 1), "b", 1.0],
    ]
    assert sets["month"].nunique() == 2
    assert all(len(frame) == 0 for frame in attribution.estimate(paths[3:]))
