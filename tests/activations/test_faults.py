"""Faults that a vendor, the network and the calendar bring; messages are counted at the stand-in.

Belongs here: a real client, real sockets, the vendors' own errors. Keep out: crashes of ours
(`test_kills.py`, `test_crashes.py`), rules of pauses (`test_pauses.py`).
"""

import json
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest

from activations import audit, http, wallet
from activations.dispatch import send_due, send_until
from activations.providers import provider
from activations.providers.seam import MessageProvider
from activations.settlement import settle
from sandbox import standins
from sandbox.standins import CREDENTIALS, StandIns
from tests.activations.keyed import Keyed, KeyedVendor
from tests.activations.sending import MORNING, SENDGRID, event, keys, planned
from tests.activations.world import AS_OF, TABLES, Vendor, World
from warehouse import Warehouse, migrations
from warehouse import server as servers

ARMS = {"sendgrid": "email_none_news", "twilio": "sms_none_news"}
QUICK = httpx.Timeout(5.0, read=0.25)
DAY = timedelta(hours=12)


@pytest.fixture
def vendors(tmp_path: Path) -> Iterator[StandIns]:
    with standins.serve(tmp_path) as served:
        served.set_clock(MORNING)
        yield served


def taken(vendors: StandIns) -> Counter[str]:
    """How often the stand-ins took each message."""
    path = vendors.desk.folder / "accepted.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(json.loads(line)["message_key"] for line in lines)


def reach(vendors: StandIns, name: str) -> MessageProvider:
    return provider(name, CREDENTIALS, vendors.urls[name])


def is_right(world: World) -> bool:
    return audit.verify(world.warehouse).is_intact and not wallet.imbalances(world.warehouse)


# What the vendor took of three messages, and what we know of the ones of the faulty request.
FAULTS = {
    "rate_limited": (3, "accepted"),
    "unauthorized": (3, "accepted"),
    "server_error": (0, "unknown"),
    "error_after_accept": (3, "unknown"),
    "reset_before": (0, "unknown"),
    "reset_after_accept": (3, "unknown"),
    "slow": (3, "unknown"),
}


@pytest.mark.parametrize("name", sorted(ARMS))
@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_a_fault_of_the_vendor_sends_nothing_twice_and_forgets_nothing(
    world: World, audience, vendors: StandIns, name: str, kind: str
) -> None:
    count = 3 if name == "sendgrid" else 1
    planned(world, audience, count, arm=ARMS[name])
    vendors.fail(name, kind, seconds=0.6)  # type: ignore[arg-type]
    with http.open_client("sandbox", timeout=QUICK) as client:
        send_until(world.warehouse, AS_OF, AS_OF + DAY, reach(vendors, name),
                   partial(http.send, client), vendors.set_clock)  # fmt: skip
    time.sleep(0.4 if kind == "slow" else 0.0)
    heard, status = FAULTS[kind]
    assert sum(taken(vendors).values()) == heard * count // 3
    assert max(taken(vendors).values(), default=1) == 1
    assert {held for held, _ in world.statuses().values()} == {status}
    assert is_right(world)


def test_a_lost_answer_is_settled_by_the_vendors_event(
    world: World, audience, vendors: StandIns
) -> None:
    planned(world, audience, 2)
    vendors.fail("sendgrid", "reset_after_accept")
    with http.open_client("sandbox") as client:
        send_due(world.warehouse, MORNING, reach(vendors, "sendgrid"), partial(http.send, client))
    for key in taken(vendors):
        event(world, "processed", key)
    assert settle(world.warehouse, AS_OF + DAY).messages == 2
    assert {status for status, _ in world.statuses().values()} == {"accepted"}


@contextmanager
def trickling(seconds: float) -> Iterator[tuple[str, list[int]]]:
    """A vendor whose answer never ends: a byte every now and then."""
    sent: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            line, _ = listener.accept()
            with line:
                line.recv(1 << 16)
                line.sendall(b"HTTP/1.1 202 OK\r\nContent-Length: 100000\r\n\r\n")
                try:
                    while len(sent) < 500:
                        line.sendall(b"x")
                        sent.append(1)
                        time.sleep(seconds)
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", sent
        thread.join(timeout=5)


