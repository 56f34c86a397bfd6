"""SendGrid: Mail Send v3 out, Event Webhook in.

Belongs here: the request body, the error table and the signature of this one provider.
Keep out: who may hear what, retries, storage.

Sources: the published OpenAPI description of v3/mail/send and of the Event Webhook (twilio/
sendgrid-oai), docs.sendgrid.com/api-reference/mail-send/limitations and …/errors, rate limits
docs.sendgrid.com/api-reference/how-to-use-the-sendgrid-v3-api/rate-limits.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

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
    blamed,
    digest,
    each,
    halves,
    lost,
    lowered,
    retry_after,
    whole_number,
)
from activations.versions import ApiVersion

HOSTS = frozenset({"api.sendgrid.com", "api.eu.sendgrid.com"})
BASE_URL = "https://api.sendgrid.com"
VERSION = ApiVersion("SendGrid Mail Send", "v3", None, date(2026, 11, 20))

# The API takes 30 MB; we cut well below, measured on the rendered (unshared) copy.
LIMITS = Limits(
    max_items=1000, max_bytes=20_000_000, requests_per_second=10.0, concurrency=4,
    partial="all_or_nothing", has_key=False,
)  # fmt: skip
# Of all substitutions of one personalization, by the description of v3/mail/send.
MAX_SUBSTITUTION_BYTES = 10_000
PERSONALIZATION = re.compile(r"personalizations[.\[](\d+)")
# The end of 2099: a reset beyond it is no time.
LAST_SECOND = 4_102_444_799
TEXT_SLOT = "-loopdrive_text-"
HTML_SLOT = "-loopdrive_html-"

RESERVED_HEADERS = frozenset({
    "x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type",
    "content-transfer-encoding", "to", "from", "subject", "reply-to", "cc", "bcc",
})  # fmt: skip

EVENT_TYPES: Mapping[str, EventType] = {
    "processed": "processed", "delivered": "delivered", "deferred": "deferred",
    "bounce": "bounce", "dropped": "dropped", "open": "open", "click": "click",
    "spamreport": "complaint", "unsubscribe": "unsubscribe",
    "group_unsubscribe": "unsubscribe", "group_resubscribe": "resubscribe",
}  # fmt: skip

SIGNATURE_HEADER = "x-twilio-email-event-webhook-signature"
TIMESTAMP_HEADER = "x-twilio-email-event-webhook-timestamp"


@dataclass(frozen=True)
class SendGrid:
    """The e-mail provider. It knows no idempotency key: a lost answer is never sent again.

    Our key travels in `custom_args` and comes back with every event, which settles what was lost.
    """

    api_key: str = field(repr=False)
    base_url: str = BASE_URL
    name: str = "sendgrid"
    channel: Channel = "email"
    limits: Limits = LIMITS
    version: ApiVersion = VERSION

    def admit(self, item: Item) -> ItemResult | None:
        """Refuse what the API would refuse the whole request for."""
        reserved = RESERVED_HEADERS & {name.lower() for name, _ in item.headers}
        problem = None
        if "@" not in item.address:
            problem = "invalid_address"
        elif not item.subject or not (item.text or item.html):
            problem = "empty_subject_or_content"
        elif reserved:
            problem = "reserved_header"
        if problem is None:
            return None
        return ItemResult(item.message_key, Outcome.PERMANENT, code=problem)

    def plan(self, items: Iterable[Item]) -> list[Batch]:
        """Cut into requests of one program, arm and sender, at most 1,000 people each.

        Copy differs per person, so what all share is the body and what differs is substituted:
        the common beginning and end go into `content` around a token, and each personalization
        replaces the token by its own middle. That keeps one request per thousand people and
        shrinks it to what differs. A person whose middle exceeds the API's 10,000 bytes, or whose
        copy contains a token, gets a request of their own with the copy written out. An address
        appears once a request (the API refuses the second).
        """
        ordered = sorted(items, key=lambda item: (_group(item), item.message_key))
        path = f"/{self.version.version}/mail/send"
        return [
            _batch(part, path)
            for _, group in groupby(ordered, key=_group)
            for chunk in _chunks(group)
            for part in _fitting(chunk)
        ]

    def request(self, batch: Batch) -> Request:
        """Aim a batch at Mail Send with the bearer key."""
        headers = {"Authorization": f"Bearer {self.api_key}", "Content-Type": batch.content_type}
        return Request(batch.method, self.base_url + batch.path, headers, batch.content)

    def parse(self, batch: Batch, answer: Answer, now: datetime) -> list[ItemResult]:
        """Read the error table: 202 · 401, 403 · 429 · 5xx · every other 4xx.

        A request is all or nothing at validation: where the errors name personalizations, those
        are refused and the others may go again. Delivery is told by events.
        """
        if isinstance(answer, TransportError):
            return lost(batch, answer)
        code = str(answer.status)
        if answer.status == 202:
            return each(batch, Outcome.ACCEPTED, code, provider_ref=_message_id(answer))
        if answer.status in (401, 403):
            return each(batch, Outcome.AUTH, code)
        if answer.status == 429:
            return each(batch, Outcome.RETRY, code, retry_at=self.rate(answer, now).resume_at)
        if 400 <= answer.status < 500:
            fields = _error_fields(answer)
            if named := _named(batch, fields):
                return blamed(batch, named, code)
            return each(batch, Outcome.PERMANENT, code, fields[0] if fields else None)
        return each(batch, Outcome.AMBIGUOUS, code)

    def split(self, batch: Batch, results: Sequence[ItemResult]) -> list[Batch]:
        """Halve a request that was refused without naming anybody."""
        return [part for half in halves(batch, results) for part in self.plan(half)]

    def rate(self, response: Response, now: datetime) -> RateState:
        """Read X-RateLimit-Remaining and -Reset (epoch seconds); mail/send may send neither."""
        left = whole_number(response.headers.get("x-ratelimit-remaining", ""))
        reset = whole_number(response.headers.get("x-ratelimit-reset", ""), LAST_SECOND)
        is_spent = response.status == 429 or left == 0
        resume_at = retry_after(response, now)
        if is_spent and reset is not None:
            resume_at = datetime.fromtimestamp(reset, UTC)
        return RateState(left, resume_at)

    def verify(
        self,
        url: str,
        headers: Mapping[str, str],
        raw: bytes,
        secrets: Sequence[str],
        now: datetime,
    ) -> bool:
        """Check ECDSA P-256/SHA-256 over timestamp + raw body; secrets are base64 DER public keys.

        No age limit is documented and events are retried for 24 hours: replays are dropped by
        `sg_event_id`, not by the timestamp.
        """
        given = lowered(headers)
        timestamp = given.get(TIMESTAMP_HEADER, "")
        try:
            signature = base64.b64decode(given.get(SIGNATURE_HEADER, ""), validate=True)
        except ValueError:  # no base64, or no ASCII
            return False
        signed = timestamp.encode() + raw
        return bool(timestamp) and any(_is_signed(key, signature, signed) for key in secrets)

    def events(self, url: str, headers: Mapping[str, str], raw: bytes) -> list[InboundEvent]:
        """Read a JSON array of events; account events and unknown kinds are left out."""
        parsed = (_event(entry) for entry in json.loads(raw))
        return [event for event in parsed if event is not None]


def _group(item: Item) -> tuple[str, str, str, str, bool, bool]:
    return (
        item.program, item.arm, item.sender, item.sender_name or "", bool(item.text),
        bool(item.html),
    )  # fmt: skip


def _size(item: Item) -> int:
    headers = sum(len(name) + len(value) for name, value in item.headers)
    return len((item.text + (item.html or "") + (item.subject or "")).encode()) + headers + 512


def _chunks(group: Iterable[Item]) -> Iterator[list[Item]]:
    """Cut by count, bytes and repeated addresses; a repeated address opens the next chunk."""
    chunk: list[Item] = []
    addresses: set[str] = set()
    size = 0
    for item in group:
        address = item.address.strip().lower()
        is_full = len(chunk) == LIMITS.max_items or size + _size(item) > LIMITS.max_bytes
        if chunk and (is_full or address in addresses):
            yield chunk
            chunk, addresses, size = [], set(), 0
        chunk.append(item)
        addresses.add(address)
        size += _size(item)
    if chunk:
        yield chunk


def _frame(values: Sequence[str]) -> tuple[str, str]:
    """Return the common beginning and end of several texts; they never overlap."""
    head = _common_start(values)
    tails = [value[len(head) :][::-1] for value in values]
    return head, _common_start(tails)[::-1]


def _common_start(values: Sequence[str]) -> str:
    """Return the longest common beginning: that of the first and last in sort order."""
    low, high = min(values), max(values)
    for position, letter in enumerate(low):
        if high[position] != letter:
            return low[:position]
    return low


def _middle(value: str, head: str, tail: str) -> str:
    return value[len(head) : len(value) - len(tail)]


def _has_slot(item: Item) -> bool:
    return any(
        token in copy
        for token in (TEXT_SLOT, HTML_SLOT)
        for copy in (item.text, item.html or "", item.subject or "")
    )


def _fitting(chunk: Sequence[Item]) -> list[list[Item]]:
    """Part a chunk into one shared request and single ones for who does not fit in it."""
    if len(chunk) == 1:
        return [list(chunk)]
    text_frame = _frame([item.text for item in chunk])
    html_frame = _frame([item.html or "" for item in chunk])
    shared: list[Item] = []
    single: list[Item] = []
    for item in chunk:
        middle = _middle(item.text, *text_frame) + _middle(item.html or "", *html_frame)
        fits = len((middle + TEXT_SLOT + HTML_SLOT).encode()) <= MAX_SUBSTITUTION_BYTES
        (shared if fits and not _has_slot(item) else single).append(item)
    return ([shared] if shared else []) + [[item] for item in single]


def _content(items: Sequence[Item]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return the shared content parts, and each item's substitutions (empty where all agree)."""
    parts: list[dict[str, str]] = []
    substitutions: list[dict[str, str]] = [{} for _ in items]
    for kind, token, values in (
        ("text/plain", TEXT_SLOT, [item.text for item in items]),
        ("text/html", HTML_SLOT, [item.html or "" for item in items]),
    ):
        if not values[0]:
            continue
        if len(set(values)) == 1:
            parts.append({"type": kind, "value": values[0]})
            continue
        head, tail = _frame(values)
        parts.append({"type": kind, "value": head + token + tail})
        for replaced, value in zip(substitutions, values, strict=True):
            replaced[token] = _middle(value, head, tail)
    return parts, substitutions


