"""Unsubscribing: what a link may do, when it is in force, and that looking changes nothing."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from psycopg import Connection

from activations import consent, recheck
from activations.keys import address_hash
from activations.tokens import read_unsubscribe_token, unsubscribe_token
from tests.gateway.conftest import NOW, Served
from warehouse import front

KEY = "0123456789abcdef0123456789abcdef"
ADA = address_hash("ada@example.com")
PHONE = address_hash("+447700900123")
DBT_TABLES = """
    create schema if not exists marts;
    create table identity.contact_points (person_id text, channel text, address text);
    create table identity.profiles (person_id text, time_zone text, country text);
    create table marts.consents (
        channel text, address_hash text, scope text, status text, recorded_at timestamptz,
        regulation text
    );
    insert into identity.contact_points values
        ('p2', 'email', 'ada@example.com'), ('p2', 'email', 'ada@work.example'),
        ('p2', 'sms', '+447700900123');
    insert into identity.merges values
        ('m', 'p2', 'p1', now(), '{}', null, null), ('n', 'p3', 'p2', now(), '{}', now(), 'x');
    insert into raw.workspace (workspace, as_of, currency, time_zone, country)
    values ('shop', now(), 'GBP', 'UTC', 'GB');
"""


@pytest.fixture
def sent(served: Served) -> Served:
    """A gateway whose warehouse knows one message: to Ada, who was merged since."""
    with served.gateway.connections.warehouse.transaction() as connection:
        connection.execute(DBT_TABLES)
        connection.execute(
            "insert into marts.consents values ('email', %s, 'marketing', 'granted', %s)",
            [ADA, NOW - timedelta(days=9)],
        )
        _message(connection, KEY, "win_back")
        _message(connection, "f" * 32, "welcome")
    return served


def _message(connection: Connection[Any], key: str, program: str) -> None:
    connection.execute(
        "insert into delivery.decisions values (%s, %s, %s, 'p1', %s, 1, 'policy',"
        " 'email_none_news', 1, '{}', '{}', 'send', 'policy', '{}')",
        [f"d{key}", NOW, program, f"o{program}"],
    )
    connection.execute(
        "insert into delivery.messages (message_key, decision_id, program, person_id, channel,"
        " provider, status, variant_id, content_hash, send_at, expires_at, address_hash)"
        " values (%s, %s, %s, 'p1', 'email', 'sendgrid', 'reserved', 'v', 'c', %s, %s, %s)",
        [key, f"d{key}", program, NOW, NOW + timedelta(days=3), ADA],
    )


def link(served: Served, key: str = KEY) -> str:
    return f"/unsubscribe/{unsubscribe_token(front.link_keys(served.settings)[0], key)}"


def words(served: Served) -> list[tuple[str, str, str, str]]:
    rows = served.gateway.connections.warehouse.rows(
        "select channel, address_hash, scope, status, source from delivery.consent_changes"
        " order by channel, address_hash, scope"
    )
    assert all(row["status"] == "revoked" for row in rows)
    return [(row["channel"], row["address_hash"], row["scope"], row["source"]) for row in rows]


def verdicts(served: Served) -> dict[str, str | None]:
    with served.gateway.connections.warehouse.transaction() as connection:
        found = recheck.verdicts(connection, [KEY, "f" * 32], NOW)
    return {one.message_key[:1]: one.reason for one in found}


def test_looking_changes_nothing(sent: Served) -> None:
    for _ in range(3):
        page = sent.client.get(link(sent))
        assert page.status_code == 200
        assert sent.client.head(link(sent)).status_code in (200, 405)
    assert words(sent) == []
    assert "ada" not in page.text.lower()
    assert set(re.findall(r'name="(\w+)" value="(\w+)"', page.text)) == {
        ("channel", "email"), ("channel", "sms"), ("topic", "win_back"), ("topic", "welcome"),
        ("topic", "abandoned_cart"),
    }  # fmt: skip


def test_one_click_is_in_force_before_it_is_answered(sent: Served) -> None:
    assert verdicts(sent) == {"0": None, "f": "frequency_cap"}
    answer = sent.client.post(link(sent), data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    assert words(sent) == [("email", ADA, "marketing", "gateway:one_click")]
    assert verdicts(sent) == {"0": "no_consent", "f": "no_consent"}


def test_mailbox_providers_may_post_multipart(sent: Served) -> None:
    part = {"List-Unsubscribe": (None, "One-Click")}
    assert sent.client.post(link(sent), files=part).status_code == 200
    assert len(words(sent)) == 1


def test_a_topic_can_be_given_up_alone(sent: Served) -> None:
    assert sent.client.post(link(sent), data={"topic": "win_back"}).status_code == 200
    assert {word[2] for word in words(sent)} == {"marketing:win_back"}
    assert verdicts(sent) == {"0": "topic_refused", "f": None}


def test_a_channel_covers_every_address_of_the_person(sent: Served) -> None:
    sent.client.post(link(sent), data={"channel": ["sms", "email"], "topic": "no such"})
    addresses = [(channel, hashed) for channel, hashed, scope, _ in words(sent)]
    work = address_hash("ada@work.example")
    assert sorted(addresses) == sorted([("email", ADA), ("email", work), ("sms", PHONE)])


@pytest.mark.parametrize("data", [{}, {"channel": "whatsapp"}, {"topic": "x' or 1=1"}, {"a": "b"}])
def test_a_form_that_chooses_nothing_changes_nothing(sent: Served, data: dict[str, str]) -> None:
    content = data or {"": ""}
    assert sent.client.post(link(sent), data=content).status_code == 400
    assert words(sent) == []


def test_a_forged_or_foreign_token_does_nothing(sent: Served) -> None:
    good = link(sent)
    for path in (good[:-1], f"/unsubscribe/{KEY}", f"/unsubscribe/{KEY}.", "/unsubscribe/é.é"):
        for call in (sent.client.get, sent.client.post):
            answer = call(path, **({} if call == sent.client.get else {"data": {"a": "b"}}))
            assert answer.status_code == 404
    assert sent.client.get(link(sent, "9" * 32)).status_code == 404
    assert words(sent) == []


def test_a_token_of_an_older_key_is_honoured() -> None:
    token = unsubscribe_token(b"old", KEY)
    assert read_unsubscribe_token([b"new", b"old"], token) == KEY
    assert read_unsubscribe_token([b"new"], token) is None


def test_a_revoke_waits_for_the_request_that_is_out(sent: Served) -> None:
    """Senders hold the lock around check and request: the answer comes after theirs."""
    import threading

    answers: list[int] = []
    post = threading.Thread(
        target=lambda: answers.append(
            sent.client.post(link(sent), data={"List-Unsubscribe": "One-Click"}).status_code
        )
    )
    with (
        sent.gateway.connections.warehouse.connect() as connection,
        consent.held_while_sending(connection),
    ):
        post.start()
        post.join(0.4)
        assert (answers, words(sent)) == ([], [])
    post.join()
    assert answers == [200]


def test_the_warehouse_away_keeps_the_wish_and_says_that_it_is_not_in_force(
    serve_with: Callable[..., Any],
) -> None:
    with serve_with() as served:
        answer = served.client.post(link(served), data={"List-Unsubscribe": "One-Click"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        [line] = served.landed("provider_events")
        assert line["provider"] == "links"
        assert line["payload"]["event"] == "unsubscribe"


def test_short_links_lead_to_the_shop_and_count(sent: Served) -> None:
    answer = sent.client.get(f"/l/{KEY[:16]}")
    assert answer.status_code == 302
    assert answer.headers["location"] == (
        "https://shop.fernway.example/?utm_source=loopdrive&utm_medium=email"
        "&utm_campaign=win_back&utm_content=email_none_news"
    )
    [line] = sent.landed("provider_events")
    assert (line["payload"]["event"], line["payload"]["message_key"]) == ("click", KEY)
    for code in ("0" * 16, "x", "0123456789ABCDEF"):
        assert sent.client.get(f"/l/{code}").status_code == 404
