"""WhatsApp Cloud API: one approved template a request, statuses and replies in.

Belongs here: the request body, the error table and the signature of this one provider.
Keep out: who may hear what, retries, storage.

A business may open a conversation only with a template that Meta approved, so a message is a
template's name, its language and one body variable that holds our text. Sources: the published
description (business-messaging-api v23.0), developers.facebook.com/docs/whatsapp/cloud-api/support/
error-codes, …/webhooks/reference/messages/status and …/user_preferences, and for the signature
developers.facebook.com/docs/graph-api/webhooks/getting-started.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode

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

HOSTS = frozenset({"graph.facebook.com"})
BASE_URL = "https://graph.facebook.com"
VERSION = ApiVersion("WhatsApp Cloud API", "v26.0", None, date(2026, 11, 20))
MAX_TEXT_LENGTH = 1024
LANGUAGE = "en"

# 80 messages a second and number by default; Meta raises it to 1,000 by itself.
LIMITS = Limits(
    max_items=1, max_bytes=64_000, requests_per_second=80.0, concurrency=8, partial="none",
    has_key=False,
)  # fmt: skip

# Meta's codes. Blocked: the person or Meta wants no such message now. Auth: nothing can be sent
# until somebody mends the account.
OPTED_OUT = 131050
BLOCKED_CODES = frozenset({130472, 130497, 131047, 131049, OPTED_OUT})
AUTH_CODES = frozenset({0, 3, 10, 190, 368, 131005, 131031, 131037, 131042, 131045, 133010})
PERMISSION_CODES = range(200, 300)
# How long to wait where the answer does not say: account, number, spam, pair, registration,
# maintenance.
WAITS: Mapping[int, timedelta] = {
    4: timedelta(hours=1), 80007: timedelta(hours=1), 130429: timedelta(minutes=1),
    131048: timedelta(hours=1), 131056: timedelta(minutes=5), 133016: timedelta(hours=1),
    131057: timedelta(minutes=15),
}  # fmt: skip

PAIR_LIMIT = 131056

EVENT_TYPES: Mapping[str, EventType] = {
    "sent": "sent", "delivered": "delivered", "read": "open", "failed": "failed",
}  # fmt: skip
STOP_WORDS = frozenset({
    "STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "STOP PROMOTIONS",
})  # fmt: skip
START_WORDS = frozenset({"START", "UNSTOP"})
SIGNATURE_HEADER = "x-hub-signature-256"


@dataclass(frozen=True)
class WhatsApp:
    """The WhatsApp provider. It knows no idempotency key: a lost answer is never sent again.

    Our key travels in `biz_opaque_callback_data` and comes back with every status. `template` may
    hold `{program}` and `{arm}`.
    """

    access_token: str = field(repr=False)
    phone_number_id: str
    template: str
    language: str = LANGUAGE
    base_url: str = BASE_URL
    name: str = "whatsapp"
    channel: Channel = "whatsapp"
    limits: Limits = LIMITS
    version: ApiVersion = VERSION

    @property
    def path(self) -> str:
        """Return the path of the number's messages."""
        return f"/{self.version.version}/{self.phone_number_id}/messages"

    def admit(self, item: Item) -> ItemResult | None:
        """Refuse what the API would refuse, before a request is spent on it."""
        problem = None
        if not E164.fullmatch(item.address):
            problem = "131009"
        elif not item.text.strip():
            problem = "131008"
        elif len(_line(item.text)) > MAX_TEXT_LENGTH:
            problem = "132005"
        if problem is None:
            return None
        return ItemResult(item.message_key, Outcome.PERMANENT, code=problem)

    def plan(self, items: Iterable[Item]) -> list[Batch]:
        """Make one request per message, ordered by message key."""
        return [self._batch(item) for item in sorted(items, key=lambda item: item.message_key)]

    def _batch(self, item: Item) -> Batch:
        name = self.template.replace("{program}", item.program).replace("{arm}", item.arm)
        text = {"type": "text", "text": _line(item.text)}
        known = {"message_key": item.message_key, "program": item.program, "arm": item.arm}
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": item.address,
            "type": "template",
            "template": {
                "name": name,
                "language": {"code": self.language},
                "components": [{"type": "body", "parameters": [text]}],
            },
            "biz_opaque_callback_data": urlencode(known),
        }
        raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        key = batch_key(self.name, "POST", self.path, raw)
        return Batch(key, (item,), "POST", self.path, "application/json", raw, digest(raw))

    def request(self, batch: Batch) -> Request:
        """Aim a batch at the number's messages with the bearer token, out of the query string."""
        headers = {
            "Authorization": f"Bearer {self.access_token}",
            "Content-Type": batch.content_type,
        }
        return Request(batch.method, self.base_url + batch.path, headers, batch.content)

    def parse(self, batch: Batch, answer: Answer, now: datetime) -> list[ItemResult]:
        """Read the error table: an id · Meta's codes at any status · 5xx · every other 4xx."""
        if isinstance(answer, TransportError):
            return lost(batch, answer)
        body = answer.json()
        told: Mapping[str, Any] = body if isinstance(body, dict) else {}
        code = _code(told)
        if code is not None:
            return self._refused(batch, answer, code, now)
        reference, status = _accepted(told)
        if answer.status == 200 and reference:
            return each(batch, Outcome.ACCEPTED, "200", status, provider_ref=reference)
        name = str(answer.status)
        if answer.status in (401, 403):
            return each(batch, Outcome.AUTH, name)
        if answer.status == 429:
            return each(batch, Outcome.RETRY, name, retry_at=retry_after(answer, now))
        if 400 <= answer.status < 500:
            return each(batch, Outcome.PERMANENT, name)
        return each(batch, Outcome.AMBIGUOUS, name)

    def _refused(
        self, batch: Batch, answer: Response, code: int, now: datetime
    ) -> list[ItemResult]:
        name = str(code)
        if code in WAITS:
            again_at = retry_after(answer, now) or now + WAITS[code]
            return each(batch, Outcome.RETRY, name, retry_at=again_at)
        if code in BLOCKED_CODES:
            return each(batch, Outcome.BLOCKED, name)
        if code in AUTH_CODES or code in PERMISSION_CODES or answer.status in (401, 403):
            return each(batch, Outcome.AUTH, name)
        if answer.status >= 500 or code in (1, 2):
            return each(batch, Outcome.AMBIGUOUS, name)
        return each(batch, Outcome.PERMANENT, name)

    def split(self, batch: Batch, results: Sequence[ItemResult]) -> list[Batch]:
        """Split nothing: a message is a request."""
        return []

    def rate(self, response: Response, now: datetime) -> RateState:
        """Read Retry-After, and of the codes how long the number has to rest.

        The pair limit holds for one person alone: the number may go on at once.
        """
        body = response.json()
        code = _code(body) if isinstance(body, dict) else None
        if code == PAIR_LIMIT:
            return RateState(None, now)
        wait = WAITS.get(code) if code is not None else None
        return RateState(None, retry_after(response, now) or (now + wait if wait else None))

    def verify(
        self,
        url: str,
        headers: Mapping[str, str],
        raw: bytes,
        secrets: Sequence[str],
        now: datetime,
    ) -> bool:
        """Check X-Hub-Signature-256: hex HMAC-SHA256 of the raw body under the app's secret.

        It carries no time, and Meta repeats for days: replays are dropped by id.
        """
        given = lowered(headers).get(SIGNATURE_HEADER, "").encode()
        return any(
            hmac.compare_digest(
                b"sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest().encode(),
                given,
            )
            for secret in secrets
        )

    def events(self, url: str, headers: Mapping[str, str], raw: bytes) -> list[InboundEvent]:
        """Read the statuses, replies and preferences of one notification; the rest is left out."""
        return [
            event
            for entry in json.loads(raw).get("entry", [])
            for change in entry.get("changes", [])
            for event in _events(change.get("value") or {})
        ]