def _personalization(item: Item, substitutions: Mapping[str, str]) -> dict[str, Any]:
    envelope: dict[str, Any] = {
        "to": [{"email": item.address}],
        "subject": item.subject,
        "custom_args": {
            "message_key": item.message_key, "program": item.program, "arm": item.arm,
        },
    }  # fmt: skip
    if item.headers:
        envelope["headers"] = dict(item.headers)
    if substitutions:
        envelope["substitutions"] = dict(substitutions)
    return envelope


def _batch(items: Sequence[Item], path: str) -> Batch:
    first = items[0]
    sender = {"email": first.sender}
    if first.sender_name:
        sender["name"] = first.sender_name
    content, substitutions = _content(items)
    body = {
        "personalizations": [
            _personalization(item, values)
            for item, values in zip(items, substitutions, strict=True)
        ],
        "from": sender,
        "content": content,
        "categories": [first.program],
    }
    raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    key = batch_key("sendgrid", "POST", path, raw)
    return Batch(key, tuple(items), "POST", path, "application/json", raw, digest(raw))


def _message_id(response: Response) -> str | None:
    return response.headers.get("x-message-id")


def _error_fields(response: Response) -> list[str]:
    """Return the errors' fields (`personalizations.3.to`); their prose may quote an address."""
    body = response.json()
    errors = body.get("errors") if isinstance(body, dict) else None
    if not isinstance(errors, list):
        return []
    return [str(one["field"]) for one in errors if isinstance(one, dict) and one.get("field")]


