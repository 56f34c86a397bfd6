"""Simulation on a played market: the replay goes as the days really went, and caps cost messages.

Keep out: what single rules lose and gain (`tests/activations/test_simulation.py`).
"""

from typing import Any

from activations import programs, simulation
from activations.simulation import Simulation
from tests.loop.conftest import DAYS
from tests.loop.playing import Home


def under(market: Home, **rules: Any) -> Simulation:
    named = programs.load_all(market.settings.programs)
    made = programs.house(rules, "rules.yml")
    return simulation.simulate(market.warehouse, named, made, market.last, DAYS)


def test_under_the_present_rules_every_occasion_ends_as_it_did(market: Home) -> None:
    present = under(market)
    assert present.changes == []
    assert present.occasion_count > 0
    assert present.agreeing_count == present.occasion_count
    assert present.run_count == DAYS


def test_no_messages_at_all_are_lost_to_the_cap_that_forbids_them(market: Home) -> None:
    present, none = under(market), under(market, messages_per_7_days=0)
    assert present.sends_before > 0
    assert none.sends_after == 0
    assert {change.reason for change in none.changes} == {"frequency_cap"}
    assert sum(change.sends_lost for change in none.changes) == present.sends_before
    assert under(market, engagement_floor=None).sends_after >= present.sends_after
