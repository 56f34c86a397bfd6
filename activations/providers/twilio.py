"""Twilio Programmable Messaging: one form request a message, status callbacks in.

Belongs here: the form, the error table and the signature of this one provider.
Keep out: who may hear what, retries, storage.

Sources: the published OpenAPI description (twilio/twilio-oai, api_v2010), twilio.com/docs/errors
(20429: never processed, always safe to send again; 20500: not safe), the request validator of
twilio-python for the signature.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

from activations.http import Answer, Request, Response, TransportError
from activations.providers.seam import (
    E164,
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
    digest,
    each,
    lost,
    lowered,
    retry_after,
)
from activations.versions import ApiVersion

HOSTS = frozenset({"api.twilio.com"})
BASE_URL = "https://api.twilio.com"
VERSION = ApiVersion("Twilio API", "2010-04-01", None, date(2026, 11, 20))
MAX_BODY_LENGTH = 1600

LIMITS = Limits(
    max_items=1, max_bytes=64_000, requests_per_second=100.0, concurrency=8,
    partial="none", has_key=False,
)  # fmt: skip

# Vendor codes of twilio.com/docs/api/errors. 21610 and 21408 forbid; the rest of the permanent
# ones cannot be mended by sending again.
BLOCKED_CODES = frozenset({21408, 21610})
AUTH_CODES = frozenset({20003, 20005, 20008, 20403})
RETRY_CODES = frozenset({20429, 14107, 30001})

EVENT_TYPES: Mapping[str, EventType] = {
    "accepted": "processed", "scheduled": "processed", "queued": "processed",
    "sending": "processed", "sent": "sent", "partially_delivered": "sent",
    "delivered": "delivered", "read": "open", "undelivered": "undelivered", "failed": "failed",
    "canceled": "dropped",
}  # fmt: skip
# Twilio's default opt-out and opt-in words, as a whole message and in any case.
STOP_WORDS = frozenset({
    "STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT",
})  # fmt: skip
START_WORDS = frozenset({"START", "YES", "UNSTOP"})


@dataclass(frozen=True)
class Twilio:
    """The SMS provider. It knows no idempotency key: a lost answer is never sent again."""

    account_sid: str
    auth_token: str = field(repr=False)
    base_url: str = BASE_URL
    name: str = "twilio"
    channel: Channel = "sms"
    limits: Limits = LIMITS
    version: ApiVersion = VERSION

    @property
    def path(self) -> str:
        """Return the path of the account's message list."""
        return f"/{self.version.version}/Accounts/{self.account_sid}/Messages.json"

    def admit(self, item: Item) -> ItemResult | None:
        """Refuse what the API would refuse, before a request is spent on it."""
        problem = None
        if not E164.fullmatch(item.address):
            problem = "21211"
        elif not item.text:
            problem = "21602"
        elif len(item.text) > MAX_BODY_LENGTH:
            problem = "21617"
        if problem is None:
            return None
        return ItemResult(item.message_key, Outcome.PERMANENT, code=problem)

    def plan(self, items: Iterable[Item]) -> list[Batch]:
        """Make one request per message, ordered by message key."""
        return [self._batch(item) for item in sorted(items, key=lambda item: item.message_key)]

    def _batch(self, item: Item) -> Batch:
        sender = "MessagingServiceSid" if item.sender.startswith("MG") else "From"
        form = {"To": item.address, sender: item.sender, "Body": item.text}
        if item.status_callback:
            form["StatusCallback"] = item.status_callback
        raw = urlencode(form).encode()
        key = batch_key(self.name, "POST", self.path, raw)
        content_type = "application/x-www-form-urlencoded"
        return Batch(key, (item,), "POST", self.path, content_type, raw, digest(raw))

    def request(self, batch: Batch) -> Request:
        """Aim a batch at the Messages list with basic authentication."""
        pair = f"{self.account_sid}:{self.auth_token}".encode()
        headers = {
            "Authorization": f"Basic {base64.b64encode(pair).decode()}",
            "Content-Type": batch.content_type,
        }
        return Request(batch.method, self.base_url + batch.path, headers, batch.content)

    def parse(self, batch: Batch, answer: Answer, now: datetime) -> list[ItemResult]:
        """Read the error table: 201 · 20429 · opt-outs · credentials · 5xx · every other 4xx."""
        if isinstance(answer, TransportError):
            return lost(batch, answer)
        body = answer.json()
        told: Mapping[str, Any] = body if isinstance(body, dict) else {}
        if answer.status == 201 and told.get("sid"):
            return _accepted(batch, told)
        code = told.get("code")
        name = str(code or answer.status)
        if answer.status == 429 or code in RETRY_CODES:
            return each(batch, Outcome.RETRY, name, retry_at=self.rate(answer, now).resume_at)
        if answer.status in (401, 403) or code in AUTH_CODES:
            return each(batch, Outcome.AUTH, name)
        if code in BLOCKED_CODES:
            return each(batch, Outcome.BLOCKED, name)
        if 400 <= answer.status < 500:
            return each(batch, Outcome.PERMANENT, name)
        return each(batch, Outcome.AMBIGUOUS, name)

    def inquiry(self, items: Sequence[Item], since: datetime) -> Request:
        """Ask for the messages sent since a day, by our own number where all went from it.

        The list could be narrowed to a recipient, but then their number would be in a URL.
        """
        senders = {item.sender for item in items}
        query = {"DateSent>": f"{since.astimezone(UTC):%Y-%m-%d}", "PageSize": "1000"}
        if len(senders) == 1 and not (sender := senders.pop()).startswith("MG"):
            query["From"] = sender
        return self._listed(f"{self.path}?{urlencode(query)}")

    def found(
        self, items: Sequence[Item], answer: Response
    ) -> tuple[list[ItemResult], Request | None]:
        """Match a page of the list by recipient and text; the next page where there is one."""
        body = answer.json()
        told: Mapping[str, Any] = body if isinstance(body, dict) else {}
        listed = {
            (one.get("to"), one.get("body")): one
            for one in told.get("messages") or []
            if isinstance(one, dict) and one.get("sid")
        }
        results = [
            result
            for item in items
            if (one := listed.get((item.address, item.text))) is not None
            for result in _accepted(self._batch(item), one)
        ]
        following = told.get("next_page_uri")
        return results, self._listed(str(following)) if following else None

    def _listed(self, path: str) -> Request:
        pair = f"{self.account_sid}:{self.auth_token}".encode()
        headers = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        return Request("GET", self.base_url + path, headers)

    def split(self, batch: Batch, results: Sequence[ItemResult]) -> list[Batch]:
        """Split nothing: a message is a request."""
        return []

    def rate(self, response: Response, now: datetime) -> RateState:
        """Read Retry-After; Twilio tells no remaining count."""
        return RateState(None, retry_after(response, now))

    def verify(
        self,
        url: str,
        headers: Mapping[str, str],
        raw: bytes,
        secrets: Sequence[str],
        now: datetime,
    ) -> bool:
        """Check X-Twilio-Signature: base64 HMAC-SHA1 of the public URL and the sorted form.

        A JSON body is signed through its SHA-256 in the query (`bodySHA256`). Blank parameters
        count; the port may or may not have been part of the signed URL.
        """
        given = lowered(headers).get("x-twilio-signature", "").encode()
        claimed = parse_qs(urlsplit(url).query).get("bodySHA256", [""])[0]
        if claimed:
            if not hmac.compare_digest(claimed, hashlib.sha256(raw).hexdigest()):
                return False
            tail = ""
        else:
            tail = _signed_form(raw)
        return any(
            hmac.compare_digest(_signature(secret, address + tail), given)
            for secret in secrets
            for address in _with_and_without_port(url)
        )

    def events(self, url: str, headers: Mapping[str, str], raw: bytes) -> list[InboundEvent]:
        """Read one callback form (or the JSON of one); the message key travels in the URL."""
        payload = _payload(raw)
        reference = payload.get("MessageSid") or payload.get("SmsSid")
        if not reference:
            return []
        keys = parse_qs(urlsplit(url).query).get("message_key", [None])
        status = payload.get("MessageStatus") or payload.get("SmsStatus")
        is_reply = "Body" in payload and status in (None, "received", "receiving")
        kind = _reply_type(payload) if is_reply else EVENT_TYPES.get(str(status))
        if kind is None:
            return []
        event_id = f"{reference}:{kind if is_reply else status}"
        return [
            InboundEvent(self.name, event_id, keys[0], kind, None, payload,
                         payload.get("ErrorCode") or None)
        ]  # fmt: skip


