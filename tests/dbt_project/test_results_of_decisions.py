"""Results: rewards wait for their window, holdouts are watched as long as the others.

Belongs here: what `bandit_feedback`, `program_results`, `silences` and `kpi_daily` say of a small
set of decisions, and that the seed of rewards repeats the programs.
"""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from activations import programs
from tests.dbt_project.dbt_building import (
    PROJECT,
    land_batch,
    link_identifiers,
    run_dbt,
    set_business_time,
)
from warehouse import Warehouse

AS_OF = datetime(2026, 6, 15, 6, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BUILD = ("build", "--exclude-resource-type", "unit_test", "--indirect-selection", "cautious")
SELECT = ("-s", "+path:models/marts/results")
# decision: program, person, opportunity, assignment, arm (None: silence), reason, age
DECISIONS = (
    ("clicked", "welcome", "p1", "w1", "policy", "email_none_greeting", "chosen", 10 * DAY),
    ("clicked_late", "welcome", "p2", "w2", "random", "email_none_greeting", "chosen", 10 * DAY),
    ("waiting", "welcome", "p3", "w3", "policy", "email_10_discount", "chosen", 2 * DAY),
    ("won_back", "win_back", "p4", "b4", "policy", "email_10_discount", "chosen", 10 * DAY),
    ("too_late", "win_back", "p5", "b5", "policy", "email_10_discount", "chosen", 10 * DAY),
    ("held_out", "win_back", "p6", "b6", "holdout", None, "holdout", 10 * DAY),
    ("silent", "win_back", "p7", "b7", "policy", None, "no_consent", 10 * DAY),
    ("silent_still", "win_back", "p7", "b7", "policy", None, "frequency", 9 * DAY),
    ("stopped", "abandoned_cart", "p7", "c7", "policy", "email_none_help", "chosen", 8 * DAY),
    ("today", "win_back", "p8", "b8", "policy", "email_10_discount", "chosen", 0 * DAY),
)
ORDERS = {"p4": (4 * DAY, 50.0), "p5": (1 * DAY, 70.0), "p6": (5 * DAY, 10.0)}


def test_rewards_of_the_seed_are_those_of_the_programs() -> None:
    with (PROJECT / "seeds" / "program_rewards.csv").open() as file:
        seed = {row["program"]: (row["reward"], row["window_days"]) for row in csv.DictReader(file)}
    names = [path.stem for path in programs.FOLDER.glob("*.yml")]
    assert seed == {
        program.program: (program.reward, str(program.window_days))
        for program in programs.load_all(names)
    }


@pytest.fixture
def decided(warehouse: Warehouse, tmp_path: Path) -> Warehouse:
    set_business_time(warehouse, AS_OF)
    people = {f"p{number}": [("anonymous_id", f"a{number}")] for number in range(1, 9)}
    link_identifiers(warehouse, people)
    # p0 decided for as p4 was called before a merge.
    warehouse.execute(
        "insert into identity.person_id_ledger values ('anonymous_id', 'a40', 'p0', %(at)s)",
        at=AS_OF,
    )
    warehouse.execute("insert into ml.identity_clusters values ('p4', 'anonymous_id', 'a40')")
    warehouse.execute("insert into ml.person_personas values ('p4', 'gifters', 0.9, now())")
    for decision in DECISIONS:
        _record(warehouse, *decision)
    land_batch(
        warehouse,
        "raw.events",
        [
            {
                "event_id": f"order-{person}",
                "source": "segment",
                "type": "order_completed",
                "channel": "web",
                "occurred_at": AS_OF - before,
                "received_at": AS_OF - before,
                "anonymous_id": "a40" if person == "p4" else f"a{person[1:]}",
                "order_id": f"o-{person}",
                "revenue_amount": revenue,
                "currency": "EUR",
            }
            for person, (before, revenue) in ORDERS.items()
        ],
    )
    answers = [
        ("clicked", "open", 9 * DAY, 1),
        ("clicked", "click", 8 * DAY, 2),
        ("clicked", "click", 7.5 * DAY, 3),
        ("clicked_late", "click", 6 * DAY, 4),
        ("waiting", "click", 1 * DAY, 5),
        ("won_back", "machine_open", 9 * DAY, 6),
        *((name, "delivered", 9.9 * DAY, n) for n, name in enumerate(("won_back", "too_late"), 7)),
    ]
    land_batch(
        warehouse,
        "raw.provider_events",
        [
            {
                "provider": "sendgrid",
                "provider_event_id": str(number),
                "message_key": decision,
                "type": kind,
                "occurred_at": AS_OF - before,
                "payload": "{}",
                "received_at": AS_OF - before,
            }
            for decision, kind, before, number in answers
        ],
    )
    warehouse.execute(
        "update delivery.messages set status = 'skipped', reason = 'suppressed', sent_at = null"
        " where message_key = 'stopped'"
    )
    run_dbt(warehouse, tmp_path, *BUILD, *SELECT)
    return warehouse


def test_decisions_are_measured_in_their_windows(decided: Warehouse) -> None:
    feedback = decided.rows(
        "select decision_id, person_id, persona_id, reward, is_matured, reward_kind,"
        " reward_so_far, extract(epoch from %(as_of)s - rewarded_at)::float8 / 86400"
        " from marts.bandit_feedback order by decision_id",
        as_of=AS_OF,
    )
    assert [tuple(row.values()) for row in feedback] == [
        ("clicked", "p1", None, 1.0, True, "click", 1.0, 8.0),
        ("clicked_late", "p2", None, 0.0, True, "click", 0.0, None),
        ("stopped", "p7", None, 0.0, True, "conversion", 0.0, None),
        ("too_late", "p5", None, 0.0, True, "conversion", 0.0, None),
        ("waiting", "p3", None, None, False, "click", 1.0, 1.0),
        ("won_back", "p4", "gifters", 1.0, True, "conversion", 1.0, 4.0),
    ]
    results = decided.rows(
        "select program, assignment, arm, decisions, messages, opens, clicks, conversions,"
        " net_revenue_amount::float8 as revenue from marts.program_results"
        " where program = 'win_back' order by assignment, arm"
    )
    assert [tuple(row.values()) for row in results] == [
        ("win_back", "holdout", None, 1, 0, 0, 0, 1, 10.0),
        ("win_back", "policy", "email_10_discount", 2, 2, 0, 0, 1, 50.0),
        ("win_back", "policy", None, 1, 0, 0, 0, 0, 0.0),
    ]
    silences = decided.rows(
        "select reason, first_at, last_at from marts.silences where person_id = 'p7' order by 2"
    )
    assert [tuple(row.values()) for row in silences] == [
        ("no_consent", AS_OF - 10 * DAY, AS_OF - 9 * DAY),
        ("frequency", AS_OF - 9 * DAY, AS_OF - 9 * DAY),
        ("suppressed", AS_OF - 8 * DAY + HOUR, AS_OF - 8 * DAY + HOUR),
    ]
    # Policy: 50, 0 and 0 over three opportunities; holdout: 10 over one; 3 * (50 / 3 - 10) = 20.
    kpis = decided.rows(
        "select date::text as date, incremental_revenue_amount::float8 as incremental"
        " from marts.kpi_daily where incremental_revenue_amount is not null"
    )
    assert [tuple(row.values()) for row in kpis] == [("2026-06-12", 20.0)]


def _record(
    warehouse: Warehouse,
    decision: str,
    program: str,
    person: str,
    opportunity: str,
    assignment: str,
    arm: str | None,
    reason: str,
    age: timedelta,
) -> None:
    """A decision and, where it sends, its message, which left an hour later."""
    warehouse.execute(
        "insert into delivery.decisions values (%(decision)s, %(at)s, %(program)s, %(person)s,"
        " %(opportunity)s, 1, %(assignment)s, %(arm)s, %(propensity)s, %(none)s, %(none)s,"
        " %(outcome)s, %(reason)s, %(none)s)",
        decision=decision,
        at=AS_OF - age,
        program=program,
        person="p0" if person == "p4" else person,
        opportunity=opportunity,
        assignment=assignment,
        arm=arm,
        propensity=0.5 if arm else None,
        none=json.dumps({}),
        outcome="send" if arm else "silence",
        reason=reason,
    )
    if arm is None:
        return
    warehouse.execute(
        "insert into delivery.messages (message_key, decision_id, program, person_id, channel,"
        " provider, status, variant_id, content_hash, send_at, expires_at, sent_at, address_hash)"
        " values (%(key)s, %(key)s, %(program)s, %(person)s, 'email', 'sendgrid', 'delivered',"
        " 'v', 'h', %(at)s, %(at)s, %(at)s, 'h')",
        key=decision,
        program=program,
        person="p0" if person == "p4" else person,
        at=AS_OF - age + HOUR,
    )
