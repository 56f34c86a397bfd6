"""Sessions: against a slow reference on random streams, the sample shop's own sessions, addresses.

Belongs here: what opens a session, what is set apart, what brought it. Keep out: what is made of
sessions (test_core_models.py).
"""

import csv
import gzip
import json
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from tests.dbt_project.dbt_building import (
    PROJECT,
    land_batch,
    link_identifiers,
    run_dbt,
    set_business_time,
)
from tests.dbt_project.session_reference import START, Row, reference, stand, streams
from warehouse import Warehouse

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"
SHOP_CHANNELS = {
    "email": ({"source": "news", "medium": "email"}, "email"),
    "organic": ({"source": "google", "medium": "organic"}, "organic_search"),
    "paid_search": ({"source": "google", "medium": "cpc"}, "paid_search"),
    "social": ({"source": "facebook", "medium": "social"}, "organic_social"),
    "direct": (None, "direct"),
}
# Page, referrer -> landing_path, utm_source, utm_medium, utm_campaign, click_id_type, channel.
ARRIVALS: tuple[tuple[str, str, tuple[str | None, ...]], ...] = (
    ("/a?utm_source=News&utm_medium=E-Mail", "", ("/a", "news", "e-mail", None, None, "email")),
    ("/a?gclid=x1", "", ("/a", None, None, None, "gclid", "paid_search")),
    ("/a?q=1&gbraid=x#top", "", ("/a", None, None, None, "gbraid", "paid_search")),
    ("/a?wbraid=x", "", ("/a", None, None, None, "wbraid", "paid_search")),
    ("/a?msclkid=x", "", ("/a", None, None, None, "msclkid", "paid_search")),
    ("/a?ttclid=x", "", ("/a", None, None, None, "ttclid", "paid_social")),
    ("/a?li_fat_id=x", "", ("/a", None, None, None, "li_fat_id", "paid_social")),
    ("/a?fbclid=x", "", ("/a", None, None, None, "fbclid", "organic_social")),
    ("/a?gclid=", "", ("/a", None, None, None, None, "direct")),
    (
        "/a?fbclid=x&utm_source=facebook&utm_medium=paid_social&utm_campaign=Spring%20Sale+1",
        "",
        ("/a", "facebook", "paid_social", "spring sale 1", "fbclid", "paid_social"),
    ),
    (
        "/a?utm_source=google&utm_medium=cpc",
        "",
        ("/a", "google", "cpc", None, None, "paid_search"),
    ),
    (
        "/a?utm_source=google&utm_medium=cpm",
        "",
        ("/a", "google", "cpm", None, None, "display"),
    ),
    (
        "/a?utm_source=youtube&utm_medium=cpv",
        "",
        ("/a", "youtube", "cpv", None, None, "paid_video"),
    ),
    (
        "/a?utm_source=youtube&utm_medium=paid_video",
        "",
        ("/a", "youtube", "paid_video", None, None, "paid_video"),
    ),
    (
        "/a?utm_source=idealo&utm_medium=cpc",
        "",
        ("/a", "idealo", "cpc", None, None, "paid_shopping"),
    ),
    (
        "/a?utm_source=x&utm_medium=retargeting",
        "",
        ("/a", "x", "retargeting", None, None, "paid_social"),
    ),
    (
        "/a?utm_source=xing&utm_medium=paid",
        "",
        ("/a", "xing", "paid", None, None, "paid_other"),
    ),
    ("/a?utm_medium=mobile_push", "", ("/a", None, "mobile_push", None, None, "push")),
    ("/a?utm_medium=affiliates", "", ("/a", None, "affiliates", None, None, "affiliate")),
    ("/a?utm_medium=audio", "", ("/a", None, "audio", None, None, "audio")),
    ("/a?utm_source=sms", "", ("/a", "sms", None, None, None, "sms")),
    ("/", "https://mail.google.com/", ("/", None, None, None, None, "email")),
    ("/", "https://www.google.de/search", ("/", None, None, None, None, "organic_search")),
    ("/", "https://youtu.be/x", ("/", None, None, None, None, "organic_video")),
    ("/", "https://t.co/x", ("/", None, None, None, None, "organic_social")),
    ("/", "https://www.amazon.de/x", ("/", None, None, None, None, "organic_shopping")),
    ("/", "https://blog.example.org/x", ("/", None, None, None, None, "referral")),
    ("/", "https://shop.example/before", ("/", None, None, None, None, "direct")),
    ("/reset/jo@example.com/x", "", ("/reset/*/x", None, None, None, None, "direct")),
    ("/a?utm_campaign=jo%40example.com", "", ("/a", None, None, None, None, "direct")),
)
PEOPLE = (
    BROWSER,
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) Mobile/15E148 [FBAN/FBIOS;FBAV/500.0.0.49.109;FBDV/iPhone15,2]",
    "Mozilla/5.0 (Linux; Android 9; CUBOT X19) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/139.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9 Build/AP4A; wv) AppleWebKit/537.36 (KHTML, like"
    " Gecko) Version/4.0 Chrome/140.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/140.0.0.0 Safari/537.36 OPR/120.0.0.0",
    "Dalvik/2.1.0 (Linux; U; Android 14; SM-S918B Build/UP1A)",
    "Shop/3.2 CFNetwork/1568.100.1 Darwin/24.0.0",
    "okhttp/4.12.0",
    "Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.2; Trident/6.0)",
)


