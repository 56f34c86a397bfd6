"""Messages: from a chosen arm to a finished, timed and addressed message.

Belongs here: the message's key, its words, its time, and the payload the provider will get.
Keep out: choosing (`choices.py`), writing tables (`decisions.py`), sending (`dispatch.py`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from activations import copy, quiet_hours
from activations.keys import stable_id
from activations.programs import Arm, Program
from activations.providers import DEFAULT_BY_CHANNEL
from activations.variants import Library, Variant
from warehouse.settings import BrandSettings

# Who speaks, as the channel needs it; a push and a WhatsApp message go by the provider's account.
SENDERS: Mapping[str, Callable[[BrandSettings], str]] = {
    "email": lambda brand: brand.sender_email,
    "sms": lambda brand: brand.sms_sender,
    "whatsapp": lambda brand: brand.name,
    "push": lambda brand: brand.name,
}


@dataclass(frozen=True)
class Occasion:
    """One person's occasion with its chosen arm and all that times and addresses it."""

    decision_id: str
    person_id: str
    opportunity_id: str
    step: int
    persona_id: str | None
    time_zone: str
    locale: str | None
    arm: Arm
    context: Mapping[str, Any] = field(repr=False)
    start: datetime
    deadline: datetime
    avoid: date | None
    hour_of_week: int | None
    address_hash: str | None
    needs_review: bool


@dataclass(frozen=True)
class Message:
    """A row of delivery.messages to be, and the body of its payload."""

    message_key: str
    decision_id: str
    program: str
    person_id: str
    channel: str
    provider: str
    status: str
    reason: str | None
    variant_id: str
    content_hash: str
    send_at: datetime
    expires_at: datetime
    address_hash: str
    cost_minor: int
    offer_percent: int
    payload: str = field(repr=False)


@dataclass(frozen=True)
class Person:
    """What a message needs of one person from behind the wall."""

    first_name: str | None = field(repr=False)
    addresses: Mapping[tuple[str, str], str] = field(repr=False)  # by channel and hash


def message_key(program: str, opportunity_id: str, step: int, person_id: str) -> str:
    """The name under which an occasion is spoken of once, whoever plans it and however often."""
    return stable_id("message", program, opportunity_id, step, person_id)


def people(connection: Any, person_ids: Sequence[str]) -> dict[str, Person]:
    """First names and addresses, read only for whom something will be rendered."""
    wanted = sorted(set(person_ids))
    names = connection.execute(
        "select person_id, first_name from identity.profiles where person_id = any(%s)", [wanted]
    )
    first = {row["person_id"]: row["first_name"] for row in names}
    points = connection.execute(
        "select person_id, channel, address,"
        " encode(sha256(convert_to(address, 'UTF8')), 'hex') as address_hash"
        " from identity.contact_points where person_id = any(%s)",
        [wanted],
    )
    addresses: dict[str, dict[tuple[str, str], str]] = {person: {} for person in wanted}
    for row in points:
        addresses[row["person_id"]][(row["channel"], row["address_hash"])] = row["address"]
    return {person: Person(first.get(person), addresses[person]) for person in wanted}


def compose(
    program: Program,
    occasion: Occasion,
    person: Person,
    words: Library,
    brand: BrandSettings,
    link_key: bytes,
    carriers: Mapping[str, str] = DEFAULT_BY_CHANNEL,
) -> Message | str:
    """The finished message, or the reason for silence where no words or no address fit.

    `carriers` names the provider of each channel.
    """
    arm = occasion.arm
    key = message_key(program.program, occasion.opportunity_id, occasion.step, occasion.person_id)
    address = person.addresses.get((arm.channel, occasion.address_hash or ""))
    if address is None:
        return "unreachable"
    variant = words.pick(arm.name, occasion.persona_id, occasion.locale, occasion.decision_id)
    to = copy.links(brand, program.program, arm, key, link_key)
    recipient = copy.Recipient(person.first_name, _item(occasion.context), occasion.locale or "en")
    rendered = copy.render(
        variant.subject, variant.body, arm, program.program, recipient, brand, to
    )
    if arm.channel == "sms" and copy.lint_sms(rendered.text):
        return "copy_unfit"
    carrier = carriers[arm.channel]
    body = _payload(key, address, program.program, arm, rendered, brand, to, carrier)
    return _message(program, occasion, key, variant, json.dumps(body, sort_keys=True), carrier)


def _message(
    program: Program,
    occasion: Occasion,
    key: str,
    variant: Variant,
    payload: str,
    carrier: str,
) -> Message:
    send_at = quiet_hours.planned_at(
        occasion.start,
        occasion.time_zone,
        occasion.deadline,
        occasion.hour_of_week,
        occasion.avoid,
    )
    lifetime = timedelta(hours=program.guardrails.expires_hours)
    return Message(
        message_key=key,
        decision_id=occasion.decision_id,
        program=program.program,
        person_id=occasion.person_id,
        channel=occasion.arm.channel,
        provider=carrier,
        status="held" if occasion.needs_review else "planned",
        reason="review" if occasion.needs_review else None,
        variant_id=variant.variant_id,
        content_hash=variant.content_hash,
        send_at=send_at,
        expires_at=min(occasion.deadline, send_at + lifetime),
        address_hash=occasion.address_hash or "",
        cost_minor=occasion.arm.cost_minor,
        offer_percent=occasion.arm.offer_percent,
        payload=payload,
    )


def _payload(
    key: str,
    address: str,
    program: str,
    arm: Arm,
    rendered: copy.Rendered,
    brand: BrandSettings,
    to: copy.Links,
    carrier: str,
) -> dict[str, Any]:
    """The provider's Item, field by field (`activations.providers.seam.Item`)."""
    is_email = arm.channel == "email"
    callback = (
        f"{brand.gateway_url}/webhooks/{carrier}?message_key={key}&program={program}&arm={arm.name}"
    )
    # RFC 8058: one click, without a page in between, for whoever wants no more of this.
    one_click = [
        ["List-Unsubscribe", f"<{to.unsubscribe}>"],
        ["List-Unsubscribe-Post", "List-Unsubscribe=One-Click"],
    ]
    return {
        "message_key": key,
        "address": address,
        "program": program,
        "arm": arm.name,
        "sender": SENDERS[arm.channel](brand),
        "sender_name": brand.name if arm.channel in ("email", "push") else None,
        "text": rendered.text,
        "subject": rendered.subject,
        "html": rendered.html,
        "headers": one_click if is_email else [],
        "status_callback": None if is_email else callback,
    }


def _item(context: Mapping[str, Any]) -> str | None:
    """The name of the first thing the occasion is about; `items` holds names or objects."""
    items = context.get("items") or []
    first = items[0] if items else None
    return str(first.get("name") or "") or None if isinstance(first, dict) else first
