"""Look-ups for the site's own servers."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import NOW, Served

TABLES = """
    create schema if not exists marts;
    create table identity.person_identifiers (
        person_id text, identifier_type text, identifier_value text, is_shared boolean
    );
    create table marts.person_context (person_id text, as_of timestamptz, context jsonb);
    insert into identity.person_identifiers values
        ('p1', 'email', 'ada@example.com', false), ('p1', 'user_id', 'u1', false),
        ('p2', 'phone', '+447700900123', false), ('p2', 'device_id', 'd', true),
        ('p3', 'anonymous_id', 'a3', false), ('p4', 'anonymous_id', 'a4', false);
    insert into marts.person_context values ('p1', '2026-11-20T06:00:00Z', '{"stage": "active"}');
    insert into identity.merges values ('m', 'p1', 'p0', now(), '{}', null, null);
"""


@pytest.fixture
def known(served: Served) -> Served:
    with served.gateway.connections.warehouse.transaction() as connection:
        connection.execute(TABLES)
        for number, (status, days) in enumerate((("planned", 1), ("skipped", 2), ("sent", -1))):
            key, status = f"k{number}", "accepted" if status == "sent" else status
            connection.execute(
                "insert into delivery.decisions values (%s, %s, 'win_back', 'p0', %s, 1, 'policy',"
                " 'email_20_discount', 1, '{}', '{}', 'send', 'policy', '{}')",
                [f"d{number}", NOW - timedelta(hours=9 - number), f"o{number}"],
            )
            connection.execute(
                "insert into delivery.messages (message_key, decision_id, program, person_id,"
                " channel, provider, status, variant_id, content_hash, send_at, expires_at,"
                " address_hash) values (%s, %s, 'win_back', 'p0', 'email', 'sendgrid', %s, 'v',"
                " 'c', %s, %s, 'h')",
                [key, f"d{number}", status, NOW, NOW + timedelta(days=days)],
            )
    return served


def ask(
    served: Served, what: str, *identifiers: tuple[str, str], key: str = "ak_1"
) -> httpx.Response:
    body = {"identifiers": [{"type": kind, "value": value} for kind, value in identifiers]}
    headers = {"Authorization": f"Bearer {key}"}
    return served.client.post(f"/v1/persons/{what}", json=body, headers=headers)


@pytest.mark.parametrize(
    ("identifiers", "expected"),
    [
        ([("email", " Ada@Example.COM ")], (200, {"person_id": "p1"})),
        ([("phone", "+44 7700 900-123")], (200, {"person_id": "p2"})),
        ([("phone", "+447700900123"), ("user_id", "u1")], (200, {"person_id": "p1"})),
        ([("email", "nobody@example.com")], (404, {"error": "unknown_person"})),
        ([("device_id", "d")], (404, {"error": "unknown_person"})),
        (
            [("anonymous_id", "a3"), ("anonymous_id", "a4")],
            (409, {"error": "more_than_one_person"}),
        ),
    ],
)
def test_persons_are_found_by_their_strongest_identifier(
    known: Served, identifiers: Any, expected: Any
) -> None:
    answer = ask(known, "resolve", *identifiers)
    assert (answer.status_code, answer.json()) == expected


def test_context_is_what_the_marts_know(known: Served) -> None:
    answer = ask(known, "context", ("user_id", "u1")).json()
    assert answer["person_id"] == "p1"
    assert answer["context"] == {"stage": "active"}
    assert answer["as_of"].startswith("2026-11-20T06:00")
    assert ask(known, "context", ("phone", "+447700900123")).json()["context"] == {}


def test_next_is_the_latest_decision_that_still_stands(known: Served) -> None:
    """Decisions made for an absorbed person are the survivor's; skipped and expired ones fell."""
    decision = ask(known, "next", ("user_id", "u1")).json()["decision"]
    expected = {"decision_id": "d0", "program": "win_back", "channel": "email", "theme": "discount",
                "offer_percent": 20, "offer_code": "WINBACK20", "status": "planned"}  # fmt: skip
    assert decision | expected == decision
    known.clock.advance(days=2)
    assert ask(known, "next", ("user_id", "u1")).json()["decision"] is None


def test_a_key_is_needed_and_the_public_write_key_is_none(known: Served) -> None:
    for key in ("none", "wk_new", "other"):
        assert ask(known, "context", ("user_id", "u1"), key=key).status_code == 401


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"identifiers":[]}',
             b'{"identifiers":[{"type":"ssn","value":"1"}]}',
             b'{"identifiers":[{"type":"email","value":"a\\u0000"}]}',
             b'{"identifiers":[{"type":["email"],"value":"a"}]}',
             b'{"identifiers":[{"type":"email","value":"\\ud800"}]}', b"[" * 5000]
)  # fmt: skip
def test_a_body_without_identifiers_is_refused(known: Served, body: bytes) -> None:
    headers = {"Authorization": "Bearer ak_1"}
    answer = known.client.post("/v1/persons/resolve", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (400, {"error": "identifiers_expected"})


def test_before_the_first_run_it_is_said_that_nothing_is_there_yet(served: Served) -> None:
    assert ask(served, "context", ("user_id", "u1")).status_code == 503


def test_a_connection_that_died_is_replaced(known: Served) -> None:
    assert ask(known, "context", ("user_id", "u1")).status_code == 200
    with known.gateway.connections.warehouse.transaction() as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    assert ask(known, "context", ("user_id", "u1")).status_code == 200
