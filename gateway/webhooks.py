"""Provider webhooks: verified, landed as ingestion reads them, and heeded at once where somebody
wants no more messages.

Belongs here: whose secrets check whose signature, duplicates, the landed line, STOP and HELP.
Keep out: wire formats (`activations.providers`), what events do to messages (`settlement`).
"""

import json
import re
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from activations import consent, providers
from activations.consent import Change
from activations.keys import address_hash
from activations.providers import InboundEvent, MessageProvider, whatsapp
from gateway import bodies
from gateway.bodies import RefusedError
from gateway.landing import LandingError
from gateway.state import (
    RETRY_SECONDS,
    Gateway,
    answer,
    answers_with,
    described,
    gateway_of,
    refusal,
    takes,
)

router = APIRouter(tags=["webhooks"])
MAX_BYTES = 5 << 20
TYPES = (*bodies.JSON_TYPES, *bodies.FORM_TYPES)
REMEMBERED_EVENTS = 100_000
REFUSING = ("unsubscribe", "complaint")
CHANNELS = ("email", "sms", "push", "whatsapp")
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
HELP_WORDS = frozenset({"HELP", "INFO"})
_DONE = {
    "type": "object",
    "required": ["success"],
    "properties": {"success": {"type": "boolean"}, "events": {"type": "integer"}},
}
_CHALLENGED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Its challenge.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


class Remembered:
    """The latest event ids: a repeated one is not landed again. The warehouse's key, which
    forgets none, is what decides; this keeps replays from filling the disk."""

    def __init__(self, size: int = REMEMBERED_EVENTS) -> None:
        self._size = size
        self._ids: OrderedDict[tuple[str, str], None] = OrderedDict()

    def new(self, events: Iterable[InboundEvent]) -> list[InboundEvent]:
        """The events whose ids are not remembered, each id once."""
        fresh = {(one.provider, one.event_id): one for one in events}
        return [one for key, one in fresh.items() if key not in self._ids]

    def remember(self, events: Iterable[InboundEvent]) -> None:
        """From now on these are known."""
        for one in events:
            self._ids[one.provider, one.event_id] = None
        while len(self._ids) > self._size:
            self._ids.popitem(last=False)


@router.post(
    "/webhooks/{provider}",
    summary="Events of a provider, signed by it.",
    responses=answers_with(_DONE, "Landed.") | described(400, 403, 404, 408, 413, 415, 429, 503),
    openapi_extra=takes({}, "*/*"),
)
async def webhook(provider: str, request: Request) -> Response:
    """Answered when the events are on the disk, and every revoke in them is committed."""
    gateway = gateway_of(request)
    try:
        return await _heard(provider, request, gateway)
    except RefusedError as error:
        known = provider if provider in providers.NAMES else "unknown"
        gateway.metrics.count(
            "loopdrive_webhook_refused_total", provider=known, reason=error.reason
        )
        return refusal(error)


@router.get(
    "/webhooks/{provider}",
    summary="A provider asks whether its webhooks are wanted here.",
    responses=_CHALLENGED | described(403, 404),
    response_class=Response,
)
async def subscribe(provider: str, request: Request) -> Response:
    """Meta's handshake: the challenge is given back to whoever knows the token."""
    gateway = gateway_of(request)
    tokens = gateway.challenge_tokens.get(provider)
    if tokens is None:
        return refusal(RefusedError(404, "unknown_provider"))
    told = whatsapp.challenge(request.query_params, tokens)
    if told is None:
        gateway.metrics.count(
            "loopdrive_webhook_refused_total", provider=provider, reason="bad_token"
        )
        return refusal(RefusedError(403, "bad_token"))
    return Response(told, media_type="text/plain")


async def _heard(name: str, request: Request, gateway: Gateway) -> Response:
    secrets = gateway.webhook_secrets.get(name)
    if name not in providers.NAMES or not secrets:
        raise RefusedError(404, "unknown_provider")
    raw = await bodies.read(request, MAX_BYTES, gateway.body_seconds, TYPES)
    url, now = _public_url(request, gateway), gateway.clock()
    events = _verified(providers.listener(name), url, request.headers, raw, secrets, now)
    gateway.request_rate.take(f"webhook {name}", 1, time.monotonic())
    remembered: Remembered = request.app.state.remembered
    fresh = remembered.new(events)
    if fresh:
        try:
            await gateway.provider_events.append(_lines(fresh, url, now))
        except LandingError as error:
            raise RefusedError(503, "not_durable", RETRY_SECONDS) from error
        await run_in_threadpool(_heed, gateway, fresh, now)
        remembered.remember(fresh)
    count = gateway.metrics.count
    count("loopdrive_webhook_events_total", len(fresh), provider=name, outcome="landed")
    repeated = len(events) - len(fresh)
    count("loopdrive_webhook_events_total", repeated, provider=name, outcome="duplicate")
    return _reply(gateway, name, events) or answer({"success": True, "events": len(fresh)})


