"""Unsubscribing: one click by RFC 8058, or a page on which a person chooses.

Belongs here: routes, forms, what each choice means in consent. A GET changes nothing: link
scanners follow every link of a mail. Keep out: signing tokens (`activations.tokens`), how consent
orders words and sends (`activations.consent`).

The page only takes away: whoever forwards a mail hands its link on, and nobody shall agree to
messages in another's name.
"""

import email
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import psycopg
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from activations import consent, tokens
from activations.consent import Change
from gateway import bodies, pages
from gateway.bodies import RefusedError
from gateway.landing import LandingError
from gateway.state import RETRY_SECONDS, Gateway, described, gateway_of

router = APIRouter(tags=["unsubscribe"])
MAX_BYTES = 4 << 10
TYPES = ("", *bodies.FORM_TYPES)
ONE_CLICK = ("list-unsubscribe", "one-click")
CHANNELS = {"email": "e-mail", "sms": "text", "push": "push", "whatsapp": "WhatsApp"}

MESSAGE = """
    with recursive line as (
        select messages.person_id, 0 as step
        from delivery.messages as messages where messages.message_key = %(key)s
        union all
        select merges.survivor_person_id, line.step + 1
        from line
        inner join identity.merges as merges on line.person_id = merges.absorbed_person_id
        where merges.undone_at is null and line.step < 100
    )

    select messages.channel, messages.address_hash, messages.program,
        (select line.person_id from line order by line.step desc limit 1) as person_id
    from delivery.messages as messages where messages.message_key = %(key)s
"""
ADDRESSES = f"""
    select points.channel, {consent.HASH} as address_hash
    from identity.contact_points as points where points.person_id = %(person)s
    order by points.channel, address_hash
"""
_PAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A page.", "content": {"text/html": {"schema": {"type": "string"}}}}
}
_REFUSALS = {
    status: {"description": told["description"], "content": _PAGE[200]["content"]}
    for status, told in described(400, 404, 408, 413, 415, 429, 503).items()
}
# A path that no route takes (a line break in it) is answered without a page.
_REFUSALS[404]["content"] = _REFUSALS[404]["content"] | described(404)[404]["content"]
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "object", "properties": {"List-Unsubscribe": {}}}}
            for kind in bodies.FORM_TYPES
        },
    }
}


@dataclass(frozen=True)
class Reader:
    """Whoever holds a link: the message it came with, and the addresses of its person."""

    message_key: str
    channel: str
    address_hash: str
    program: str
    addresses: tuple[tuple[str, str], ...]

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels on which this person can be reached, the message's own first."""
        return tuple(dict.fromkeys([self.channel, *(channel for channel, _ in self.addresses)]))


@router.get("/unsubscribe/{token:path}", responses=_PAGE | _REFUSALS, response_class=Response)
async def page(token: str, request: Request) -> Response:
    """The choices. Looking at them changes nothing."""
    gateway = gateway_of(request)
    try:
        reader = await _reader(gateway, token)
    except RefusedError as error:
        return pages.trouble(gateway.brand, error)
    return pages.choose(gateway.brand, _channel_word(reader.channel), _choices(reader, gateway))


@router.post(
    "/unsubscribe/{token:path}",
    responses=_PAGE | _REFUSALS,
    response_class=Response,
    openapi_extra=_FORM,
)
async def unsubscribe(token: str, request: Request) -> Response:
    """One click, or the page's form. Answered when the revoke is committed."""
    gateway = gateway_of(request)
    try:
        fields = _fields(
            request, await bodies.read(request, MAX_BYTES, gateway.body_seconds, TYPES)
        )
        reader = await _reader(gateway, token)
        is_one_click = ONE_CLICK in {(name.lower(), value.lower()) for name, value in fields}
        changes = (
            [
                Change(
                    reader.channel,
                    reader.address_hash,
                    "revoked",
                    "gateway:one_click",
                    _now(gateway),
                )
            ]
            if is_one_click
            else _chosen(reader, fields, gateway)
        )
        if not changes:
            raise RefusedError(400, "nothing_chosen")
        await _commit(gateway, reader, changes)
    except RefusedError as error:
        return pages.trouble(gateway.brand, error)
    return pages.done(gateway.brand)


def _now(gateway: Gateway) -> datetime:
    return gateway.clock()


