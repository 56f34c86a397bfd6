"""Limits and failures of a provider: the run ends, all dispatchers wait, the next one goes on."""

from datetime import datetime, timedelta
from email.utils import format_datetime

import pytest

from activations import outcomes, pauses
from activations.dispatch import send_due
from activations.http import Response
from activations.pace import Pace
from activations.providers import provider
from activations.providers.seam import Limits
from sandbox.standins import CREDENTIALS
from tests.activations.sending import MORNING, SENDGRID, TWILIO, due_times, planned
from tests.activations.world import LOST, REFUSED, Vendor, World

RESET = MORNING + timedelta(minutes=7)
TWILIO_LIMIT = b'{"code": 20429, "message": "Too many requests", "status": 429}'


@pytest.mark.parametrize(
    ("provider", "arm", "answer", "until"),
    [
        (TWILIO, "sms_none_news", Response(429, {"retry-after": "420"}, TWILIO_LIMIT), RESET),
        (TWILIO, "sms_none_news", Response(429, {}, TWILIO_LIMIT), MORNING + pauses.LIMIT_PAUSE),
        (
            TWILIO,
            "sms_none_news",
            Response(429, {"retry-after": format_datetime(RESET, usegmt=True)}, TWILIO_LIMIT),
            RESET,
        ),
        (
            SENDGRID,
            "email_none_news",
            Response(
                429,
                {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(RESET.timestamp()))},
            ),
            RESET,
        ),
    ],
)
def test_a_limit_ends_the_run_and_the_next_one_continues(
    world: World, audience, provider, arm: str, answer: Response, until: datetime
) -> None:
    planned(world, audience, 30, arm=arm)
    vendor = Vendor(script=[answer])
    summary = send_due(world.warehouse, MORNING, provider, vendor)
    assert (summary.requests, summary.stopped) == (1, f"{provider.name} takes no more for now")
    early = send_due(world.warehouse, until - timedelta(seconds=1), provider, vendor)
    assert (early.requests, early.stopped) == (0, f"{provider.name} takes no more for now")
    (tick, *_) = due_times(
        world, until - timedelta(minutes=1), until + timedelta(hours=1), provider
    )
    assert tick - until < timedelta(minutes=5)
    done = send_due(world.warehouse, tick, provider, vendor)
    assert (dict(done.by_status), done.stopped) == ({"accepted": 30}, None)
    assert len(set(vendor.keys)) == 30
    assert world.warehouse.rows("select * from delivery.provider_pauses") == []


def test_an_answer_that_leaves_nothing_is_accepted_and_ends_the_run(world: World, audience) -> None:
    planned(world, audience, 1)
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(RESET.timestamp()))}
    vendor = Vendor(script=[Response(202, headers)])
    summary = send_due(world.warehouse, MORNING, SENDGRID, vendor)
    assert dict(summary.by_status) == {"accepted": 1}
    assert summary.stopped == "sendgrid takes no more for now"
    assert world.warehouse.rows("select paused_until from delivery.provider_pauses") == [
        {"paused_until": RESET}
    ]


def test_a_limit_met_by_one_dispatcher_stops_the_other(world: World, audience) -> None:
    planned(world, audience, 20, arm="sms_none_news")
    limited = Vendor(script=[Response(429, {"retry-after": "600"}, TWILIO_LIMIT)])
    other = Vendor()

    def meanwhile(_request: object) -> None:
        if len(other.requests) == 2:
            world.warehouse.execute(
                "insert into delivery.provider_pauses values ('twilio', 0, %(t)s, 'told')",
                t=MORNING + timedelta(minutes=10),
            )

    other.before = meanwhile
    summary = send_due(world.warehouse, MORNING, TWILIO, other)
    assert (summary.requests, summary.stopped) == (3, "told")
    assert send_due(world.warehouse, MORNING, TWILIO, limited).requests == 0