def _public_url(request: Request, gateway: Gateway) -> str:
    """The URL as the provider called it: signatures cover it, and a proxy may stand between."""
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{gateway.brand.gateway_url.rstrip('/')}{request.url.path}{query}"


def _verified(
    provider: MessageProvider,
    url: str,
    headers: Mapping[str, str],
    raw: bytes,
    secrets: Sequence[str],
    now: datetime,
) -> list[InboundEvent]:
    try:
        is_own = provider.verify(url, headers, raw, secrets, now)
    except ValueError:  # a signed form that is no text
        is_own = False
    if not is_own:
        raise RefusedError(403, "bad_signature")
    try:
        return provider.events(url, headers, raw)
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise RefusedError(400, "broken_body") from error


def _lines(events: Sequence[InboundEvent], url: str, now: datetime) -> bytes:
    """One line per event, as `ingestion/sql/provider_events.sql` reads it."""
    told = [
        {
            "provider": one.provider,
            "received_at": now.isoformat(timespec="microseconds"),
            "url": url,
            "event_id": one.event_id,
            "payload": one.payload,
        }
        for one in events
    ]
    return b"".join(json.dumps(_storable(one)).encode() + b"\n" for one in told)


def _storable(value: Any) -> Any:
    """What a reply may hold and Postgres does not: NUL and halves of characters."""
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {_storable(name): _storable(one) for name, one in value.items()}
    return [_storable(one) for one in value] if isinstance(value, list) else value


def _heed(gateway: Gateway, events: Sequence[InboundEvent], now: datetime) -> None:
    """Commit what people refuse before the provider hears that we heard.

    `settlement` reads the same events later and finds its rows there: same source, same time.
    """
    wanted = [one for one in events if one.type in REFUSING]
    if not wanted:
        return
    try:
        with gateway.connections.warehouse.transaction() as connection:
            connection.execute("set local lock_timeout = '10s'")
            changes = [change for one in wanted for change in _changes(connection, one, now)]
            consent.record(gateway.connections.warehouse, changes, connection)
    except psycopg.Error as error:
        # Landed already: `settlement` will hear of it even if the provider never calls again.
        raise RefusedError(503, "not_available", RETRY_SECONDS) from error
    gateway.metrics.count("loopdrive_consent_revoked_total", len(changes), source="webhook")


def _changes(connection: Any, event: InboundEvent, now: datetime) -> list[Change]:
    source, at = f"{event.provider}:{event.type}", event.occurred_at or now
    held = connection.execute(
        "select channel, address_hash from delivery.messages where message_key = %s",
        [event.message_key],
    ).fetchone()
    if held is not None:
        return [Change(held["channel"], held["address_hash"], "revoked", source, at)]
    found = _sender(event)
    return (
        [] if found is None else [Change(found[0], address_hash(found[1]), "revoked", source, at)]
    )


def _sender(event: InboundEvent) -> tuple[str, str] | None:
    """Channel and address of whoever speaks where no message of ours is named."""
    told, provider = event.payload, event.provider
    channel, address = "email", told.get("email")
    if provider == "twilio":
        channel, address = "sms", told.get("From")
    elif provider == "whatsapp":
        digits = told.get("from") or told.get("wa_id")
        channel, address = "whatsapp", digits and f"+{digits}"
    elif provider == "resend":
        data = told["data"]
        address = data.get("email") or next(iter(data.get("to") or []), None)
    elif provider == "webhook":
        channel, address = str(told.get("channel")), told.get("address")
    if not isinstance(address, str) or not address or channel not in CHANNELS:
        return None
    return channel, address.strip().lower() if channel == "email" else address


def _reply(gateway: Gateway, name: str, events: Sequence[InboundEvent]) -> Response | None:
    """TwiML for an incoming text: help where it is asked for, silence otherwise.

    The carrier answers STOP itself (support.twilio.com/hc/articles/223134027).
    """
    replies = [one for one in events if name == "twilio" and "Body" in one.payload]
    if not replies:
        return None
    # Where the sender has advanced opt-out switched on, the carrier has answered by itself.
    is_help = (
        "OptOutType" not in replies[0].payload
        and str(replies[0].payload["Body"]).strip().upper() in HELP_WORDS
    )
    brand = gateway.brand
    text = f"{brand.name}: offers and news. Questions: {brand.sender_email}. Reply STOP to opt out."
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    body = f"<Message>{escaped}</Message>" if is_help else ""
    return Response(f"<Response>{body}</Response>", media_type="application/xml")
