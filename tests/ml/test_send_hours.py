"""Hours are local, allowed, mostly the best, and drawn with the stated chance."""

from datetime import UTC, datetime

import numpy as np
import pytest

from ml.send_hours import choose_hours, upcoming_hours

MONDAY = datetime(2026, 3, 2, 6, tzinfo=UTC)
BY_DAY = np.tile((np.arange(24) >= 8) & (np.arange(24) < 21), 7)


def test_hours_are_those_of_the_persons_own_week():
    hours = upcoming_hours(
        MONDAY, ["Europe/Berlin", "America/New_York", None, "No/Where"], "UTC", 3
    )
    assert hours.tolist() == [[7, 8, 9], [1, 2, 3], [6, 7, 8], [6, 7, 8]]
    sunday = datetime(2026, 3, 1, 22, tzinfo=UTC)
    assert upcoming_hours(sunday, ["Europe/Berlin"], "UTC", 3).tolist() == [[167, 0, 1]]


def test_the_hour_that_the_clock_skips_is_never_offered():
    before = datetime(2026, 3, 28, 23, tzinfo=UTC)
    found = upcoming_hours(before, ["Europe/Berlin"], "UTC", 4)[0] % 24
    assert found.tolist() == [0, 1, 3, 4]
    autumn = datetime(2026, 10, 24, 23, tzinfo=UTC)
    assert (upcoming_hours(autumn, ["Europe/Berlin"], "UTC", 4)[0] % 24).tolist() == [1, 2, 2, 3]


def test_draws_follow_their_propensities_and_stay_in_allowed_hours():
    count = 20_000
    curve = np.tile(np.linspace(0.1, 0.3, 24), 7)
    hours = upcoming_hours(MONDAY, ["UTC"] * count, "UTC", 24)
    keys = [f"m{k}" for k in range(count)]
    choice = choose_hours(np.tile(curve, (count, 1)), hours, BY_DAY, keys, seed=3)
    local = hours[0][choice.offset_hours]
    assert BY_DAY[local].all()
    assert np.mean(local % 24 == 20) == pytest.approx(0.9 + 0.1 / 13, abs=0.01)
    assert choice.propensity[local % 24 == 20][0] == pytest.approx(0.9 + 0.1 / 13)
    assert len(np.unique(local)) == 13
    again = choose_hours(np.tile(curve, (5, 1)), hours[:5], BY_DAY, keys[:5], seed=3)
    assert again.offset_hours.tolist() == choice.offset_hours[:5].tolist()


def test_equal_hours_share_and_no_allowed_hour_is_none():
    hours = upcoming_hours(MONDAY, ["UTC"] * 1000, "UTC", 24)
    keys = [f"m{k}" for k in range(1000)]
    flat = np.full((1000, 168), 0.1)
    assert len(np.unique(choose_hours(flat, hours, BY_DAY, keys, 1, 0.0).offset_hours)) == 13
    none = choose_hours(flat, hours, np.zeros(168, dtype=bool), keys, 1)
    assert set(none.offset_hours) == {-1}
    assert set(none.propensity) == {0.0}
