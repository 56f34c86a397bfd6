"""The CRM and the finance exports: contacts, consents, deals, ad spend.

Belongs here: rows of the tables that are not events. Does not belong here: the cards' own text
(`cards`), file names (`landing`).
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import numpy as np

from sandbox.market import ads
from sandbox.market.ads import AdDay
from sandbox.market.cards import Card, as_written
from sandbox.market.draws import generator, uniforms
from sandbox.market.population import People
from sandbox.market.world import World
from sandbox.market.zones import PLACES

Row = dict[str, Any]

CONTACT_COLUMNS: Final = (
    "contact_id", "email", "phone", "first_name", "last_name", "city", "region", "country",
    "postal_code", "birth_date", "time_zone", "locale", "updated_at", "user_id",
)  # fmt: skip
CONSENT_COLUMNS: Final = (
    "identifier_type", "identifier_value", "channel", "scope", "status", "regulation",
    "evidence", "recorded_at",
)  # fmt: skip
DEAL_COLUMNS: Final = (
    "deal_id", "contact_id", "stage", "amount", "currency", "created_at", "closed_at", "is_won",
)  # fmt: skip
SPEND_COLUMNS: Final = (
    "date", "platform", "account_id", "campaign_id", "campaign_name", "ad_set_id", "channel",
    "impressions", "clicks", "spend_amount", "currency", "platform_conversions",
    "platform_revenue_amount",
)  # fmt: skip
PRODUCT_COLUMNS: Final = (
    "product_id", "name", "category", "price_amount", "currency", "url", "image_url", "in_stock",
    "description",
)  # fmt: skip
RATE_COLUMNS: Final = ("date", "currency", "rate_to_workspace")
REVOKE_RATE: Final = 0.00035


def iso(seconds: float) -> str:
    """Return an instant as ISO 8601 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(round(seconds, 3), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def recorded_until(rows: list[Row], column: str, until: float) -> tuple[list[Row], list[Row]]:
    """Part rows into those recorded until an instant, in order of time, and those to come."""
    rows = sorted(rows, key=lambda row: row[column])
    bound = iso(until)
    return [r for r in rows if r[column] <= bound], [r for r in rows if r[column] > bound]


def contact_rows(world: World, signups: Iterable[tuple[int, float]]) -> list[Row]:
    """Return the CRM cards of people who signed up, (row, seconds) each, some twice."""
    rows = []
    for person, signed_up_at in signups:
        card = world.cards[person]
        at = signed_up_at + card["card_days"] * 86_400.0
        rows.append(_contact(card, card["contact_id"], at + 600.0, person))
        if card["second_contact_id"]:
            second = _contact(card, card["second_contact_id"], at + 5 * 86_400.0, person)
            rows.append(second | {"user_id": "", "email": card["crm_email"], "birth_date": ""})
    return rows


def _contact(card: Card, contact_id: str, at: float, person: int) -> Row:
    copied = {name: card[name] or "" for name in CONTACT_COLUMNS if name in card}
    # One card in eight does not know the shop's own id; half of those say so with a word.
    unknown = "null" if person % 16 == 3 else ""
    return copied | {
        "contact_id": contact_id,
        "email": as_written(card["crm_email"], person),
        "phone": _as_typed(card["crm_phone"], person),
        "updated_at": iso(at),
        "user_id": card["user_id"] if person % 8 != 3 else unknown,
    }


def _as_typed(phone: str | None, person: int) -> str:
    """Return a phone number as people type it: E.164, with 00, or in groups."""
    if not phone:
        return ""
    grouped = f"{phone[:3]} {phone[3:6]} {phone[6:]}"
    return (phone, phone, grouped, phone)[person % 4]


def moved_rows(world: World, day: int) -> list[Row]:
    """Return the contacts that change their address on a day (0.03 % of them)."""
    rng = generator(world.seed, "crm", day + 20_000)
    known = np.flatnonzero(world.people["signed_up_day"] < day)
    movers = known[rng.random(len(known)) < 0.0003]
    start = world.day_start(day).timestamp()
    rows = []
    for person in movers.tolist():
        card = world.cards[person]
        card["postal_code"] = str(10_000 + int(rng.integers(0, 89_999)))
        at = start + float(rng.random()) * 86_000
        rows.append(_contact(card, card["contact_id"], at - 600.0, person))
    return rows


def granted_rows(world: World, signups: Iterable[tuple[int, float]]) -> list[Row]:
    """Return the consents told at sign-up; sets `email_ok` and `sms_ok` of those who agree.

    Consent is given for the address as the CRM has it: a mistyped one covers the mistyped one.
    """
    given = list(signups)
    rows = []
    draw = uniforms(world.seed, [str(person) for person, _ in given], "consent", 2)
    for (person, at), chance in zip(given, draw, strict=True):
        card = world.cards[person]
        email = _answer(chance[0], granted=0.74, revoked=0.84, unknown=0.88)
        sms = _answer(chance[1], granted=0.46, revoked=0.54, unknown=0.56)
        if email:
            rows.append(_consent(card, person, "email", email, at + 2.0, "signup form"))
        if sms and card["crm_phone"]:
            rows.append(_consent(card, person, "sms", sms, at + 2.0, "signup form"))
        world.people["email_ok"][person] = email == "granted"
        world.people["sms_ok"][person] = sms == "granted" and bool(card["crm_phone"])
    return rows


def _answer(chance: float, granted: float, revoked: float, unknown: float) -> str | None:
    for bound, status in ((granted, "granted"), (revoked, "revoked"), (unknown, "unknown")):
        if chance < bound:
            return status
    return None


def _consent(card: Card, person: int, channel: str, status: str, at: float, evidence: str) -> Row:
    kind = "email" if channel == "email" else "phone"
    regulation = next(place.regulation for place in PLACES if place.country == card["country"])
    return {
        "identifier_type": kind,
        "identifier_value": card["crm_email"] if kind == "email" else card["crm_phone"],
        "channel": channel,
        "scope": "marketing",
        "status": status,
        "regulation": regulation,
        "evidence": evidence,
        "recorded_at": iso(at),
        "person": person,
        "at": at,
    }


def changed_rows(world: World, day: int) -> list[Row]:
    """Return the consents withdrawn in the preference centre on a day."""
    rng = generator(world.seed, "crm", day)
    start = world.day_start(day).timestamp()
    rows = []
    for channel, name in (("email", "email_ok"), ("sms", "sms_ok")):
        agreed = world.people[name]
        leaving = agreed & (rng.random(len(agreed)) < REVOKE_RATE)
        moments = start + rng.random(len(agreed)) * 86_300
        for person in np.flatnonzero(leaving).tolist():
            card, at = world.cards[person], float(np.round(moments[person], 3))
            rows.append(_consent(card, person, channel, "revoked", at, "preference centre"))
        world.people[name] = agreed & ~leaving
    return rows


def deal_rows(world: World, start: float, end: float) -> list[Row]:
    """Return the wholesale enquiries that changed in (start, end], as they stand at its end."""
    rows: list[tuple[float, Row]] = []
    known = np.flatnonzero(world.people["signed_up_day"] > -9000)
    # Knuth's multiplicative hash picks 1.5 % of people, always the same.
    picked = known[(known * 2_654_435_761) % 2**32 < 0.015 * 2**32]
    chances = uniforms(world.seed, [str(person) for person in picked], "deal", 4)
    for person, chance in zip(picked.tolist(), chances, strict=True):
        signed_up = float(world.people["signed_up_day"][person]) * 86_400
        created = world.epoch.timestamp() + signed_up + (2 + 120 * chance[0]) * 86_400
        steps = (created, created + (3 + 12 * chance[1]) * 86_400)
        closed = steps[1] + (5 + 25 * chance[2]) * 86_400
        won = chance[3] < _win_chance(world.people, person)
        last = "won" if won else "lost"
        for at, stage in ((steps[0], "enquiry"), (steps[1], "proposal"), (closed, last)):
            if start < at <= end:
                rows.append((at, _deal(world.cards[person], created, stage, chance, at)))
    rows.sort(key=lambda item: (item[0], item[1]["deal_id"]))
    return list({row["deal_id"]: row for _, row in rows}.values())


def _win_chance(people: People, person: int) -> float:
    basket = float(people["basket"][person])
    return min(0.15 + 0.3 * float(people["sociability"][person]) + 0.004 * basket, 0.85)


def _deal(card: Card, created: float, stage: str, chance: np.ndarray, at: float) -> Row:
    is_closed = stage in ("won", "lost")
    currency = next(place.currency for place in PLACES if place.country == card["country"])
    return {
        "deal_id": f"D{card['contact_id'][1:]}",
        "contact_id": card["contact_id"],
        "stage": stage,
        "amount": f"{200 + 1800 * chance[1]:.2f}",
        "currency": currency,
        "created_at": iso(created),
        "closed_at": iso(at) if is_closed else "",
        "is_won": ("true" if stage == "won" else "false") if is_closed else "",
    }


def spend_rows(world: World, day: int, bought: AdDay, rate: float) -> list[Row]:
    """Return the platforms' own report of a day: their clicks, and the orders they claim.

    Args:
        rate: workspace currency per euro.
    """
    rng = generator(world.seed, "ads", day + 50_000)
    when: date = (world.day_start(day) + timedelta(hours=12)).date()
    rows = []
    for position, campaign in enumerate(ads.CAMPAIGNS):
        claims = 0.02 + 0.5 * campaign.joins + 0.09 * campaign.intercepts
        claimed = int(rng.poisson(float(bought.clicks[position]) * claims))
        rows.append(
            {
                "date": when.isoformat(),
                "platform": campaign.platform,
                "account_id": campaign.account_id,
                "campaign_id": campaign.campaign_id,
                "campaign_name": campaign.name,
                "ad_set_id": f"{campaign.campaign_id}_a",
                "channel": campaign.channel,
                "impressions": int(bought.impressions[position]),
                "clicks": int(bought.clicks[position]),
                "spend_amount": f"{float(bought.spend[position]) * rate:.2f}",
                "currency": world.currency,
                "platform_conversions": claimed,
                "platform_revenue_amount": f"{claimed * 52.0 * rate * rng.uniform(0.7, 1.3):.2f}",
            }
        )
    return rows