def _assert_sessions_equal_a_slow_reference(warehouse: Warehouse, tmp_path: Path) -> None:
    run_dbt(warehouse, tmp_path, "compile", "-s", "int_sessions_opened", "--full-refresh")
    compiled = tmp_path / "target/compiled/loopdrive/models/marts/int_sessions_opened.sql"
    query = compiled.read_text()
    seen: set[int] = set()

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(streams())
    def agrees(rows: list[Row]) -> None:
        stand(warehouse, rows)
        found = [
            tuple(
                row[column]
                for column in (
                    "person_id",
                    "kind",
                    "started_at",
                    "ended_at",
                    "event_count",
                    "landing_event_id",
                    "utm_campaign",
                    "click_id_type",
                )
            )
            for row in warehouse.rows(query)
        ]
        expected = reference(rows)
        assert sorted(found, key=str) == expected
        seen.update(session[4] for session in expected)

    agrees()
    assert max(seen) > 2, "no session has several events: nothing was tested"


# --- addresses, machines, runaways ------------------------------------------------------------


def _visit(
    person: str, number: int, at: datetime, path: str = "/", referrer: str = "", **context: Any
) -> Row:
    page = {"url": f"https://shop.example{path}", "referrer": referrer}
    return {
        "event_id": f"{person}-{number:06d}",
        "source": "segment",
        "type": "page_viewed",
        "channel": "web",
        "occurred_at": at,
        "received_at": at,
        "user_id": person,
        "context": json.dumps({"page": page, "userAgent": BROWSER} | context),
        "properties": "{}",
    }


def _arrivals() -> list[Row]:
    return [
        _visit(f"arrival{number}", 0, START, path, referrer)
        for number, (path, referrer, _) in enumerate(ARRIVALS)
    ]


def _set_apart() -> list[Row]:
    """A burst, a page that refreshes itself for more than a day, a machine; each beside a visit."""
    later, calm = START + timedelta(days=3), START + timedelta(days=6)
    rows = [_visit("burst", n, later + timedelta(milliseconds=200 * n)) for n in range(250)]
    rows += [_visit("refresh", n, later + timedelta(minutes=10 * n)) for n in range(160)]
    rows += [_visit("many", n, later + timedelta(seconds=4 * n)) for n in range(1001)]
    rows += [_visit("busy", n, later + timedelta(seconds=4 * n)) for n in range(1000)]
    machine = {"userAgent": "Mozilla/5.0 (compatible; examplebot/2.1)"}
    rows += [_visit("machine", n, later + timedelta(minutes=n), **machine) for n in range(5)]
    # a person browses while a machine reads along
    rows += [_visit("machine", 10 + n, later + timedelta(minutes=25 * n)) for n in range(3)]
    rows += [_visit(who, 5000, calm) for who in ("burst", "refresh", "many")]
    return rows


@pytest.fixture
def visited(warehouse: Warehouse, tmp_path: Path) -> Warehouse:
    """All cases of this section, built."""
    rows = _arrivals() + _set_apart()
    land_batch(warehouse, "raw.events", rows)
    persons = sorted({row["user_id"] for row in rows})
    link_identifiers(warehouse, {person: [("user_id", person)] for person in persons})
    set_business_time(warehouse, START + timedelta(days=20))
    run_dbt(warehouse, tmp_path, "seed")
    run_dbt(
        warehouse,
        tmp_path,
        *("run", "-s", "+sessions", "+sessions_set_apart", "+person_days", "+person_chronology"),
    )
    return warehouse


def test_sessions_are_what_people_did(visited: Warehouse, tmp_path: Path) -> None:
    """One build for three questions, because building takes longer than asking."""
    _assert_addresses_say_what_brought_a_visit(visited)
    _assert_the_unbelievable_is_kept_and_named(visited)
    _assert_sessions_equal_a_slow_reference(visited, tmp_path)


