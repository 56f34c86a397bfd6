"""Simulation: hand-made days whose other course is known, and what it would have been worth."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from activations import dispatch, programs, simulation
from activations.programs import ProgramError
from activations.simulation import Change, Simulation
from tests.activations.world import AS_OF, Vendor, World, adapter

DAY = timedelta(days=1)
CARTS = "abandoned_cart"
FEEDBACK = """
    create table marts.bandit_feedback (
        program text, reward_kind text, reward double precision, is_matured boolean
    )
"""


def live(world: World, plan: Mapping[int, str], days: int, program: str = CARTS) -> datetime:
    """Play days 0, 1, …: on each an occasion of `plan`'s person, decided, and sent when due."""
    world.program(program)
    for day in range(days):
        as_of = AS_OF + day * DAY
        if day in plan:
            world.occasion(program, plan[day], f"cart-{day}")
        world.decide(world.program(program), as_of=as_of, arm=None)
        dispatch.send_until(
            world.warehouse, as_of, as_of + DAY, adapter("sendgrid"), Vendor(), lambda _now: None
        )
    return AS_OF + (days - 1) * DAY


def other(world: World, until: datetime, days: int = 30, **rules: Any) -> Simulation:
    named = programs.load_all([CARTS])
    return simulation.simulate(
        world.warehouse, named, programs.house(rules, "rules.yml"), until, days
    )


def counts(found: Simulation) -> list[tuple[str, int, int]]:
    return [(one.reason, one.sends_lost, one.sends_gained) for one in found.changes]


@pytest.fixture
def busy(world: World) -> tuple[World, datetime]:
    """One person and a cart on each of six days: three are heard, then the week is full."""
    world.person("p")
    world.assign(CARTS, "policy", ["p"])
    return world, live(world, {day: "p" for day in range(6)}, days=6)


def test_the_present_rules_lead_to_what_really_happened(busy: tuple[World, datetime]) -> None:
    world, until = busy
    real = world.warehouse.rows("select 1 from delivery.messages where sent_at is not null")
    found = other(world, until)
    assert found.changes == []
    assert (found.occasion_count, found.agreeing_count) == (6, 6)
    assert found.sends_before == found.sends_after == len(real) == 3
    assert found.run_count == 6


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"messages_per_7_days": 5}, [("frequency_cap", 0, 2)]),
        ({"messages_per_7_days": None}, [("frequency_cap", 0, 3)]),
        ({"messages_per_7_days": 1}, [("frequency_cap", 2, 0)]),
        ({"messages_per_7_days": 0}, [("frequency_cap", 3, 0)]),
        # AS_OF is a Monday, so all six days are one week of the calendar.
        ({"messages_per_local_week": 2}, [("frequency_cap", 1, 0)]),
        ({"program_messages_per_7_days": 2}, [("program_cap", 1, 0)]),
        ({"programs": {CARTS: {"messages_per_7_days": 4}}}, [("frequency_cap", 0, 1)]),
        # A message may wait for the gap to end, but not for longer than its occasion lasts.
        ({"minimum_gap_hours": 80}, []),
        ({"minimum_gap_hours": 200}, [("expires_first", 2, 0)]),
    ],
)
def test_other_limits_lose_and_gain_what_they_must(
    busy: tuple[World, datetime], rules: dict[str, Any], expected: list[tuple[str, int, int]]
) -> None:
    world, until = busy
    found = other(world, until, **rules)
    assert counts(found) == expected
    assert found.sends_after - found.sends_before == sum(gain - loss for _, loss, gain in expected)
    assert found.agreeing_count == found.occasion_count


def test_a_message_that_is_lost_makes_room_for_a_later_one(world: World) -> None:
    """With two a week from the first day on, day 3 is heard when day 0 has left the window."""
    world.person("p")
    world.assign(CARTS, "policy", ["p"])
    until = live(world, {0: "p", 1: "p", 2: "p", 7: "p"}, days=8)
    assert counts(other(world, until, messages_per_7_days=2)) == [("frequency_cap", 1, 0)]
    sent = other(world, until, messages_per_7_days=1)
    assert counts(sent) == [("frequency_cap", 3 - 1, 0)], "day 7 is a week after day 0"


def test_a_floor_asks_for_the_engagement_of_today(world: World) -> None:
    for person, score in {"low": 0.35, "high": 0.9, "mute": 0.1}.items():
        world.person(person)
        world.assign(CARTS, "policy", [person])
        world.connection.execute("insert into marts.person_stats values (%s, %s)", [person, score])
    until = live(world, {0: "low", 1: "high", 2: "mute"}, days=3)
    assert counts(other(world, until, engagement_floor=0.5)) == [("engagement_floor", 1, 0)]
    assert counts(other(world, until, engagement_floor=None)) == [("engagement_floor", 0, 1)]
    assert counts(other(world, until, engagement_floor=0.05)) == [("engagement_floor", 0, 1)]


