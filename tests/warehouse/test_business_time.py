"""Business time only goes forward, and executing a day again changes nothing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from warehouse import ConfigError, Warehouse, business_time, load_settings

DAY = datetime(2026, 3, 2, 6, tzinfo=UTC)


def test_time_advances_and_never_goes_back(warehouse: Warehouse, tmp_path: Path) -> None:
    config = tmp_path / "loopdrive.yml"
    config.write_text("workspace: shop\n")
    settings = load_settings(config, environ={})
    with pytest.raises(ConfigError, match="no as_of yet"):
        business_time.advance(warehouse, settings)
    business_time.advance(warehouse, settings, DAY)
    business_time.advance(warehouse, settings, DAY + timedelta(days=1))
    again = business_time.advance(warehouse, settings)
    assert again == DAY + timedelta(days=1)
    row = warehouse.rows("select as_of, previous_as_of from raw.workspace")
    assert row == [{"as_of": DAY + timedelta(days=1), "previous_as_of": DAY}]
    with pytest.raises(ConfigError, match="rehearse"):
        business_time.advance(warehouse, settings, DAY)


def test_days_keep_their_local_hour_across_daylight_saving() -> None:
    last = datetime(2026, 3, 30, 5, tzinfo=UTC)  # 06:00 in London, a day after the clocks change
    days = business_time.days_ending(last, 3, "Europe/London")
    assert [day.hour for day in days] == [6, 5, 5]
