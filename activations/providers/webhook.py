"""A signed webhook of our own design: messages to any system that takes them, its events back.

Belongs here: the contract a receiver fulfils, both ways, and its signature.
Keep out: who may hear what, retries, storage.

Out: POST to the configured URL, `{"version": 1, "channel": …, "messages": [...]}`, at most 100,
with `Idempotency-Key` and `LoopDrive-Signature: v1=<hex>`, an HMAC-SHA256 under the shared secret
over the key, a dot and the body. The receiver remembers keys for 24 hours and answers 200, 201 or
202; a body `{"results": [{"message_key", "status", "id", "code"}]}` may tell messages apart, by
status accepted, duplicate, permanent, blocked or retry; code `opted_out` revokes consent, `gone`
suppresses the address. 401 and 403 stop the sending, 429 and
Retry-After slow it down, other 4xx refuse for good, and 5xx leave it open: the same request comes
again under the same key. Back: `{"events": [{"event_id", "type", "message_key", "occurred_at"}]}`,
signed the same way over `LoopDrive-Timestamp`, a dot and the body. docs/sending.md is the
receiver's page.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, get_args

from activations.http import Answer, Request, Response, TransportError
from activations.providers.seam import (
    Batch,
    Channel,
    EventType,
    InboundEvent,
    Item,
    ItemResult,
    Limits,
    Outcome,
    RateState,
    Vendor,
    batch_key,
    chunks,
    digest,
    each,
    halves,
    lost,
    lowered,
    retry_after,
)
from activations.versions import ApiVersion

# Its version is ours: there is no vendor who could end it.
VERSION = ApiVersion("LoopDrive webhook", "1", None, date(2026, 11, 20))
LIMITS = Limits(
    max_items=100, max_bytes=5_000_000, requests_per_second=20.0, concurrency=4, partial="rows",
    has_key=True, dedup=timedelta(hours=24),
)  # fmt: skip
TOLERANCE = timedelta(minutes=5)
SIGNATURE_HEADER = "loopdrive-signature"
TIMESTAMP_HEADER = "loopdrive-timestamp"
STATUSES = {
    "accepted": Outcome.ACCEPTED, "duplicate": Outcome.DUPLICATE, "permanent": Outcome.PERMANENT,
    "blocked": Outcome.BLOCKED, "retry": Outcome.RETRY,
}  # fmt: skip
CHANNELS: tuple[Channel, ...] = get_args(Channel)
EVENT_TYPES: tuple[str, ...] = get_args(EventType)


@dataclass(frozen=True)
class Webhook:
    """A provider of the channel that the workspace gives it. Of several secrets all sign."""

    secrets: tuple[str, ...] = field(repr=False)
    base_url: str
    channel: Channel
    name: str = "webhook"
    limits: Limits = LIMITS
    version: ApiVersion = VERSION

    def admit(self, item: Item) -> ItemResult | None:
        """Refuse a message without address or words; what an address is the receiver knows."""
        if item.address.strip() and (item.text or item.html):
            return None
        return ItemResult(item.message_key, Outcome.PERMANENT, code="empty_address_or_content")

    def plan(self, items: Iterable[Item]) -> list[Batch]:
        """Cut into requests of at most 100 messages of one program, ordered by message key."""
        ordered = sorted(items, key=lambda item: (item.program, item.message_key))
        return [
            self._batch(part)
            for _, group in groupby(ordered, key=lambda item: item.program)
            for part in chunks(((one, _json(one)) for one in group), LIMITS)
        ]

    def _batch(self, items: Sequence[Item]) -> Batch:
        head = json.dumps({"version": int(self.version.version), "channel": self.channel})
        messages = b",".join(_json(item) for item in items)
        raw = head[:-1].encode() + b', "messages": [' + messages + b"]}"
        key = batch_key(self.name, "POST", "", raw)
        return Batch(key, tuple(items), "POST", "", "application/json", raw, digest(raw))

    def request(self, batch: Batch) -> Request:
        """Aim a batch at the receiver's URL, signed; the same bytes and key at every try."""
        signatures = (
            f"v1={_signature(secret, batch.key, batch.content)}" for secret in self.secrets
        )
        headers = {
            "Content-Type": batch.content_type,
            "Idempotency-Key": batch.key,
            "LoopDrive-Signature": ",".join(signatures),
        }
        return Request(batch.method, self.base_url + batch.path, headers, batch.content)

    def parse(self, batch: Batch, answer: Answer, now: datetime) -> list[ItemResult]:
        """Read the contract's table: 200, 201, 202 by rows · 401, 403 · 429 · 5xx · other 4xx."""
        if isinstance(answer, TransportError):
            return lost(batch, answer)
        code = str(answer.status)
        if answer.status in (200, 201, 202):
            return _rows(batch, answer, now)
        if answer.status in (401, 403):
            return each(batch, Outcome.AUTH, code)
        if answer.status == 429:
            return each(batch, Outcome.RETRY, code, retry_at=retry_after(answer, now))
        if 400 <= answer.status < 500:
            return each(batch, Outcome.PERMANENT, code)
        return each(batch, Outcome.AMBIGUOUS, code)

    def split(self, batch: Batch, results: Sequence[ItemResult]) -> list[Batch]:
        """Halve a request that was refused without naming anybody."""
        return [part for half in halves(batch, results) for part in self.plan(half)]

    def rate(self, response: Response, now: datetime) -> RateState:
        """Read Retry-After."""
        return RateState(None, retry_after(response, now))

    def verify(
        self,
        url: str,
        headers: Mapping[str, str],
        raw: bytes,
        secrets: Sequence[str],
        now: datetime,
    ) -> bool:
        """Check the signature over time and body; more than five minutes off is a replay."""
        given = lowered(headers)
        stamp = given.get(TIMESTAMP_HEADER, "")
        if not stamp.isdigit() or len(stamp) > 12:
            return False
        if abs(now.timestamp() - int(stamp)) > TOLERANCE.total_seconds():
            return False
        parts = (part.strip().partition("=") for part in given.get(SIGNATURE_HEADER, "").split(","))
        claims = [value.encode() for version, _, value in parts if version == "v1"]
        return any(
            hmac.compare_digest(_signature(secret, stamp, raw).encode(), claim)
            for secret in secrets
            for claim in claims
        )

    def events(self, url: str, headers: Mapping[str, str], raw: bytes) -> list[InboundEvent]:
        """Read the events; one without id, time or a type of ours is left out."""
        parsed = (_event(entry) for entry in json.loads(raw)["events"])
        return [event for event in parsed if event is not None]