@pytest.mark.parametrize("failure", [LOST, REFUSED, Response(500, {}), Response(503, {})])
def test_the_breaker_opens_probes_and_closes(world: World, audience, failure) -> None:
    planned(world, audience, 40, arm="sms_none_news")
    vendor = Vendor(script=[failure] * 6)
    summary = send_due(world.warehouse, MORNING, TWILIO, vendor)
    assert summary.requests == pauses.BREAK_AFTER
    assert str(summary.stopped).startswith("twilio fails: ")
    soon = MORNING + pauses.FIRST_PAUSE
    probe = send_due(world.warehouse, soon, TWILIO, vendor)
    assert probe.requests == 1, "one message finds out, not a whole round"
    assert send_due(world.warehouse, soon + pauses.FIRST_PAUSE, TWILIO, vendor).requests == 0
    later = soon + 2 * pauses.FIRST_PAUSE
    done = send_due(world.warehouse, later, TWILIO, vendor)
    assert done.stopped is None
    statuses = [status for status, _ in world.statuses().values()]
    lost = 0 if failure is REFUSED else 6
    assert statuses.count("unknown") == lost
    assert statuses.count("planned") + statuses.count("accepted") == 40 - lost
    assert len(vendor.keys) - len(set(vendor.keys)) == (6 if failure is REFUSED else 0)


def test_a_failure_that_names_a_time_is_left_alone_until_then(world: World, audience) -> None:
    planned(world, audience, 3, arm="sms_none_news")
    vendor = Vendor(script=[Response(503, {"retry-after": "420"})])
    assert send_due(world.warehouse, MORNING, TWILIO, vendor).requests == 1
    assert send_due(world.warehouse, RESET - timedelta(minutes=1), TWILIO, vendor).requests == 0
    assert send_due(world.warehouse, RESET, TWILIO, vendor).requests == 2


def test_refused_credentials_pause_every_dispatcher(world: World, audience) -> None:
    planned(world, audience, 30, arm="sms_none_news")
    send_due(world.warehouse, MORNING, TWILIO, Vendor(script=[Response(401, {})]))
    soon = MORNING + timedelta(minutes=5)
    assert send_due(world.warehouse, soon, TWILIO, Vendor()).requests == 0
    later = MORNING + outcomes.AUTH_RETRY
    assert dict(send_due(world.warehouse, later, TWILIO, Vendor()).by_status) == {"accepted": 30}


@pytest.mark.parametrize("value", ["9" * 30, "9" * 5000, "\u00b2", "-5", "soon", ""])
def test_headers_that_are_no_times_are_no_errors(value: str) -> None:
    """An error here would come after the provider accepted, and make its answer a lost one."""
    for name in ("sendgrid", "resend", "twilio"):
        headers = dict.fromkeys(
            ("retry-after", "x-ratelimit-reset", "x-ratelimit-remaining", "ratelimit-reset"), value
        )
        told = provider(name, CREDENTIALS).rate(Response(429, headers), MORNING).resume_at
        assert told is None or told > MORNING


def test_an_absurd_limit_is_a_day_at_most(world: World, audience) -> None:
    planned(world, audience, 1, arm="sms_none_news")
    answer = Response(429, {"retry-after": "9" * 30}, TWILIO_LIMIT)
    send_due(world.warehouse, MORNING, TWILIO, Vendor(script=[answer]))
    (row,) = world.warehouse.rows("select paused_until from delivery.provider_pauses")
    assert row["paused_until"] == MORNING + pauses.LONGEST_LIMIT


class Clock:
    """Seconds that pass when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1e-4)


def test_the_bucket_lets_a_burst_pass_and_then_the_rate(world: World) -> None:
    clock = Clock()
    limits = Limits(1, 1, 10.0, 4, "none", False)
    pace = Pace("account", limits, clock, clock.sleep)
    taken = []
    with world.warehouse.connect() as connection:
        connection.autocommit = True
        for _ in range(24):
            pace.take(connection)
            taken.append(clock())
        pace.give_back(connection)
        held = connection.execute("select count(*) as n from pg_locks where locktype = 'advisory'")
        assert held.fetchone() == {"n": 0}
    assert taken[3] == 0.0
    assert taken[-1] == pytest.approx(2.0, abs=0.1)
    busiest = max(sum(at <= one < at + 1 for one in taken) for at in taken)
    assert busiest <= 10 + 4


def test_two_dispatchers_share_one_bucket(world: World) -> None:
    clock = Clock()
    limits = Limits(1, 1, 10.0, 2, "none", False)
    taken = []
    with world.warehouse.connect() as one, world.warehouse.connect() as other:
        one.autocommit = other.autocommit = True
        paces = [(Pace("account", limits, clock, clock.sleep), line) for line in (one, other)]
        for _ in range(5):
            for pace, line in paces:
                pace.take(line)
                taken.append(clock())
    assert clock() == pytest.approx(0.8, abs=0.1)