def test_an_answer_that_trickles_is_given_up(world: World, audience) -> None:
    """Each byte comes in time; the whole of it never would."""
    planned(world, audience, 1)
    with http.open_client("sandbox", timeout=QUICK) as client, trickling(0.02) as (url, sent):
        send = partial(http.send, client, answer_seconds=0.3)
        send_due(world.warehouse, MORNING, provider("sendgrid", CREDENTIALS, url), send)
    assert world.statuses()["p000"] == ("unknown", "no_answer:AnswerTooSlow")
    assert len(sent) < 100


def test_a_success_with_an_error_inside_is_no_success(world: World, audience) -> None:
    """HTTP 201 whose message failed at once, HTTP 200 whose rows are refused or missing."""
    planned(world, audience, 4)
    first, second, third, fourth = keys(world)
    rows = {first: "ok", second: "invalid", third: "later"}
    vendor = KeyedVendor(script=[http.Response(200, {}, json.dumps(rows).encode())])
    send_due(world.warehouse, MORNING, Keyed(), vendor)
    held = world.warehouse.rows("select message_key, status from delivery.messages order by 1")
    assert {row["message_key"]: row["status"] for row in held} == {
        first: "accepted", second: "failed", third: "planned", fourth: "unknown",
    }  # fmt: skip


def test_a_message_that_failed_inside_a_201_is_failed(world: World, audience) -> None:
    planned(world, audience, 1, arm="sms_none_news")
    body = b'{"sid": "SM1", "status": "failed", "error_code": 30003}'
    vendor = Vendor(script=[http.Response(201, {}, body)])
    send_due(world.warehouse, MORNING, provider("twilio", CREDENTIALS), vendor)
    assert world.statuses()["p000"] == ("failed", "permanent:30003")


def test_a_batch_refused_whole_fails_and_spends_nothing(
    world: World, audience, vendors: StandIns
) -> None:
    planned(world, audience, 4)
    world.warehouse.execute(
        "update delivery.payloads set body = jsonb_set(body, '{sender}', '\"nobody\"')"
    )
    with http.open_client("sandbox") as client:
        send_until(world.warehouse, AS_OF, AS_OF + DAY, reach(vendors, "sendgrid"),
                   partial(http.send, client), vendors.set_clock)  # fmt: skip
    assert {status for status, _ in world.statuses().values()} == {"failed"}
    assert not taken(vendors)
    assert is_right(world)


def test_a_batch_refused_for_one_fails_that_one(world: World, audience) -> None:
    """The vendor names nobody, so the request is cut in two until only the one is left."""
    planned(world, audience, 40)

    def answer(request: http.Request) -> http.Answer:
        vendor(request)
        is_refused = b"p017@example.com" in request.content
        return http.Response(400, {}, b"{}") if is_refused else http.Response(202, {})

    vendor = Vendor()
    summary = send_due(world.warehouse, MORNING, SENDGRID, answer)
    statuses = world.statuses()
    assert statuses.pop("p017") == ("failed", "permanent:400")
    assert set(statuses.values()) == {("accepted", None)}
    assert summary.requests == len(vendor.requests) <= 13  # 1 + 2 x the six halvings of 40
    assert is_right(world)


def test_when_everything_is_refused_the_search_ends(world: World, audience) -> None:
    planned(world, audience, 90)
    summary = send_due(world.warehouse, MORNING, SENDGRID, lambda _: http.Response(400, {}))
    assert dict(summary.by_status) == {"failed": 90}
    assert summary.requests < 90
    assert is_right(world)


