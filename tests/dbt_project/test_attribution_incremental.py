"""A day's delta gives the tables that a full rebuild gives, on small random histories.

Belongs here: incremental equals full refresh, a second run changes nothing, a day touches what
it brought.
"""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.dbt_project import attribution_days as days
from tests.dbt_project.attribution_days import FIRST_DAY, HISTORY_DAYS, LIVED_DAYS
from tests.dbt_project.dbt_building import land_batch
from warehouse import Warehouse


@pytest.mark.parametrize(
    "seed",
    [pytest.param(n, marks=pytest.mark.verify) for n in (7, 11)],
)
def test_incremental_attribution_equals_a_full_refresh(
    warehouse: Warehouse, tmp_path: Path, seed: int
) -> None:
    """Late events, orders and refunds told again, restated spend, rates, a merge, new personas,
    and a month that closes on the way.
    """
    draw = random.Random(seed)
    history = days.history(draw, 260)
    late = [event for event in history if draw.random() < 0.1]
    first_date = (FIRST_DAY - timedelta(days=HISTORY_DAYS)).date()
    land_batch(warehouse, "raw.currency_rates", days.rates(first_date + timedelta(days=9), 30))
    for day in range(LIVED_DAYS):
        as_of = FIRST_DAY + timedelta(days=day)
        since = as_of - timedelta(days=1) if day else datetime.min.replace(tzinfo=UTC)
        fresh = [e for e in history if since < e["occurred_at"] <= as_of and e not in late]
        overdue = [e for e in late if e["occurred_at"] <= as_of] if day == 2 else []
        land_batch(warehouse, "raw.events", fresh + overdue)
        back = range(HISTORY_DAYS) if day == 0 else (0, 3)
        for number in back:
            days_ago = (as_of - timedelta(days=number)).date()
            land_batch(warehouse, "raw.ad_spend", days.spend(days_ago, str(10 + day + number / 7)))
        if day == 2:
            land_batch(
                warehouse, "raw.ad_spend", days.spend(as_of.date(), campaign_name="autumn")[1:2]
            )
            land_batch(warehouse, "raw.currency_rates", days.rates(first_date, 8))
        days.link(warehouse, absorbed=(0,) if day >= 2 else ())
        days.live_day(warehouse, tmp_path, as_of)
        days.give_personas(warehouse, draw, as_of)
    incremental = days.content(warehouse)
    days.live_day(warehouse, tmp_path, as_of)
    again = days.content(warehouse)
    personas_of_today = again
    days.live_day(warehouse, tmp_path, as_of)
    assert days.content(warehouse) == again, "a second run of the same day changed a table"
    days.live_day(warehouse, tmp_path, as_of, "--full-refresh")
    full = days.content(warehouse)
    for table in days.TABLES:
        assert personas_of_today[table] == full[table], table
        assert incremental[table]
    assert {row["model"] for row in full["attributed_touchpoints"]} >= {"markov", "shapley"}
    assert {str(row["effects_month"]) for row in full["int_person_facts_traced"]} >= {
        "2026-02-01",
        "2026-03-01",
    }
    assert "person-0" not in {row["person_id"] for row in full["touchpoints"]}