def challenge(query: Mapping[str, str], tokens: Sequence[str]) -> str | None:
    """Return what Meta's subscription request wants to read back, or None for a wrong token."""
    given = query.get("hub.verify_token", "").encode()
    is_known = any(hmac.compare_digest(token.encode(), given) for token in tokens)
    wanted = query.get("hub.challenge", "")
    is_asked = query.get("hub.mode") == "subscribe" and re.fullmatch(r"[\w-]{1,200}", wanted)
    return wanted if is_known and is_asked else None


def _line(text: str) -> str:
    """A template's variable holds neither line breaks nor more than four spaces in a row."""
    return " ".join(text.split())


def _code(told: Mapping[str, Any]) -> int | None:
    error = told.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _accepted(told: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The id (wamid) and what Meta says of it: accepted, held_for_quality_assessment, paused."""
    messages = told.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    if not isinstance(first, dict) or not first.get("id"):
        return None, None
    return str(first["id"]), first.get("message_status")


def _events(value: Mapping[str, Any]) -> Iterator[InboundEvent]:
    for status in value.get("statuses", []):
        kind = EVENT_TYPES.get(status["status"])
        if kind:
            key = parse_qs(status.get("biz_opaque_callback_data", "")).get("message_key", [None])[0]
            errors = status.get("errors") or [{}]
            detail = str(errors[0].get("code") or "") or None
            yield _event(f"{status['id']}:{status['status']}", key, kind, status, detail)
    for message in value.get("messages", []):
        yield _event(f"{message['id']}:reply", None, _reply_type(message), message)
    for wish in value.get("user_preferences", []):
        if wish.get("category") == "marketing_messages" and wish.get("value") in ("stop", "resume"):
            name = ":".join(str(wish[part]) for part in ("wa_id", "value", "timestamp"))
            kind = "unsubscribe" if wish["value"] == "stop" else "resubscribe"
            yield _event(name, None, kind, wish)


def _event(
    event_id: str,
    key: str | None,
    kind: EventType,
    payload: Mapping[str, Any],
    detail: str | None = None,
) -> InboundEvent:
    at = datetime.fromtimestamp(int(payload["timestamp"]), UTC)
    return InboundEvent("whatsapp", event_id, key, kind, at, payload, detail)


def _reply_type(message: Mapping[str, Any]) -> EventType:
    said = (message.get("text") or {}).get("body") or (message.get("button") or {}).get("text")
    word = str(said or "").strip().upper()
    if word in STOP_WORDS:
        return "unsubscribe"
    return "resubscribe" if word in START_WORDS else "reply"


def _build(
    credentials: Mapping[str, str], base_url: str, options: Mapping[str, str], version: ApiVersion
) -> WhatsApp:
    return WhatsApp(
        credentials["whatsapp_access_token"],
        options["phone_number_id"],
        options["template"],
        options.get("language", LANGUAGE),
        base_url,
        version=version,
    )


VENDOR = Vendor(
    name="whatsapp", channels=("whatsapp",), base_url=BASE_URL, hosts=HOSTS, version=VERSION,
    credentials=("whatsapp_access_token",), accounts=("phone_number_id", "template"), build=_build,
    opt_out_codes=frozenset({str(OPTED_OUT)}),
)  # fmt: skip
