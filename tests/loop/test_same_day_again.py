"""The law of repetition: the same day again changes no row and asks no provider anything.

Belongs here: the last day executed twice, and the same days in another home without the truth.
Keep out: what a day does (`test_market_loop.py`).
"""

import json
import shutil
from dataclasses import dataclass

import dagster as dg
import pytest

from dagster_project import loop, providers
from tests.loop.conftest import DAYS, SMALL
from tests.loop.playing import Home, adopted, differing, new_home

pytestmark = pytest.mark.timeout(900)
# Models publish, budgets move and rewards mature only with more people and more days.
LARGE = {"workspace": "large", "simulation": {"people": 5000, "days": 365, "seed": 3}}
LARGE_DAYS = 5
PUBLISHING = {"bandit", "budget", "lifetime_value", "personas", "send_time"}


@dataclass(frozen=True)
class Repeated:
    """One day executed twice: what was there after each, and which tables differ."""

    first: loop.Day
    again: loop.Day
    rows: int
    requests: tuple[int, int]
    differing: list[str]


def repeat(home: Home) -> Repeated:
    """Execute the last day again."""
    first, day = home.days[-1], home.last
    hashes, requests = home.hashes[day], home.requests[day]
    home.play(day)
    return Repeated(
        first=first,
        again=home.days[-1],
        rows=sum(rows for rows, _ in hashes.values()),
        requests=(requests, home.requests[day]),
        differing=differing(hashes, home.hashes[day]),
    )


@pytest.fixture(scope="module")
def repeated(market: Home) -> Repeated:
    """The small market's last day, a second time."""
    return repeat(market)


def test_the_same_day_again_changes_no_row(repeated):
    assert repeated.rows > 10_000
    assert repeated.differing == []


def test_the_same_day_again_executes_every_asset(market, repeated):
    assert repeated.again.run_id != repeated.first.run_id
    again = _materialised(market, repeated.again)
    assert again == _materialised(market, repeated.first) == _executable(market)


def test_the_same_day_again_asks_no_provider_anything(repeated):
    """Requests are counted by the stand-ins themselves."""
    before, after = repeated.requests
    assert before == after > 0


@pytest.mark.verify
def test_the_loop_never_looks_at_the_truth(market):
    """A second market of the same seed, its truth gone before each day, leaves the same rows."""
    moments = market.planned(DAYS)[:2]
    with new_home(SMALL) as blind:
        with adopted(blind.settings):
            providers.live(blind.settings, moments[0])
        assert blind.truth.is_dir()
        for moment in moments:
            shutil.rmtree(blind.truth, ignore_errors=True)
            blind.play(moment)
            assert differing(market.hashes[moment], blind.hashes[moment]) == []


@pytest.mark.verify
@pytest.mark.timeout(1800)
def test_a_large_market_repeats_its_day_and_learns_from_matured_rewards():
    """The same promises where models publish, budgets move and rewards are in."""
    with new_home(LARGE) as home:
        home.play(*home.planned(LARGE_DAYS))
        repeated = repeat(home)
        assert repeated.differing == []
        assert repeated.requests[0] == repeated.requests[1]
        cards = home.warehouse.rows("select distinct model from ml.model_cards where is_champion")
        # Churn may refuse: its gate is judged by its own tests.
        assert {row["model"] for row in cards} >= PUBLISHING
        matured = home.warehouse.rows(
            "select sum(matured_count) as n from ml.bandit_posteriors where persona_id is null"
        )
        assert matured[0]["n"] > 10
        plans = home.warehouse.rows(
            "select status, count(*) as n from delivery.budget_plans group by 1"
        )
        assert [row["status"] for row in plans] == ["confirmed"]
        in_force = json.loads((home.sandbox / "budgets.json").read_text())
        assert {name for campaigns in in_force.values() for name in campaigns} == {
            row["campaign_id"]
            for row in home.warehouse.rows("select campaign_id from activation.budget_inputs")
        }


def _materialised(home: Home, day: loop.Day) -> set[dg.AssetKey]:
    return {
        entry.dagster_event.asset_key
        for entry in home.instance.all_logs(
            day.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        )
    }


def _executable(home: Home) -> set[dg.AssetKey]:
    with adopted(home.settings):
        job = loop.definitions().resolve_job_def("daily_loop")
    return set(job.asset_layer.executable_asset_keys)
