"""A small random history of everything the core models read, and one way to build them.

Belongs here: drawing, landing, resolving and building. Keep out: expectations.
"""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dagster_project import person_graph
from tests.dbt_project.dbt_building import land_batch, run_dbt, set_business_time
from warehouse import Warehouse

START = datetime(2026, 3, 1, tzinfo=UTC)
PERSONS = 14
KEY = b"a key of the tests"
OBSERVED = ("+int_edges_observed", "+int_identifiers_observed", "+int_identifier_rules")
DERIVED = (
    "+person_features",
    "+churn_labels",
    "+send_time_responses",
    "+person_rfm",
    "+person_context",
    "+restatements",
    "+edges",
)
TYPES = ("page_viewed", "product_viewed", "product_added", "checkout_started", "identified")
CAMPAIGNS = ("", "?utm_source=google&utm_medium=cpc&utm_campaign=brand&gclid=g1", "?utm_source=x")
BROWSERS = ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (iPhone)", "examplebot/2.1")

Row = dict[str, Any]


def events(draw: random.Random, count: int, days: int) -> list[Row]:
    """Events over `days` from START, several for each person, some of orders and refunds."""
    return [_event(draw, number, days) for number in range(count)]


def _event(draw: random.Random, number: int, days: int) -> Row:
    who = draw.randrange(PERSONS)
    at = START + timedelta(minutes=5 * draw.randrange(days * 288))
    row = _identifiers(draw, who, at)
    browser = draw.choice(BROWSERS)
    context = {
        "page": {
            "url": f"https://shop.example/p{draw.randrange(5)}{draw.choice(CAMPAIGNS)}",
            "referrer": draw.choice(("", "https://www.google.com/", "https://shop.example/")),
        },
        "userAgent": browser,
        "timezone": draw.choice(("Europe/Berlin", "Mars/Phobos")),
    }
    row |= {"event_id": f"e{number}", "type": draw.choice(TYPES), "context": json.dumps(context)}
    row["properties"] = json.dumps({"product_id": f"P{draw.randrange(6)}", "first_name": f"N{who}"})
    fate = draw.random()
    if fate < 0.15:
        row |= _order(draw, f"O{draw.randrange(40)}", "order_completed")
    elif fate < 0.2:
        row |= _order(draw, f"O{draw.randrange(40)}", "order_refunded")
    return row


def _identifiers(draw: random.Random, who: int, at: datetime) -> Row:
    named = draw.random() < 0.4
    return {
        "source": "segment",
        "channel": "web",
        "occurred_at": at,
        "received_at": at,
        "anonymous_id": f"a{who}-{draw.randrange(3)}" if draw.random() < 0.9 else "anonymous",
        "device_id": f"d{who // 2}" if draw.random() < 0.3 else None,
        "user_id": f"u{who}" if named else None,
        "email": f"p{who}@example.com" if named and draw.random() < 0.7 else None,
        "order_id": None,
        "revenue_amount": None,
        "currency": None,
    }


def _order(draw: random.Random, order_id: str, kind: str) -> Row:
    products = [{"product_id": f"P{draw.randrange(6)}", "quantity": draw.randrange(1, 4)}]
    return {
        "type": kind,
        "order_id": order_id,
        "revenue_amount": str(draw.randrange(500, 9000) / 100),
        "currency": draw.choice(("EUR", "USD")),
        "properties": json.dumps({"products": products, "discount": draw.choice((0, "2.50"))}),
    }


def order_lines(draw: random.Random, days: int) -> list[Row]:
    """Invoices of two lines, some for cards that events know, some returned, one for nobody."""
    rows = []
    for number in range(12):
        at = START + timedelta(hours=draw.randrange(days * 24))
        kind = draw.choice(("sale", "sale", "credit_note"))
        for line in range(2):
            rows.append(
                {
                    "source": "order_lines",
                    "order_id": f"I{number}",
                    "line_number": line,
                    "kind": kind,
                    "product_id": f"P{draw.randrange(6)}",
                    "quantity": str(-1 if kind == "credit_note" else draw.randrange(1, 5)),
                    "unit_price_amount": "3.25",
                    "currency": "EUR",
                    "ordered_at": at + timedelta(minutes=line),
                    "customer_id": f"c{number % 6}" if number else None,
                    "country": "Germany",
                }
            )
    return rows