def _named(batch: Batch, fields: Sequence[str]) -> dict[int, str]:
    """Return what was wrong by personalization; nothing where an error is about all of them."""
    found = [(PERSONALIZATION.match(field), field) for field in fields]
    if len(batch.items) < 2 or not all(match for match, _ in found):
        return {}
    named = {int(match[1]): field for match, field in found if match}
    return named if all(at < len(batch.items) for at in named) else {}


def _is_signed(public_key: str, signature: bytes, signed: bytes) -> bool:
    try:
        key = load_der_public_key(base64.b64decode(public_key, validate=True))
    except (ValueError, UnsupportedAlgorithm):
        return False
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _event_type(entry: Mapping[str, Any]) -> EventType | None:
    kind = EVENT_TYPES.get(str(entry.get("event")))
    if kind == "bounce" and entry.get("type") == "blocked":
        return "soft_bounce"
    if kind == "open" and entry.get("sg_machine_open") is True:
        return "machine_open"
    return kind


def _event(entry: Mapping[str, Any]) -> InboundEvent | None:
    kind = _event_type(entry)
    if kind is None or not entry.get("sg_event_id"):
        return None
    stamp = entry.get("timestamp")
    occurred_at = datetime.fromtimestamp(stamp, UTC) if isinstance(stamp, int | float) else None
    return InboundEvent(
        "sendgrid", str(entry["sg_event_id"]), entry.get("message_key"), kind, occurred_at, entry,
        entry.get("type"),
    )  # fmt: skip


def _build(
    credentials: Mapping[str, str], base_url: str, _options: Mapping[str, str], version: ApiVersion
) -> SendGrid:
    return SendGrid(credentials["sendgrid_api_key"], base_url, version=version)


VENDOR = Vendor(
    name="sendgrid", channels=("email",), base_url=BASE_URL, hosts=HOSTS, version=VERSION,
    credentials=("sendgrid_api_key",), build=_build,
)  # fmt: skip