@pytest.mark.parametrize(
    ("evening", "morning"),
    [
        # London, 2026-03-29: 01:00 UTC becomes 02:00 local. 08:00 is 08:00 UTC before, 07:00 after.
        (datetime(2026, 3, 27, 21, 30, tzinfo=UTC), datetime(2026, 3, 28, 8, tzinfo=UTC)),
        (datetime(2026, 3, 28, 21, 30, tzinfo=UTC), datetime(2026, 3, 29, 7, tzinfo=UTC)),
        # London, 2026-10-25: back again.
        (datetime(2026, 10, 23, 20, 30, tzinfo=UTC), datetime(2026, 10, 24, 7, tzinfo=UTC)),
        (datetime(2026, 10, 24, 20, 30, tzinfo=UTC), datetime(2026, 10, 25, 8, tzinfo=UTC)),
    ],
)
def test_the_night_ends_at_eight_whatever_the_clocks_do(
    world: World, audience, evening: datetime, morning: datetime
) -> None:
    audience(1)
    world.warehouse.execute("update raw.workspace set as_of = %(t)s", t=evening)
    noon = evening - timedelta(hours=9)
    assert world.decide(world.program("win_back"), noon, arm="email_none_news").sends == 1
    world.warehouse.execute("update delivery.messages set send_at = %(t)s", t=evening)
    vendor = Vendor()
    send_due(world.warehouse, evening, SENDGRID, vendor)
    (row,) = world.warehouse.rows("select status, send_at from delivery.messages")
    assert row == {"status": "planned", "send_at": morning}
    early = morning - timedelta(minutes=1)
    assert send_due(world.warehouse, early, SENDGRID, vendor).requests == 0
    assert send_due(world.warehouse, morning, SENDGRID, vendor).requests == 1


def test_the_same_webhook_five_times_in_reverse_order(world: World, audience) -> None:
    planned(world, audience, 1)
    send_due(world.warehouse, MORNING, SENDGRID, Vendor())
    (key,) = keys(world)
    seen = []
    for number, kind in reversed(list(enumerate(("processed", "delivered", "open", "bounce")))):
        event(world, kind, key, number)
        for _ in range(5):
            with pytest.raises(psycopg.errors.UniqueViolation):
                event(world, kind, key, number)
            seen.append(settle(world.warehouse, AS_OF + DAY))
    assert world.statuses()["p000"] == ("failed", "bounce")
    assert sum(one.messages for one in seen) == 1
    assert sum(one.suppressions for one in seen) == 1
    assert audit.verify(world.warehouse).is_intact


@pytest.fixture
def own_server() -> Iterator[Path]:
    """The home of a server that this test may stop and start."""
    home = Path(tempfile.mkdtemp(prefix="loopdrive-own-"))
    try:
        running = servers.start(home)
        with psycopg.connect(running.url("postgres"), autocommit=True) as connection:
            connection.execute("create database own template template0")
        migrations.apply(running.url("own"))
        yield home
    finally:
        servers.stop(home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.verify
def test_a_server_that_restarts_during_a_batch_loses_no_answer(own_server: Path) -> None:
    """The answer is written on a new connection; what was not begun goes out in a later run."""
    house = Warehouse(url=servers.start(own_server).url("own"))
    with house.connect() as connection:
        connection.autocommit = True
        connection.execute(TABLES)
        connection.execute(
            "insert into raw.workspace (workspace, as_of, currency, time_zone, country)"
            " values ('own', %s, 'GBP', 'Europe/London', 'GB')",
            [AS_OF],
        )
        world = World(house, connection)
        program = world.program("win_back")
        people = [f"p{number:03d}" for number in range(30)]
        for person in people:
            world.person(person, sms=True)
            world.occasion("win_back", person)
        world.assign("win_back", "policy", people)
        assert world.decide(program, arm="sms_none_news").sends == 30
    vendor = Vendor()

    def restart(_request: object) -> None:
        if len(vendor.requests) == 7:
            servers.stop(own_server)
            servers.start(own_server)

    vendor.before = restart
    twilio = provider("twilio", CREDENTIALS)
    with pytest.raises(psycopg.OperationalError):
        send_due(house, MORNING, twilio, vendor)
    statuses = Counter(status for status, _ in world.statuses().values())
    assert statuses == {"accepted": 8, "reserved": 17, "planned": 5}
    send_until(house, MORNING, MORNING + DAY, twilio, vendor, lambda _moment: None)
    assert Counter(status for status, _ in world.statuses().values()) == {"accepted": 30}
    assert len(vendor.keys) == len(set(vendor.keys)) == 30
    assert audit.verify(house).is_intact
