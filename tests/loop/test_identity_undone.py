"""A merge undone leaves what there would be had it never happened.

Belongs here: merge, undo, and every row of the two persons, against the same files under the same
rules from the start. Keep out: which pairs part a merge (tests/ml/test_identity_changes.py).
"""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dagster_project import identity_operations as operations
from tests.conftest import TEMPLATE
from tests.dbt_project import core_history as history
from tests.dbt_project import test_core_incremental as core
from warehouse import Warehouse, server

READER, CUSTOMER = ("email", "reader@example.com"), ("user_id", "uc")
# When files come and a day is built; the merge happens on the third, the undoing before the last.
BUILT_ON = (3, 5, 7)
# Logs of what was decided, and by whom: these say that there was a merge.
LOGS = {"identity.merges", "identity.link_rules", "identity.link_proposals"}


@pytest.fixture
def innocent(postgres: server.Server) -> Iterator[Warehouse]:
    """A second database, in which the merge never happens."""
    name, maintenance = "test_innocent", postgres.url("postgres")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"create database {name} template {TEMPLATE} strategy file_copy")
    try:
        yield Warehouse(url=postgres.url(name))
    finally:
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")


def story() -> list[history.Row]:
    """A reader known by cookie and address, a customer with an account, others around them; on
    the fifth day the customer logs in on the reader's computer."""
    draw = random.Random(5)
    rows = history.events(draw, 80, 7)
    for number in range(42):
        is_reader = number % 2 == 0
        row = history.events(draw, 1, 7)[0] | {
            "event_id": f"x{number}",
            "occurred_at": history.START + timedelta(hours=4 * number + 1),
            "device_id": None,
            "anonymous_id": "reader-cookie" if is_reader else "customer-cookie",
            "user_id": None if is_reader else CUSTOMER[1],
            "email": READER[1] if is_reader else None,
        }
        rows.append(row | {"received_at": row["occurred_at"]})
    bridge = rows[-1] | {
        "event_id": "bridge",
        "occurred_at": history.START + timedelta(days=4, hours=9),
        "anonymous_id": "reader-cookie",
    }
    return [*rows, bridge | {"received_at": bridge["occurred_at"]}]


def play(warehouse: Warehouse, folder: Path, place: int) -> datetime:
    """Land and build one of the days."""
    days = (-1, *BUILT_ON)
    since, until = (history.START + timedelta(days=day) for day in days[place : place + 2])
    history.land_known(warehouse, "raw.events", "occurred_at", story(), since, until)
    history.build(warehouse, folder, until)
    return until


def plan_message(warehouse: Warehouse, person: str, at: datetime) -> None:
    """A message decided for the merged person, not sent yet."""
    history.land_answers(warehouse, person, at - timedelta(days=9))
    warehouse.execute(
        "insert into delivery.decisions select 'd2', %(at)s, program, person_id, 'o2', step,"
        " assignment, arm, propensity, candidates, verdicts, outcome, reason, model_versions"
        " from delivery.decisions where decision_id = 'd1'",
        at=at,
    )
    warehouse.execute(
        "insert into delivery.messages (message_key, decision_id, program, person_id, channel,"
        " provider, status, variant_id, content_hash, send_at, expires_at, address_hash)"
        " select 'm2', 'd2', program, person_id, channel, provider, 'planned', variant_id,"
        " content_hash, %(at)s, %(at)s, address_hash from delivery.messages",
        at=at + timedelta(hours=3),
    )


def persons(warehouse: Warehouse) -> dict[tuple[str, str], str]:
    rows = warehouse.rows("select * from identity.person_identifiers")
    return {(r["identifier_type"], r["identifier_value"]): r["person_id"] for r in rows}


def content(warehouse: Warehouse) -> dict[str, list[Any]]:
    held = core._content(warehouse)
    return {name: rows for name, rows in held.items() if name not in LOGS}


@pytest.mark.verify
@pytest.mark.timeout(600)
def test_a_merge_undone_is_as_if_it_had_never_happened(
    warehouse: Warehouse, innocent: Warehouse, tmp_path: Path
) -> None:
    play(warehouse, tmp_path, 0)
    before = persons(warehouse)
    assert before[READER] != before[CUSTOMER]
    at = play(warehouse, tmp_path, 1)
    merged = persons(warehouse)
    assert merged[READER] == merged[CUSTOMER], "nothing was merged"
    plan_message(warehouse, merged[READER], at)
    merge = warehouse.rows(
        "select merge_id from identity.merges where undone_at is null"
        " and survivor_person_id = %(one)s and absorbed_person_id = %(other)s",
        one=merged[READER],
        other=before[CUSTOMER],
    )[0]
    undone = operations.undo(warehouse, merge["merge_id"][:12], "me", at)
    assert undone.delivery.messages_skipped == 1
    skipped = warehouse.rows("select status, reason from delivery.messages where message_key='m2'")
    assert skipped == [{"status": "skipped", "reason": "merge_undone"}]
    with pytest.raises(operations.unmerging.UnmergeError, match="undone by me"):
        operations.undo(warehouse, merge["merge_id"], "me", at)

    rules = warehouse.read("select * from identity.link_rules")
    innocent.append("identity.link_rules", rules)
    other = tmp_path / "innocent"
    other.mkdir()
    for place in (0, 1):
        play(innocent, other, place)
    plan_message(innocent, before[CUSTOMER], at)
    plan_message_to_the_same = "update delivery.{} set person_id = %(person)s"
    for table in ("decisions", "messages"):
        innocent.execute(plan_message_to_the_same.format(table), person=merged[READER])
    innocent.execute(
        "update delivery.messages set status = 'skipped', reason = 'merge_undone'"
        " where message_key = 'm2'"
    )
    play(warehouse, tmp_path, 2)
    play(innocent, other, 2)
    after = persons(warehouse)
    assert {name: after[name] for name in (READER, CUSTOMER)} == {
        name: before[name] for name in (READER, CUSTOMER)
    }, "the two did not get their old ids back"
    assert core._differing(content(warehouse), content(innocent)) == []