def test_holdouts_and_what_no_rule_silenced_stay_silent(world: World) -> None:
    for person in ("held", "closed"):
        world.person(person)
    world.assign(CARTS, "holdout", ["held"])
    world.assign(CARTS, "policy", ["closed"])
    world.warehouse.execute(
        "update marts.consents set status = 'revoked' where person_id <> 'held'"
    )
    until = live(world, {0: "held", 1: "closed"}, days=2)
    assert counts(other(world, until, messages_per_7_days=99, engagement_floor=None)) == []


def test_days_before_the_window_are_remembered_and_not_told(busy: tuple[World, datetime]) -> None:
    world, until = busy
    # Of days 3, 4, 5 none is heard, for 0, 1, 2 filled the week: six would let them through.
    assert counts(other(world, until, days=3, messages_per_7_days=5)) == [("frequency_cap", 0, 2)]
    assert counts(other(world, until, days=1, messages_per_7_days=4)) == [("frequency_cap", 0, 1)]
    assert counts(other(world, until, days=3, messages_per_7_days=1)) == []


def test_the_worth_comes_from_matured_rewards_or_is_not_told(
    busy: tuple[World, datetime],
) -> None:
    world, until = busy
    (change,) = other(world, until, messages_per_7_days=5).changes
    assert (change.value, change.unit) == (None, None)
    world.warehouse.execute(FEEDBACK)
    (change,) = other(world, until, messages_per_7_days=5).changes
    assert change.value is None, "nothing matured"
    world.warehouse.execute(
        "insert into marts.bandit_feedback select %(p)s, 'conversion', (i <= 10)::int, i <= 100"
        " from generate_series(1, 150) as i",
        p=CARTS,
    )
    (change,) = other(world, until, messages_per_7_days=5).changes
    assert change == Change(
        CARTS, "frequency_cap", 0, 2, pytest.approx(0.2),
        pytest.approx(2 * 0.0552, abs=1e-3), pytest.approx(2 * 0.1744, abs=1e-3), "conversions",
    )  # fmt: skip
    (lost,) = other(world, until, messages_per_7_days=1).changes
    assert lost.value == pytest.approx(-0.2)
    assert lost.value_lower < lost.value < lost.value_upper < 0


def test_revenue_is_told_with_its_standard_error() -> None:
    found = simulation.worth("revenue", 100, 2.0, 5.0)
    assert found is not None
    assert (found.lower, found.upper) == (
        pytest.approx(1.02, abs=1e-2),
        pytest.approx(2.98, abs=1e-2),
    )
    assert simulation.worth("click", 0, 0.0, 0.0) is None


def test_nothing_is_written(busy: tuple[World, datetime]) -> None:
    world, until = busy
    digest = "select md5(string_agg(t::text, '|' order by t::text)) as d from delivery.{} as t"
    tables = ("decisions", "messages", "assignments", "audit_log")
    before = [world.warehouse.rows(digest.format(table)) for table in tables]
    other(world, until, messages_per_7_days=9)
    assert [world.warehouse.rows(digest.format(table)) for table in tables] == before


def test_the_same_days_give_the_same_answer_and_other_programs_are_left_alone(
    busy: tuple[World, datetime],
) -> None:
    world, until = busy
    assert other(world, until, messages_per_7_days=4) == other(world, until, messages_per_7_days=4)
    named = programs.load_all(["win_back"])
    rules = programs.house({"messages_per_7_days": 9}, "rules.yml")
    found = simulation.simulate(world.warehouse, named, rules, until, 30)
    assert (found.occasion_count, found.changes) == (0, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "mesages_per_7_days: 4",
            "rules.yml: unknown key `mesages_per_7_days`.*`messages_per_7_da",
        ),
        ("programs: {win_bak: {}}", "rules.yml: no program `win_bak`.*`win_back`"),
        ("programs: {win_back: {engagement_flor: 0}}", "program win_back.*`engagement_floor`"),
        ("guardrails: {engagement_floor: 2}", "`engagement_floor`"),
        ("program: {}", "`programs`"),
        ("[1, 2]", "expected keys"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_typo_names_the_nearest_key(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProgramError, match=message):
        programs.house_file(path)


def test_what_a_program_says_itself_goes_before_the_house() -> None:
    rules = programs.house(
        {"engagement_floor": 0.6, "messages_per_7_days": 4, "programs": {
            "win_back": {"engagement_floor": 0.2}}}, "x",
    )  # fmt: skip
    floors = {
        program.program: programs.under(program, rules).guardrails.engagement_floor
        for program in programs.load_all(["welcome", CARTS, "win_back"])
    }
    assert floors == {"welcome": None, CARTS: 0.6, "win_back": 0.2}
