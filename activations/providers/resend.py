"""Resend: batches of e-mails out, Svix-signed webhooks in.

Belongs here: the request body, the error table and the signature of this one provider.
Keep out: who may hear what, retries, storage.

Sources: the published OpenAPI description (resend/resend-openapi), resend.com/docs/api-reference/
errors and …/rate-limit, resend.com/docs/dashboard/emails/idempotency-keys, the event pages under
resend.com/docs/webhooks, docs.svix.com/receiving/verifying-payloads/how-manual.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from activations.http import Answer, Request, Response, TransportError
from activations.providers.seam import (
    CONTENT_CODES,
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
    whole_number,
)
from activations.versions import ApiVersion

HOSTS = frozenset({"api.resend.com"})
BASE_URL = "https://api.resend.com"
PATH = "/emails/batch"
# The API has no version in its paths; the description that requests are checked against has one.
VERSION = ApiVersion("Resend API", "2026-08-21", None, date(2026, 11, 20))

# Keys are kept for 24 hours.
LIMITS = Limits(
    max_items=100, max_bytes=20_000_000, requests_per_second=5.0, concurrency=2, partial="rows",
    has_key=True, dedup=timedelta(hours=24),
)  # fmt: skip

QUOTAS = frozenset({"daily_quota_exceeded", "monthly_quota_exceeded"})
TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
TOLERANCE = timedelta(minutes=5)  # Svix's own

EVENT_TYPES: Mapping[str, EventType] = {
    "email.scheduled": "processed", "email.sent": "sent", "email.delivered": "delivered",
    "email.delivery_delayed": "deferred", "email.bounced": "bounce",
    "email.complained": "complaint", "email.opened": "open", "email.clicked": "click",
    "email.failed": "failed", "email.suppressed": "dropped",
}  # fmt: skip


@dataclass(frozen=True)
class Resend:
    """The e-mail provider with idempotency keys: a lost answer is asked for again by its key."""

    api_key: str = field(repr=False)
    base_url: str = BASE_URL
    name: str = "resend"
    channel: Channel = "email"
    limits: Limits = LIMITS
    version: ApiVersion = VERSION

    def admit(self, item: Item) -> ItemResult | None:
        """Refuse what the API would refuse, before a request is spent on it."""
        tags = (item.message_key, item.program, item.arm)
        problem = None
        if "@" not in item.address:
            problem = "invalid_address"
        elif not item.subject or not (item.text or item.html):
            problem = "empty_subject_or_content"
        elif not all(TAG.fullmatch(tag) for tag in tags):
            problem = "invalid_tag"
        if problem is None:
            return None
        return ItemResult(item.message_key, Outcome.PERMANENT, code=problem)

    def plan(self, items: Iterable[Item]) -> list[Batch]:
        """Cut into requests of at most 100 e-mails, ordered by message key."""
        ordered = sorted(items, key=lambda item: item.message_key)
        return [_batch(part) for part in chunks(((one, _json(one)) for one in ordered), LIMITS)]

    def request(self, batch: Batch) -> Request:
        """Aim a batch, under its key. Permissive: one bad e-mail does not hold up the others."""
        headers = {
            "Authorization": f"Bearer {self.api_key}",
            "Content-Type": batch.content_type,
            "Idempotency-Key": batch.key,
            "x-batch-validation": "permissive",
        }
        return Request(batch.method, self.base_url + batch.path, headers, batch.content)

    def parse(self, batch: Batch, answer: Answer, now: datetime) -> list[ItemResult]:
        """Read the error table: 200 by rows · 401, 403 · 409 · 429 · 5xx · every other 4xx.

        `concurrent_idempotent_requests` says that an earlier try is still at work: ambiguous, so
        that the next one carries the same key.
        """
        if isinstance(answer, TransportError):
            return lost(batch, answer)
        body = answer.json()
        told: Mapping[str, Any] = body if isinstance(body, dict) else {}
        code = str(told.get("name") or answer.status)
        if answer.status == 200:
            return _rows(batch, told)
        if answer.status in (401, 403):
            return each(batch, Outcome.AUTH, code)
        if answer.status == 429:
            return each(batch, Outcome.RETRY, code, retry_at=_again_at(self, answer, code, now))
        if code == "concurrent_idempotent_requests":
            return each(batch, Outcome.AMBIGUOUS, code)
        if 400 <= answer.status < 500:
            return each(batch, Outcome.PERMANENT, code)
        return each(batch, Outcome.AMBIGUOUS, code)

    def split(self, batch: Batch, results: Sequence[ItemResult]) -> list[Batch]:
        """Halve a request that was refused without naming anybody."""
        parts = halves(batch, results, CONTENT_CODES | {"validation_error"})
        return [part for half in parts for part in self.plan(half)]

    def rate(self, response: Response, now: datetime) -> RateState:
        """Read ratelimit-remaining, ratelimit-reset and retry-after, the latter two in seconds."""
        left = whole_number(response.headers.get("ratelimit-remaining", ""))
        reset = whole_number(response.headers.get("ratelimit-reset", ""))
        resume_at = retry_after(response, now)
        if resume_at is None and (response.status == 429 or left == 0) and reset is not None:
            resume_at = now + timedelta(seconds=reset)
        return RateState(left, resume_at)

    def verify(
        self,
        url: str,
        headers: Mapping[str, str],
        raw: bytes,
        secrets: Sequence[str],
        now: datetime,
    ) -> bool:
        """Check Svix's signature: HMAC-SHA256 over `id.timestamp.body`, base64, any `v1,` value.

        Secrets are `whsec_` and base64. Older or newer than five minutes is a replay.
        """
        given = lowered(headers)
        name, stamp = given.get("svix-id", ""), given.get("svix-timestamp", "")
        if not name or not stamp.isdigit() or len(stamp) > 12:
            return False
        if abs(now.timestamp() - int(stamp)) > TOLERANCE.total_seconds():
            return False
        signed = f"{name}.{stamp}.".encode() + raw
        claims = [part.partition(",") for part in given.get("svix-signature", "").split()]
        values = [value.encode() for version, _, value in claims if version == "v1"]
        return any(
            hmac.compare_digest(_signature(secret, signed), value)
            for secret in secrets
            for value in values
        )

    def events(self, url: str, headers: Mapping[str, str], raw: bytes) -> list[InboundEvent]:
        """Read one event; its id is Svix's, the same at every delivery. Unknown kinds are left."""
        payload, event_id = json.loads(raw), lowered(headers).get("svix-id")
        kind = _event_type(payload)
        if kind is None or not event_id:
            return []
        data = payload["data"]
        at = datetime.fromisoformat(payload["created_at"])
        detail = (data.get("bounce") or {}).get("subType")
        return [InboundEvent(self.name, event_id, _key(data), kind, at, payload, detail)]


