"""Lost answers of a provider without keys, settled by its own list; nothing is sent again."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pytest

from activations import audit, http, wallet
from activations.dispatch import send_due
from activations.http import Answer, Request, Response
from activations.lookups import NOT_FOUND, look_up
from activations.providers import provider
from sandbox import standins
from sandbox.standins import CREDENTIALS, StandIns
from tests.activations.sending import MORNING, SENDGRID, planned
from tests.activations.world import LOST, Vendor, World

LATER = MORNING + timedelta(minutes=15)
Send = Callable[[Request], Answer]


@pytest.fixture
def vendors(tmp_path: Path) -> Iterator[StandIns]:
    with standins.serve(tmp_path) as served:
        served.set_clock(MORNING)
        yield served


@pytest.fixture
def send() -> Iterator[Send]:
    with http.open_client("sandbox") as client:
        yield partial(http.send, client)


def test_the_list_tells_which_of_the_lost_ones_went_out(
    world: World, audience, vendors: StandIns, send: Send
) -> None:
    planned(world, audience, 4, arm="sms_none_news")
    twilio = provider("twilio", CREDENTIALS, vendors.urls["twilio"])
    vendors.fail("twilio", "reset_after_accept", times=2)
    vendors.fail("twilio", "reset_before")
    send_due(world.warehouse, MORNING, twilio, send)
    assert look_up(world.warehouse, twilio, send, MORNING) == 0, "the list cannot know of it yet"
    asked: list[Request] = []

    def noting(request: Request) -> Answer:
        asked.append(request)
        return send(request)

    assert look_up(world.warehouse, twilio, noting, LATER) == 2
    assert sorted(world.statuses().values(), key=str) == sorted(
        [("accepted", None)] * 3 + [("unknown", NOT_FOUND)], key=str
    )
    assert [request.method for request in asked] == ["GET"]
    people = world.warehouse.rows("select address from identity.contact_points")
    assert not any(row["address"] in unquote(asked[0].url) for row in people)
    assert look_up(world.warehouse, twilio, noting, LATER) == 0
    assert len(asked) == 1, "what the list does not show is looked up once"
    assert audit.verify(world.warehouse).is_intact
    assert wallet.imbalances(world.warehouse) == []


def test_a_list_is_read_page_by_page(world: World, audience, vendors: StandIns, send: Send) -> None:
    planned(world, audience, 105, arm="sms_none_news")
    twilio = provider("twilio", CREDENTIALS, vendors.urls["twilio"])
    vendors.fail("twilio", "reset_after_accept")
    send_due(world.warehouse, MORNING, twilio, send)
    pages: list[str] = []

    def noting(request: Request) -> Answer:
        pages.append(request.url)
        return send(request)

    assert look_up(world.warehouse, twilio, noting, LATER) == 1
    assert len(pages) == 2


def test_a_list_that_does_not_answer_is_asked_another_time(world: World, audience) -> None:
    planned(world, audience, 1, arm="sms_none_news")
    twilio = provider("twilio", CREDENTIALS)
    send_due(world.warehouse, MORNING, twilio, Vendor(script=[LOST]))
    assert look_up(world.warehouse, twilio, lambda _: Response(503, {}), LATER) == 0
    assert world.statuses()["p000"] == ("unknown", "no_answer:ReadTimeout")


def test_a_provider_without_a_list_is_not_asked(world: World, audience) -> None:
    planned(world, audience, 1)
    send_due(world.warehouse, MORNING, SENDGRID, Vendor(script=[LOST]))
    assert look_up(world.warehouse, SENDGRID, Vendor(), LATER) == 0
    assert world.statuses()["p000"] == ("unknown", "no_answer:ReadTimeout")