def _json(item: Item) -> bytes:
    told: dict[str, Any] = {
        "message_key": item.message_key, "address": item.address, "program": item.program,
        "arm": item.arm, "sender": item.sender, "sender_name": item.sender_name,
        "subject": item.subject, "text": item.text, "html": item.html,
        "headers": dict(item.headers),
    }  # fmt: skip
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def _signature(secret: str, head: str, raw: bytes) -> str:
    return hmac.new(secret.encode(), head.encode() + b"." + raw, hashlib.sha256).hexdigest()


def _rows(batch: Batch, answer: Response, now: datetime) -> list[ItemResult]:
    """Each message by its own result where there is one; a success without rows is one for all."""
    code, body = str(answer.status), answer.json()
    results = body.get("results") if isinstance(body, dict) else None
    if results is None:
        return each(batch, Outcome.ACCEPTED, code)
    rows = results if isinstance(results, list) else []
    told = {str(one.get("message_key")): one for one in rows if isinstance(one, dict)}
    return [_row(item, told.get(item.message_key), answer, now) for item in batch.items]


def _row(item: Item, told: Mapping[str, Any] | None, answer: Response, now: datetime) -> ItemResult:
    outcome = STATUSES.get(str((told or {}).get("status")))
    if told is None or outcome is None:
        return ItemResult(item.message_key, Outcome.AMBIGUOUS, code="unreadable_answer")
    reference = str(told["id"]) if told.get("id") else None
    again_at = retry_after(answer, now) if outcome is Outcome.RETRY else None
    code = str(told.get("code") or answer.status)[:100]
    return ItemResult(item.message_key, outcome, reference, code, None, again_at)


def _event(entry: Mapping[str, Any]) -> InboundEvent | None:
    kind = entry.get("type")
    if kind not in EVENT_TYPES or not entry.get("event_id") or not entry.get("occurred_at"):
        return None
    at = datetime.fromisoformat(entry["occurred_at"])
    if at.tzinfo is None:
        return None
    return InboundEvent(
        "webhook", str(entry["event_id"]), entry.get("message_key"), kind, at, entry,
        entry.get("code"),
    )  # fmt: skip


def _build(
    credentials: Mapping[str, str], base_url: str, options: Mapping[str, str], version: ApiVersion
) -> Webhook:
    secrets = credentials["loopdrive_webhook_secret"].split(",")
    channel = next((one for one in CHANNELS if one == options["channel"]), None)
    if channel is None:
        raise ValueError(f"providers.webhook.options.channel: one of {', '.join(CHANNELS)}")
    return Webhook(
        tuple(part.strip() for part in secrets if part.strip()), base_url, channel, version=version
    )


VENDOR = Vendor(
    name="webhook", channels=CHANNELS, base_url="", hosts=frozenset(), version=VERSION,
    credentials=("loopdrive_webhook_secret",), accounts=("channel",), build=_build,
    opt_out_codes=frozenset({"opted_out"}), gone_codes=frozenset({"gone"}),
)  # fmt: skip