def _json(item: Item) -> bytes:
    sender = f"{item.sender_name} <{item.sender}>" if item.sender_name else item.sender
    mail: dict[str, Any] = {"from": sender, "to": [item.address], "subject": item.subject}
    mail |= {kind: copy for kind, copy in (("text", item.text), ("html", item.html)) if copy}
    if item.headers:
        mail["headers"] = dict(item.headers)
    tags = {"message_key": item.message_key, "program": item.program, "arm": item.arm}
    mail["tags"] = [{"name": name, "value": value} for name, value in tags.items()]
    return json.dumps(mail, ensure_ascii=False, separators=(",", ":")).encode()


def _batch(items: Sequence[Item]) -> Batch:
    raw = b"[" + b",".join(_json(item) for item in items) + b"]"
    key = batch_key("resend", "POST", PATH, raw)
    return Batch(key, tuple(items), "POST", PATH, "application/json", raw, digest(raw))


def _rows(batch: Batch, told: Mapping[str, Any]) -> list[ItemResult]:
    """Permissive answers list the ids of what was taken, in order, and the index of what was not.

    An answer that does not account for every e-mail leaves all of them open.
    """
    refused = {one.get("index") for one in _objects(told.get("errors"))}
    ids = [one.get("id") for one in _objects(told.get("data"))]
    if len(ids) + len(refused) != len(batch.items) or not refused <= set(range(len(batch.items))):
        return each(batch, Outcome.AMBIGUOUS, "unreadable_answer")
    left = iter(ids)
    return [
        ItemResult(item.message_key, Outcome.PERMANENT, code="validation_error")
        if at in refused
        else ItemResult(item.message_key, Outcome.ACCEPTED, next(left), "200")
        for at, item in enumerate(batch.items)
    ]


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _again_at(provider: Resend, answer: Response, code: str, now: datetime) -> datetime | None:
    """A spent quota is looked at again when a day begins (UTC), unless the answer says when."""
    told = provider.rate(answer, now).resume_at
    if code not in QUOTAS or told is not None:
        return told
    return (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)


def _signature(secret: str, signed: bytes) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:  # no base64, or no ASCII
        return b"no key"
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())


def _event_type(payload: Mapping[str, Any]) -> EventType | None:
    if payload.get("type") == "contact.updated":
        return "unsubscribe" if payload["data"].get("unsubscribed") is True else None
    kind = EVENT_TYPES.get(str(payload.get("type")))
    if kind == "bounce" and (payload["data"].get("bounce") or {}).get("type") == "Transient":
        return "soft_bounce"
    return kind


def _key(data: Mapping[str, Any]) -> str | None:
    """The message key among the tags, which come as an object or, as sent, as a list."""
    tags = data.get("tags") or {}
    if isinstance(tags, list):
        tags = {one.get("name"): one.get("value") for one in tags}
    return tags.get("message_key")


def _build(
    credentials: Mapping[str, str], base_url: str, _options: Mapping[str, str], version: ApiVersion
) -> Resend:
    return Resend(credentials["resend_api_key"], base_url, version=version)


VENDOR = Vendor(
    name="resend", channels=("email",), base_url=BASE_URL, hosts=HOSTS, version=VERSION,
    credentials=("resend_api_key",), build=_build,
)  # fmt: skip