def contacts(draw: random.Random, days: int) -> list[Row]:
    """Contact cards in several versions; two people of a household share an address."""
    rows = []
    for number in range(18):
        who = number % PERSONS
        rows.append(
            {
                "source": "crm",
                "contact_id": f"c{who}",
                "email": f"p{who}@example.com" if who != 5 else "p4@example.com",
                "phone": f"+49301234{who:03d}",
                "first_name": f"First {who}",
                "country": "DE",
                "time_zone": "Europe/Berlin",
                "updated_at": START + timedelta(hours=draw.randrange(days * 24)),
            }
        )
    return rows


def consents(draw: random.Random, days: int) -> list[Row]:
    """Consents by address and by card, given and taken back."""
    rows = {}
    for number in range(30):
        who = draw.randrange(PERSONS)
        kind, value = draw.choice(
            (
                ("email", f"p{who}@example.com"),
                ("crm_contact_id", f"c{who}"),
                ("user_id", f"u{who}"),
            )
        )
        at = START + timedelta(hours=draw.randrange(days * 24))
        rows[(kind, value, at)] = {
            "source": f"crm{number}",
            "identifier_type": kind,
            "identifier_value": value,
            "channel": "email",
            "scope": "marketing",
            "status": draw.choice(("granted", "granted", "revoked", "unknown")),
            "recorded_at": at,
        }
    return list(rows.values())


def rates(factor: float = 1) -> list[Row]:
    """Dollar rates of a few days: the days between hold the last one."""
    return [
        {
            "date": (START + timedelta(days=d)).date(),
            "currency": "USD",
            "rate_to_workspace": str(round(r * factor, 4)),
        }
        for d, r in ((0, 0.9), (4, 0.95), (9, 0.8))
    ]


def spend(draw: random.Random, days: int) -> list[Row]:
    """What a campaign cost on each day; drawn again, a platform's second thoughts."""
    return [
        {
            "date": (START + timedelta(days=day)).date(),
            "platform": "google",
            "account_id": "1",
            "campaign_id": "brand",
            "ad_set_id": "",
            "channel": "paid_search",
            "impressions": 100,
            "clicks": 10,
            "spend_amount": draw.randrange(100, 900) / 100,
            "currency": "EUR",
        }
        for day in range(days)
    ]


def land_known(
    warehouse: Warehouse, table: str, moment: str, rows: list[Row], since: datetime, until: datetime
) -> None:
    """Land, as one batch, what happened in (since, until]."""
    land_batch(warehouse, table, [row for row in rows if since < row[moment] <= until])


def land_answers(warehouse: Warehouse, person_id: str, sent_at: datetime) -> None:
    """A message to a person, sent, delivered and opened, with the decision behind it."""
    warehouse.execute(
        "insert into delivery.decisions values ('d1', %(at)s, 'welcome', %(person)s, 'o1', 1,"
        " 'policy', 'email_none_reminder', 1, '[]', '[]', 'send', 'chosen', '{}')",
        at=sent_at - timedelta(hours=1),
        person=person_id,
    )
    warehouse.execute(
        "insert into delivery.messages (message_key, decision_id, program, person_id, channel,"
        " provider, status, variant_id, content_hash, send_at, expires_at, sent_at, address_hash)"
        " values ('m1', 'd1', 'welcome', %(person)s, 'email', 'sendgrid', 'delivered', 'v', 'h',"
        " %(at)s, %(at)s, %(at)s, 'x')",
        at=sent_at,
        person=person_id,
    )
    answers = [
        {
            "provider": "sendgrid",
            "provider_event_id": f"s{place}",
            "message_key": "m1",
            "type": kind,
            "occurred_at": sent_at + timedelta(minutes=place),
            "payload": "{}",
            "received_at": sent_at + timedelta(minutes=place),
        }
        for place, kind in enumerate(("delivered", "machine_open", "open"))
    ]
    land_batch(warehouse, "raw.provider_events", answers)


def build(warehouse: Warehouse, folder: Path, as_of: datetime, *flags: str) -> None:
    """What a day does between ingestion and models: observe, resolve, derive."""
    set_business_time(warehouse, as_of)
    if flags or not warehouse.rows("select from pg_tables where tablename = 'channel_rules'"):
        run_dbt(warehouse, folder, "seed", *flags)
    run_dbt(warehouse, folder, "run", "-s", *OBSERVED, *flags)
    resolve(warehouse, as_of)
    run_dbt(warehouse, folder, "run", "-s", *DERIVED, "--exclude", *OBSERVED, *flags)


def resolve(warehouse: Warehouse, as_of: datetime) -> None:
    """The step between: edges and identifiers in; verdicts, clusters and the ledger out."""
    person_graph.resolve(warehouse, KEY, as_of)