def _assert_addresses_say_what_brought_a_visit(visited: Warehouse) -> None:
    found = {
        row["person_id"]: tuple(
            row[column]
            for column in (
                "landing_path",
                "utm_source",
                "utm_medium",
                "utm_campaign",
                "click_id_type",
                "channel",
            )
        )
        for row in visited.rows("select * from marts.sessions where person_id like 'arrival%%'")
    }
    expected = {f"arrival{n}": said for n, (_, _, said) in enumerate(ARRIVALS)}
    assert found == expected


def _assert_the_unbelievable_is_kept_and_named(visited: Warehouse) -> None:
    apart = {
        (row["person_id"], row["kind"], row["event_count"])
        for row in visited.rows("select * from marts.sessions_set_apart")
    }
    assert apart == {
        ("burst", "runaway", 250),
        ("refresh", "runaway", 160),
        ("many", "runaway", 1001),
        ("machine", "bot", 5),
    }
    people = {
        row["person_id"]: row["events"]
        for row in visited.rows(
            "select person_id, sum(event_count) as events from marts.sessions"
            " where person_id not like 'arrival%%' group by person_id"
        )
    }
    assert people == {"burst": 1, "refresh": 1, "many": 1, "busy": 1000, "machine": 3}
    days = {
        row["person_id"]: row["events"]
        for row in visited.rows(
            "select person_id, sum(event_count) as events from marts.person_days"
            " where person_id not like 'arrival%%' group by person_id"
        )
    }
    assert days == people, "what nobody did is in the days of a person"
    both = "select sum(event_count) as events from marts.int_sessions_opened"
    landed = visited.rows("select count(*) as events from raw.events")[0]["events"]
    assert visited.rows(both)[0]["events"] == landed, "a session that is set apart lost events"


def test_machines_are_told_from_people(shared_data: Path) -> None:
    """Postgres' word end is \\y; nothing else in the patterns differs from Python."""
    with (PROJECT / "seeds" / "marts" / "bot_patterns.csv").open(newline="") as file:
        patterns = [row["pattern"].replace(r"\y", r"\b") for row in csv.DictReader(file)]
    machines = re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)
    assert [agent for agent in PEOPLE if machines.search(agent)] == []
    known = json.loads((shared_data / "lists" / "crawler-user-agents.json").read_text())
    agents = [agent for crawler in known for agent in crawler.get("instances", ())]
    caught = sum(machines.search(agent) is not None for agent in agents)
    assert len(agents) > 2000
    assert caught / len(agents) >= 0.9


# --- the sample shop --------------------------------------------------------------------------


@pytest.mark.verify
def test_the_sample_shop_keeps_its_sessions(
    warehouse: Warehouse, tmp_path: Path, shared_data: Path
) -> None:
    """Its sessions follow the same half hour: longest pause within 27:57, shortest between 10 h."""
    with gzip.open(shared_data / "shop_events" / "ecom.csv.gz", "rt") as file:
        clicks = list(csv.DictReader(file))
    land_batch(warehouse, "raw.events", [_shop_event(n, click) for n, click in enumerate(clicks)])
    people = {click["user_id"] for click in clicks}
    link_identifiers(warehouse, {person: [("user_id", person)] for person in people})
    set_business_time(warehouse, datetime(2025, 1, 1, tzinfo=UTC))
    run_dbt(warehouse, tmp_path, "seed")
    run_dbt(warehouse, tmp_path, "run", "-s", "+sessions", "+sessions_set_apart")
    own: dict[str, list[tuple[str, str]]] = defaultdict(list)
    channels = {}
    for number, click in enumerate(clicks):
        own[click["session_id"]].append((click["timestamp"], f"{number:06d}"))
        channels[click["session_id"]] = (
            click["user_id"],
            SHOP_CHANNELS[click["acquisition_channel"]][1],
        )
    expected = {
        (*channels[session], min(rows)[0], max(rows)[0], len(rows), min(rows)[1])
        for session, rows in own.items()
    }
    found = {
        (
            row["person_id"],
            row["channel"],
            f"{row['started_at'].astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            f"{row['ended_at'].astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            row["event_count"],
            row["landing_event_id"],
        )
        for row in warehouse.rows("select * from marts.sessions")
    }
    assert len(expected) == 3605
    assert found == expected
    assert warehouse.rows("select * from marts.sessions_set_apart") == []


def _shop_event(number: int, click: dict[str, str]) -> Row:
    at = datetime.fromisoformat(click["timestamp"]).replace(tzinfo=UTC)
    campaign = SHOP_CHANNELS[click["acquisition_channel"]][0]
    named = {"campaign": campaign} if campaign else {}
    return _visit(click["user_id"], number, at, f"/{click['event']}", **named) | {
        "event_id": f"{number:06d}"
    }
