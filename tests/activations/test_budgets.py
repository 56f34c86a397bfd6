"""Budgets and conversions: approved by rule, set once, read back; uploaded once, with consent."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from activations import audit, budgets, consent, conversions, reviews, wallet
from activations.consent import Change
from activations.http import Answer, Request, Response, TransportError
from activations.keys import address_hash
from activations.platforms import platform
from tests.activations.world import AS_OF, LOST, World

META = platform("meta", "token", {"pixel_id": "123"})


@dataclass
class Meta:
    """Budgets and events as the Graph API keeps them."""

    budgets: dict[str, int]
    requests: list[Request] = field(default_factory=list)
    lost: int = 0
    events: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> Answer:
        self.requests.append(request)
        path = request.url.split("?")[0].rsplit("/", 1)[-1]
        if path == "events":
            data = json.loads(request.content)["data"]
            self.events += [event["event_id"] for event in data]
            if self.lost:
                self.lost -= 1
                return LOST
            return self._ok({"events_received": len(data), "messages": [], "fbtrace_id": "x"})
        if request.method == "POST":
            self.budgets[path] = json.loads(request.content)["daily_budget"]
            return self._ok({"success": True})
        return self._ok({"id": path, "daily_budget": str(self.budgets[path])})

    @staticmethod
    def _ok(body: object) -> Response:
        return Response(200, {}, json.dumps(body).encode())


def proposals(**amounts: tuple[float, float]) -> pa.Table:
    rows = [
        {
            "platform": "meta",
            "campaign_id": name,
            "previous_amount": before,
            "proposed_amount": after,
            "reason": "test",
        }
        for name, (before, after) in amounts.items()
    ]
    return pa.Table.from_pylist(rows)


def statuses(world: World) -> dict[str, str]:
    rows = world.warehouse.rows("select campaign_id, status from delivery.budget_plans")
    return {row["campaign_id"]: row["status"] for row in rows}


def test_small_steps_are_approved_by_rule_and_large_ones_wait(world: World) -> None:
    table = proposals(small=(100, 120), down=(100, 80), large=(100, 121), deep=(100, 70))
    planned = budgets.plan(world.warehouse, AS_OF, table)
    assert planned.by_status == {"approved": 2, "proposed": 2}
    assert statuses(world) == {
        "small": "approved", "down": "approved", "large": "proposed", "deep": "proposed",
    }  # fmt: skip
    assert budgets.plan(world.warehouse, AS_OF, table).by_status == {}
    waiting = reviews.open_reviews(world.warehouse)
    assert [row["kind"] for row in waiting] == ["budget", "budget"]
    reviews.decide(world.warehouse, waiting[0]["review_id"], "approved", "me", AS_OF)
    reviews.decide(world.warehouse, waiting[1]["review_id"], "rejected", "me", AS_OF)
    assert sorted(statuses(world).values()) == ["approved"] * 3 + ["rejected"]


def test_beyond_the_daily_limit_only_increases_wait(world: World) -> None:
    table = proposals(up=(100, 110), down=(100, 95))
    budgets.plan(world.warehouse, AS_OF, table, daily_limit=Decimal(200))
    assert statuses(world) == {"up": "proposed", "down": "approved"}


def test_budgets_are_set_read_back_and_left_alone_afterwards(world: World) -> None:
    budgets.plan(world.warehouse, AS_OF, proposals(a=(100, 110), b=(50, 50)))
    meta = Meta({"a": 10_000, "b": 5_000})
    pushed = budgets.push(world.warehouse, AS_OF, META, meta, AS_OF)
    assert pushed.by_status == {"confirmed": 2}
    assert meta.budgets == {"a": 11_000, "b": 5_000}
    assert pushed.requests == 4  # read, write, read back; and one reading of what was right already
    assert budgets.push(world.warehouse, AS_OF, META, meta, AS_OF).requests == 0
    with world.warehouse.transaction() as connection:
        later = AS_OF + timedelta(days=1)
        assert wallet.balance(connection, "ads_reserved:meta", later) == 16_000
    tomorrow = AS_OF + timedelta(days=1)
    budgets.plan(world.warehouse, tomorrow, proposals(a=(110, 100)))
    budgets.push(world.warehouse, tomorrow, META, meta, tomorrow)
    with world.warehouse.transaction() as connection:
        later = tomorrow + timedelta(days=1)
        assert wallet.balance(connection, "ads_reserved:meta", later) == 10_000
        assert wallet.balance(connection, "ads_spent:meta", later) == 16_000
    assert wallet.imbalances(world.warehouse) == []
    assert audit.verify(world.warehouse).is_intact


def test_a_platform_that_does_not_answer_is_asked_again(world: World) -> None:
    budgets.plan(world.warehouse, AS_OF, proposals(a=(100, 110)))

    def silent(_request: Request) -> Answer:
        return TransportError("not_processed", "ConnectError")

    assert budgets.push(world.warehouse, AS_OF, META, silent, AS_OF).by_status == {"pushed": 1}
    meta = Meta({"a": 10_000})
    assert budgets.push(world.warehouse, AS_OF, META, meta, AS_OF).by_status == {"confirmed": 1}
    assert world.warehouse.rows("select reason from delivery.budget_plans") == [{"reason": "test"}]


def test_a_dry_run_pushes_nothing(world: World) -> None:
    budgets.plan(world.warehouse, AS_OF, proposals(a=(100, 110)))
    assert budgets.push(world.warehouse, AS_OF, META, None, AS_OF).by_status == {"approved": 1}
    assert statuses(world) == {"a": "approved"}


@pytest.fixture
def converted(world: World) -> World:
    """Six conversions: one fit to upload, five that are not, each for its own reason."""
    for person in ("fit", "shy"):
        world.person(person)
    world.warehouse.execute("update marts.consents set status = 'unknown' where person_id = 'shy'")
    rows = [
        ("fit", "fit", "fbclid", 1),
        ("organic", "fit", None, 1),
        ("other", "fit", "gclid", 1),
        ("both", "fit", "gbraid", 9),  # one order after clicks on two platforms, too old for one
        ("both", "fit", "fbclid", 9),
        ("both", "fit", "gclid", 9),
        ("old", "fit", "fbclid", 9),
        ("shy", "shy", "fbclid", 1),
    ]
    for name, person, click, days in rows:
        world.warehouse.execute(
            "insert into activation.conversion_candidates values"
            " (%(i)s, %(p)s, %(t)s, 40, 'GBP', %(c)s, %(v)s, 'website', 'order_completed')",
            i=name, p=person, t=AS_OF - timedelta(days=days), c=click,
            v="click-1" if click else None,
        )  # fmt: skip
    return world


def test_what_is_left_out_keeps_its_reason(converted: World) -> None:
    planned = conversions.plan(converted.warehouse, AS_OF, META)
    assert planned.by_status == {"planned": 1, "skipped": 5}
    rows = converted.warehouse.rows(
        "select conversion_id, diagnostics ->> 'reason' as reason from delivery.conversion_uploads"
    )
    assert {row["conversion_id"]: row["reason"] for row in rows} == {
        "fit": None, "organic": "no_click_id", "other": "no_click_id", "old": "too_old",
        "shy": "no_consent", "both": "too_old",
    }  # fmt: skip
    assert conversions.plan(converted.warehouse, AS_OF, META).by_status == {}
    google = platform("google", "t", {"customer_id": "1", "conversion_action_id": "2"})
    assert conversions.plan(converted.warehouse, AS_OF, google).by_status == {
        "planned": 2, "skipped": 4,
    }  # fmt: skip


def test_a_conversion_is_uploaded_once(converted: World) -> None:
    conversions.plan(converted.warehouse, AS_OF, META)
    meta = Meta({})
    uploaded = conversions.upload(converted.warehouse, META, meta, AS_OF)
    assert (uploaded.by_status, uploaded.requests) == ({"uploaded": 1}, 1)
    assert conversions.upload(converted.warehouse, META, meta, AS_OF).requests == 0
    assert meta.events == ["fit"]
    assert b"fit@example.com" not in meta.requests[0].content
    assert audit.verify(converted.warehouse).is_intact


def test_a_lost_upload_goes_again_within_the_window_only(converted: World) -> None:
    conversions.plan(converted.warehouse, AS_OF, META)
    meta = Meta({}, lost=1)
    assert conversions.upload(converted.warehouse, META, meta, AS_OF).by_status == {"unknown": 1}
    assert conversions.upload(converted.warehouse, META, meta, AS_OF).requests == 0
    late = AS_OF + timedelta(hours=48)
    assert conversions.upload(converted.warehouse, META, meta, late).requests == 0
    soon = AS_OF + timedelta(hours=24)
    assert conversions.upload(converted.warehouse, META, meta, soon).by_status == {"uploaded": 1}
    assert meta.events == ["fit", "fit"]
    assert meta.requests[0].content == meta.requests[1].content


def test_consent_revoked_before_the_upload_stops_it(converted: World) -> None:
    conversions.plan(converted.warehouse, AS_OF, META)
    revoked = Change("email", address_hash("fit@example.com"), "revoked", "page", AS_OF)
    consent.record(converted.warehouse, [revoked])
    meta = Meta({})
    uploaded = conversions.upload(converted.warehouse, META, meta, AS_OF)
    assert uploaded.by_status == {"skipped": 1}
    assert meta.requests == []