def _accepted(batch: Batch, told: Mapping[str, Any]) -> list[ItemResult]:
    """A message may be created and failed at once: the status tells, not the 201."""
    status, sid = str(told.get("status")), str(told["sid"])
    if status in ("failed", "canceled", "undelivered"):
        code = str(told.get("error_code") or status)
        blocked = told.get("error_code") in BLOCKED_CODES
        outcome = Outcome.BLOCKED if blocked else Outcome.PERMANENT
        return each(batch, outcome, code, status, provider_ref=sid)
    return each(batch, Outcome.ACCEPTED, "201", status, provider_ref=sid)


def _signed_form(raw: bytes) -> str:
    """Join sorted names and values; repeated equal values count once, as in twilio-python."""
    pairs = set(parse_qsl(raw.decode(), keep_blank_values=True))
    return "".join(name + value for name, value in sorted(pairs))


def _signature(secret: str, signed: str) -> bytes:
    return base64.b64encode(hmac.new(secret.encode(), signed.encode(), hashlib.sha1).digest())


def _with_and_without_port(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    bare = urlunsplit(parts._replace(netloc=f"{credentials}{host}"))
    return bare, urlunsplit(parts._replace(netloc=f"{credentials}{host}:{port}"))


def _payload(raw: bytes) -> dict[str, str]:
    text = raw.decode()
    if text.lstrip().startswith("{"):
        return {name: str(value) for name, value in json.loads(text).items() if value is not None}
    return dict(parse_qsl(text, keep_blank_values=True))


def _reply_type(payload: Mapping[str, str]) -> EventType:
    word = payload["Body"].strip().upper()
    if payload.get("OptOutType") == "STOP" or word in STOP_WORDS:
        return "unsubscribe"
    if payload.get("OptOutType") == "START" or word in START_WORDS:
        return "resubscribe"
    return "reply"


def _build(
    credentials: Mapping[str, str], base_url: str, _options: Mapping[str, str], version: ApiVersion
) -> Twilio:
    sid, token = credentials["twilio_account_sid"], credentials["twilio_auth_token"]
    return Twilio(sid, token, base_url, version=version)


VENDOR = Vendor(
    name="twilio", channels=("sms",), base_url=BASE_URL, hosts=HOSTS, version=VERSION,
    credentials=("twilio_account_sid", "twilio_auth_token"), build=_build,
    opt_out_codes=frozenset({"21610"}),
)  # fmt: skip
