"""Random histories of visits, orders, refunds, spend and personas, lived day by day.

Belongs here: drawing, landing, building a day as the loop does. Keep out: expectations.
"""

import json
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from ml import attribution
from tests.dbt_project.dbt_building import link_identifiers, run_dbt, set_business_time
from warehouse import Warehouse

FIRST_DAY = datetime(2026, 3, 30, 6, tzinfo=UTC)
PERSONS = 12
HISTORY_DAYS = 45
LIVED_DAYS = 4
MARKS = frozenset({"batch_id", "change_number", "spend_batch_id"})
TABLES = (
    "touchpoints",
    "int_person_facts_traced",
    "attributed_touchpoints",
    "channel_performance",
)
BEFORE_EFFECTS = ("+int_paths_counted",)
QUERIES = (
    "",
    "?utm_source=meta&utm_medium=paid_social&utm_campaign=spring&fbclid=f.{n}",
    "?utm_source=google&utm_medium=cpc&utm_campaign=brand&gclid=g.{n}",
    "?utm_source=google&utm_medium=cpc&utm_campaign=Autumn&gclid=g.{n}",
    "?utm_source=loopdrive&utm_medium=email&utm_campaign=win_back",
)
Row = dict[str, Any]


def live_day(warehouse: Warehouse, folder: Path, as_of: datetime, *flags: str) -> None:
    """What a day does to attribution: dbt, the effects of closed months, dbt."""
    set_business_time(warehouse, as_of)
    run_dbt(warehouse, folder, "seed", *flags)
    run_dbt(warehouse, folder, "run", "-s", *BEFORE_EFFECTS, *flags)
    estimate_effects(warehouse, as_of)
    run_dbt(
        warehouse, folder, "build", "--exclude-resource-type", "unit_test",
        "--indirect-selection", "cautious", "-s", "+channel_performance",
        "--exclude", *BEFORE_EFFECTS, "resource_type:seed", *flags,
    )  # fmt: skip


def estimate_effects(warehouse: Warehouse, as_of: datetime) -> None:
    """The asset between: journeys of closed months in, effects and coalitions out."""
    latest = warehouse.rows("select max(month) as month from ml.channel_removal_effects")[0]
    months = attribution.due(as_of, "Europe/Berlin", latest["month"])
    if months is None:
        return
    paths = warehouse.read(
        "select * from marts.int_paths_counted where month > %(after)s and month < %(before)s",
        after=months[0],
        before=months[1],
    ).to_pandas()
    effects, coalitions = attribution.estimate(paths)
    for table, frame in (("channel_removal_effects", effects), ("channel_coalitions", coalitions)):
        if len(frame):
            rows = pa.Table.from_pandas(frame, preserve_index=False)
            warehouse.append(f"ml.{table}", rows)


def content(warehouse: Warehouse) -> dict[str, list[Row]]:
    """Rows of each table, without the marks that tell when a row was made, and what is gone."""
    return {
        table: sorted(
            (
                {name: value for name, value in row.items() if name not in MARKS}
                for row in warehouse.rows(f"select * from marts.{table}")
                if not row.get("is_gone")
            ),
            key=repr,
        )
        for table in TABLES
    }


def history(draw: random.Random, events: int) -> list[Row]:
    """Visits, orders (some twice, with another time) and refunds until the last day lived."""
    span = (HISTORY_DAYS + LIVED_DAYS) * 1440
    start = FIRST_DAY - timedelta(days=HISTORY_DAYS)
    rows = [_event(draw, n, start + timedelta(minutes=draw.randrange(span))) for n in range(events)]
    orders = [row for row in rows if row["type"] == "order_completed"]
    for number, order in enumerate(draw.sample(orders, len(orders) // 4)):
        later = order["occurred_at"] + timedelta(minutes=draw.randrange(40 * 1440))
        kind = draw.choice(("order_refunded", "order_completed"))
        amount = {"revenue_amount": round(float(order["revenue_amount"]) / 3, 2)}
        who = {"anonymous_id": f"a{draw.randrange(PERSONS)}"} if draw.random() < 0.3 else {}
        earlier = draw.random() < 0.5 and kind == "order_completed"
        moment = order["occurred_at"] - timedelta(days=1) if earlier else later
        rows.append(
            order | who | amount
            | {"event_id": f"again{number}", "type": kind, "occurred_at": moment}
            | {"received_at": moment}
        )  # fmt: skip
    return rows


def _event(draw: random.Random, number: int, at: datetime) -> Row:
    is_order = draw.random() < 0.3
    url = "https://shop.example/p" + draw.choice(QUERIES).format(n=number)
    return {
        "event_id": f"e{number}",
        "source": "segment",
        "type": "order_completed" if is_order else "page_viewed",
        "channel": "web",
        "occurred_at": at,
        "received_at": at,
        "anonymous_id": f"a{draw.randrange(PERSONS)}",
        "context": json.dumps({"page": {"url": url}}),
        "properties": "{}",
        "order_id": f"o{number}" if is_order else None,
        "revenue_amount": round(draw.uniform(1, 90), 2) if is_order else None,
        "currency": draw.choice(("EUR", "EUR", "EUR", "USD")) if is_order else None,
    }


def link(warehouse: Warehouse, absorbed: Sequence[int] = ()) -> None:
    """Everybody is one person per cookie; who is absorbed becomes the next one."""
    persons = {f"person-{n}": [("anonymous_id", f"a{n}")] for n in range(PERSONS)}
    for number in absorbed:
        persons[f"person-{number + 1}"] += persons.pop(f"person-{number}")
    link_identifiers(warehouse, persons)


def give_personas(warehouse: Warehouse, draw: random.Random, as_of: datetime) -> None:
    """Personas of some persons, as of a day; the rest have none yet."""
    given = [n for n in range(PERSONS) if draw.random() < 0.6]
    warehouse.replace(
        "ml.person_personas",
        pa.table(
            {
                "person_id": [f"person-{n}" for n in given],
                "persona_id": [draw.choice(("explorer", "regular")) for _ in given],
                "membership_probability": [0.9 for _ in given],
                "as_of": [as_of for _ in given],
            }
        ),
    )


def spend(day: date, amount: str = "10.01", **changed: Any) -> list[Row]:
    """A day of three campaigns, one of which nobody comes from, and of one without a name."""
    return [
        {
            "date": day,
            "platform": platform,
            "account_id": "1",
            "campaign_id": campaign,
            "campaign_name": name,
            "ad_set_id": "",
            "channel": channel,
            "impressions": 100,
            "clicks": 10,
            "spend_amount": amount,
            "currency": currency,
        }
        | changed
        for platform, campaign, name, channel, currency in (
            ("meta", "spring", None, "paid_social", "EUR"),
            ("google", "77", "Brand", "paid_search", "USD"),
            ("google", "nobody_came", None, "paid_search", "EUR"),
            ("google", "", None, "paid_search", "EUR"),
        )
    ]


def rates(first: date, days: int) -> list[Row]:
    """Dollars of every third day from `first`."""
    return [
        {
            "date": first + timedelta(days=back),
            "currency": "USD",
            "rate_to_workspace": str(round(0.9 + back / 100, 2)),
        }
        for back in range(0, days, 3)
    ]