async def _reader(gateway: Gateway, token: str) -> Reader:
    """Raises RefusedError 404 for a token that is not ours, 429, or 503."""
    key = tokens.read_unsubscribe_token(gateway.link_keys, token)
    if key is None:
        raise RefusedError(404, "unknown_link")
    gateway.request_rate.take(f"link {key}", 1, time.monotonic())
    try:
        found = await run_in_threadpool(
            gateway.connections.read, lambda connection: _looked_up(connection, key)
        )
    except psycopg.Error as error:
        raise await _landed(gateway, key, error) from error
    if found is None:
        raise RefusedError(404, "unknown_link")
    return found


def _looked_up(connection: Any, key: str) -> Reader | None:
    row = connection.execute(MESSAGE, {"key": key}).fetchone()
    if row is None:
        return None
    there = connection.execute("select to_regclass('identity.contact_points') as there").fetchone()
    points: Sequence[dict[str, Any]] = []
    if there and there["there"]:
        points = connection.execute(ADDRESSES, {"person": row["person_id"]}).fetchall()
    own = (row["channel"], row["address_hash"])
    addresses = dict.fromkeys([own, *((p["channel"], p["address_hash"]) for p in points)])
    return Reader(key, *own, row["program"], tuple(addresses))


def _choices(reader: Reader, gateway: Gateway) -> list[tuple[str, str, str]]:
    """(field, value, label): every channel of the person, every program as a topic."""
    channels = [
        ("channel", channel, f"All {_channel_word(channel)} messages")
        for channel in reader.channels
    ]
    topics = sorted({reader.program, *gateway.programs})
    named = [("topic", topic, f"About: {topic.replace('_', ' ')}") for topic in topics]
    return channels + named


def _chosen(reader: Reader, fields: Sequence[tuple[str, str]], gateway: Gateway) -> list[Change]:
    now, source = gateway.clock(), "gateway:page"
    channels = {value for name, value in fields if name == "channel"} & set(reader.channels)
    known = {reader.program, *gateway.programs}
    topics = {value for name, value in fields if name == "topic"} & known
    changes = [
        Change(channel, hashed, "revoked", source, now)
        for channel, hashed in reader.addresses
        if channel in channels
    ]
    return changes + [
        Change(channel, hashed, "revoked", source, now, consent.topic_scope(topic))
        for channel, hashed in reader.addresses
        for topic in sorted(topics)
    ]


async def _commit(gateway: Gateway, reader: Reader, changes: Sequence[Change]) -> None:
    try:
        await run_in_threadpool(_committed, gateway, changes)
    except psycopg.Error as error:
        raise await _landed(gateway, reader.message_key, error) from error
    gateway.metrics.count("loopdrive_consent_revoked_total", len(changes), source=changes[0].source)


def _committed(gateway: Gateway, changes: Sequence[Change]) -> None:
    warehouse = gateway.connections.warehouse
    with warehouse.transaction() as connection:
        # Senders hold the consent lock while a request is out, which their time-outs bound.
        connection.execute("set local lock_timeout = '20s'")
        consent.record(warehouse, changes, connection)


async def _landed(gateway: Gateway, key: str, error: psycopg.Error) -> RefusedError:
    """The warehouse is away: the wish is kept on disk for `settlement`, and the answer says that
    it is not in force yet."""
    now = gateway.clock()
    payload = {
        "event": "unsubscribe",
        "event_id": f"{key}:unsubscribe",
        "timestamp": now.isoformat(timespec="seconds"),
        "message_key": key,
    }
    line = {"provider": "links", "received_at": now.isoformat(), "url": "", "payload": payload}
    try:
        await gateway.provider_events.append(json.dumps(line).encode() + b"\n")
    except LandingError:
        gateway.metrics.count("loopdrive_webhook_refused_total", provider="links", reason="lost")
    return RefusedError(503, "not_available", RETRY_SECONDS)


def _fields(request: Request, body: bytes) -> list[tuple[str, str]]:
    kind = request.headers.get("content-type", "")
    try:
        if not kind.lower().startswith("multipart/"):
            return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100)
        head = f"Content-Type: {kind}\r\n\r\n".encode("latin-1")
        parts = email.message_from_bytes(head + body).walk()
        return [
            (str(part.get_param("name", header="content-disposition")), _text(part))
            for part in parts
            if part.get_content_disposition() == "form-data"
        ]
    except ValueError as error:
        raise RefusedError(400, "broken_form") from error


def _text(part: Any) -> str:
    return (part.get_payload(decode=True) or b"").decode("utf-8", "replace").strip()


def _channel_word(channel: str) -> str:
    return CHANNELS.get(channel, channel)
