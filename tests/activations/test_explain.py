"""One person's story: decisions with verdicts, messages with answers, also through a merge."""

from datetime import timedelta

import pytest

from activations import explain, reviews
from activations.dispatch import send_due
from activations.explain import UnknownPersonError
from activations.programs import Approval
from activations.settlement import settle
from tests.activations.world import AS_OF, Vendor, World, adapter


def test_a_story_tells_what_was_decided_said_and_answered(world: World, audience) -> None:
    audience(2)
    world.decide(world.program("win_back"))
    now = AS_OF + timedelta(hours=3)
    send_due(world.warehouse, now, adapter("sendgrid"), Vendor())
    key = world.warehouse.rows(
        "select message_key from delivery.messages where person_id = 'p000'"
    )[0]["message_key"]
    world.connection.execute(
        "insert into raw.provider_events values ('sendgrid', '1', %s, 'click', %s, '{}', %s, 1)",
        [key, now, now],
    )
    story = explain.explain(world.warehouse, "p000")
    assert [row["outcome"] for row in story.decisions] == ["send"]
    assert set(story.decisions[0]["verdicts"]) == set(world.program("win_back").arm_names)
    assert story.messages[0]["status"] == "accepted"
    assert [event["type"] for event in story.messages[0]["events"]] == ["click"]
    assert story.assignments[0]["assignment"] == "policy"
    assert "@example.com" not in repr(story)


def test_an_absorbed_person_is_told_by_the_survivor(world: World, audience) -> None:
    audience(2)
    world.decide(world.program("win_back"))
    world.connection.execute(
        "insert into identity.merges values ('m', 'p000', 'p001', %s, '{}', null, null)", [AS_OF]
    )
    story = explain.explain(world.warehouse, "p001")
    assert (story.person_id, story.absorbed) == ("p000", ["p001"])
    assert len(story.decisions) == 2


def test_nobody_has_no_story(world: World) -> None:
    with pytest.raises(UnknownPersonError, match="nobody"):
        explain.explain(world.warehouse, "nobody")


def test_what_nobody_reviews_in_time_is_skipped(world: World, audience) -> None:
    audience(1)
    program = world.program("win_back", approval=Approval(offer_percent_over=15))
    world.decide(program, arm="email_20_discount")
    assert settle(world.warehouse, AS_OF + timedelta(hours=71)).messages == 0
    assert settle(world.warehouse, AS_OF + timedelta(hours=75)).messages == 1
    assert world.statuses()["p000"] == ("skipped", "expired")


def test_a_released_message_is_sent_and_a_rejected_one_is_not(world: World, audience) -> None:
    audience(2)
    program = world.program("win_back", approval=Approval(offer_percent_over=15))
    world.decide(program, arm="email_20_discount")
    now = AS_OF + timedelta(hours=3)
    vendor = Vendor()
    assert send_due(world.warehouse, now, adapter("sendgrid"), vendor).requests == 0
    first, second = reviews.open_reviews(world.warehouse)
    assert first["seen"] is not None
    reviews.decide(world.warehouse, first["review_id"], "approved", "me", now)
    reviews.decide(world.warehouse, second["review_id"], "rejected", "me", now, note="too deep")
    send_due(world.warehouse, now, adapter("sendgrid"), vendor)
    assert vendor.keys == [first["subject_id"]]
    assert sorted(world.statuses().values()) == [("accepted", None), ("skipped", "rejected")]
