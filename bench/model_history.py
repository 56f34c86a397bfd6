"""A long, plain history in the raw tables, made by the server itself.

Belongs here: events, spend and who is who, all drawn by arithmetic from their numbers. Keep out:
measuring.

10,000 events a day; a person comes, is there for about 30 days with 50 events in visits of five,
and goes; every third has an account; one visit in twenty orders. So history grows in length and in
persons, while a day stays a day.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg

EVENTS_A_DAY = 10_000
EVENTS_A_PERSON = 50
DAYS_OF_A_PERSON = 30
FIRST_DAY = datetime(2020, 1, 6, tzinfo=UTC)

EVENTS = """
insert into raw.events (
    event_id, source, type, channel, occurred_at, received_at, batch_id, anonymous_id, user_id,
    context, properties, order_id, revenue_amount, currency
)
select
    'e' || drawn.n,
    'bench',
    drawn.type,
    'web',
    drawn.at,
    drawn.at + interval '2 seconds',
    %(batch_id)s,
    'a' || drawn.person,
    case when drawn.person %% 3 = 0 then 'u' || drawn.person end,
    jsonb_build_object(
        'userAgent', 'Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0',
        'page', jsonb_build_object('url', 'https://shop.example/p' || drawn.n %% 500 || case
            when drawn.n %% 15 = 0
                then '?utm_source=google&utm_medium=cpc&utm_campaign=c' || drawn.visit %% 7
            else ''
        end)
    ),
    case drawn.type
        when 'order_completed' then jsonb_build_object('products', jsonb_build_array(
            jsonb_build_object('product_id', 'P' || drawn.n %% 500, 'quantity', 1)
        ))
        else jsonb_build_object('product_id', 'P' || drawn.n %% 500)
    end,
    case drawn.type when 'order_completed' then 'O' || drawn.n end,
    case drawn.type when 'order_completed' then 10 + drawn.n %% 90 end,
    case drawn.type when 'order_completed' then 'EUR' end
from (
    select
        numbers.n,
        numbers.n / 5 as visit,
        %(first)s::timestamptz + numbers.n * interval '1 day' / %(per_day)s as at,
        abs(floor(
            numbers.n / 5 * 5.0 / %(per_person)s
            - (numbers.n / 5 * 2654435761 %% 4294967296) / 4294967296.0
            * %(per_day)s * %(person_days)s / %(per_person)s
        ))::bigint as person,
        case
            when numbers.n %% 5 = 4 and numbers.n / 5 %% 20 = 0 then 'order_completed'
            when numbers.n %% 5 = 3 then 'product_added'
            when numbers.n %% 5 = 0 then 'page_viewed'
            else 'product_viewed'
        end as type
    from generate_series(%(since)s::bigint, %(until)s::bigint - 1) as numbers (n)
) as drawn
"""
PERSONS = """
insert into {table}
select distinct {columns}
from raw.events as events
cross join lateral (
    values ('anonymous_id', events.anonymous_id), ('user_id', events.user_id)
) as identifiers (type, value)
where events.batch_id = %(batch_id)s and identifiers.value is not null
on conflict do nothing
"""
SPEND = """
insert into raw.ad_spend (
    date, platform, account_id, campaign_id, campaign_name, ad_set_id, channel, impressions,
    clicks, spend_amount, currency, batch_id
)
select
    day::date, 'google', '1', 'c' || campaign, 'c' || campaign, '', 'paid_search', 1000, 50, 10,
    'EUR', %(batch_id)s
from generate_series(%(since)s::date, %(until)s::date, '1 day') as day
cross join generate_series(0, 6) as campaign
"""


def land(connection: psycopg.Connection[Any], since: int, until: int) -> None:
    """Land events number `since` up to before `until` as one batch; business time follows them."""
    first, last = _moment(since), _moment(until)
    for month in _months(first.date(), last.date()):
        following = (month + timedelta(days=32)).replace(day=1)
        connection.execute(
            f"create table if not exists raw.events_{month:%Y%m} partition of raw.events"
            f" for values from ('{month}') to ('{following}')"
        )
    batch_id = _batch(connection, since)
    connection.execute(
        EVENTS,
        {
            "batch_id": batch_id,
            "since": since,
            "until": until,
            "first": FIRST_DAY,
            "per_day": EVENTS_A_DAY,
            "per_person": EVENTS_A_PERSON,
            "person_days": DAYS_OF_A_PERSON,
        },
    )
    connection.execute(SPEND, {"batch_id": batch_id, "since": first.date(), "until": last.date()})
    _link(connection, batch_id)
    connection.execute("delete from raw.workspace")
    connection.execute(
        "insert into raw.workspace (workspace, as_of, currency, time_zone, country)"
        " values ('bench', %s, 'EUR', 'Europe/Berlin', 'DE')",
        [last],
    )


def _batch(connection: psycopg.Connection[Any], since: int) -> int:
    row = connection.execute(
        "insert into raw.batches (source, location, content_hash, started_at, status)"
        " values ('bench', 'bench', %s, '2020-01-01', 'loaded') returning batch_id",
        [str(since)],
    ).fetchone()
    assert row is not None
    return int(row[0])


def _link(connection: psycopg.Connection[Any], batch_id: int) -> None:
    """Who is who, as resolution would say it: its own time is measured elsewhere."""
    person = "'p' || substr(events.anonymous_id, 2)"
    for table, columns in (
        (
            "identity.person_id_ledger (identifier_type, identifier_value, person_id, founded_at)",
            f"'anonymous_id', events.anonymous_id, {person}, timestamptz '2020-01-01'",
        ),
        (
            "ml.identity_clusters (cluster_id, identifier_type, identifier_value)",
            f"{person}, identifiers.type, identifiers.value",
        ),
    ):
        text = PERSONS.format(table=table, columns=columns)
        connection.execute(text, {"batch_id": batch_id})


def _moment(number: int) -> datetime:
    return FIRST_DAY + timedelta(days=number / EVENTS_A_DAY)


def _months(first: date, last: date) -> list[date]:
    months = [first.replace(day=1)]
    while months[-1] <= last:
        months.append((months[-1] + timedelta(days=32)).replace(day=1))
    return months
