"""Consent by law and by topic: what a grant must say, at planning and again at sending."""

from datetime import timedelta

import pytest

from activations import consent, dispatch
from activations.consent import Change
from tests.activations.sending import MORNING, TWILIO
from tests.activations.world import AS_OF, Vendor, World

AMERICAN, BRITISH = "+12125550123", "+447700900123"


def texted(world: World, number: str, regulation: str | None) -> str:
    """A person who can be reached by text alone, with a grant under a regulation."""
    world.program("win_back")
    world.assign("win_back", "policy", ["p"])
    world.warehouse.execute(
        "insert into identity.profiles (person_id, first_name, time_zone, country, locale)"
        " values ('p', 'Ada', 'Europe/London', 'GB', 'en')"
    )
    hashed = world.address("p", "sms", number)
    world.warehouse.execute("update marts.consents set regulation = %(r)s", r=regulation)
    world.occasion("win_back", "p")
    return hashed


@pytest.mark.parametrize(
    ("number", "regulation", "reason"),
    [
        (AMERICAN, "TCPA", None),
        (AMERICAN, "tcpa: prior express written consent", None),
        (AMERICAN, "GDPR", "no_written_consent"),
        (AMERICAN, None, "no_written_consent"),
        (BRITISH, None, None),
        (BRITISH, "UK GDPR", None),
    ],
)
def test_a_text_to_america_needs_written_consent(
    world: World, number: str, regulation: str | None, reason: str | None
) -> None:
    texted(world, number, regulation)
    recorded = world.decide(world.program("win_back"), arm="sms_none_news")
    assert recorded.sends == (reason is None)
    if reason:
        assert dict(recorded.by_reason) == {reason: 1}


def test_a_grant_that_lost_its_law_before_sending_is_not_used(world: World) -> None:
    hashed = texted(world, AMERICAN, "TCPA")
    world.decide(world.program("win_back"), arm="sms_none_news")
    # A new grant without a word on the law it was asked under, through the gateway.
    later = AS_OF + timedelta(hours=1)
    consent.record(world.warehouse, [Change("sms", hashed, "granted", "page", later)])
    vendor = Vendor()
    dispatch.send_due(world.warehouse, MORNING, TWILIO, vendor)
    assert vendor.requests == []
    assert world.statuses() == {"p": ("skipped", "no_written_consent")}


@pytest.mark.parametrize("status", ["unknown", "revoked", None])
def test_a_double_opt_in_that_was_never_confirmed_is_no_consent(
    world: World, status: str | None
) -> None:
    world.program("win_back")
    world.assign("win_back", "policy", ["p"])
    world.warehouse.execute("insert into identity.profiles (person_id) values ('p')")
    world.address("p", "email", "p@example.com", status)
    world.occasion("win_back", "p")
    recorded = world.decide(world.program("win_back"))
    assert dict(recorded.by_reason) == {"no_consent": 1}


def test_a_topic_given_up_silences_its_program_at_planning_and_no_other(
    world: World, audience
) -> None:
    audience(1)
    world.program("welcome")
    world.assign("welcome", "policy", ["p000"])
    world.occasion("welcome", "p000")
    hashed = world.warehouse.rows("select address_hash from marts.consents")[0]["address_hash"]
    given_up = Change("email", hashed, "revoked", "page", AS_OF, consent.topic_scope("win_back"))
    consent.record(world.warehouse, [given_up])
    assert dict(world.decide(world.program("win_back")).by_reason) == {"topic_refused": 1}
    assert world.decide(world.program("welcome")).sends == 1
