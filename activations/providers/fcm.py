"""Firebase Cloud Messaging, HTTP v1: one push message a request; no webhooks.

Belongs here: the request body and the error table of this one provider.
Keep out: who may hear what, retries, storage, access tokens (`platforms.google_token`).

Sources: the published discovery document (fcm v1, revision 20261023), firebase.google.com/docs/
reference/fcm/rest/v1/ErrorCode and …/docs/cloud-messaging/scale-fcm.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from activations.http import Answer, Request, Response, TransportError
from activations.providers.seam import (
    Batch,
    Channel,
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
    retry_after,
)
from activations.versions import ApiVersion

# The second gives the access tokens (`platforms.google_token`).
HOSTS = frozenset({"fcm.googleapis.com", "oauth2.googleapis.com"})
BASE_URL = "https://fcm.googleapis.com"
VERSION = ApiVersion("Firebase Cloud Messaging API", "v1", None, date(2026, 11, 20))
MAX_PAYLOAD_BYTES = 4096  # of notification and data together

# 600,000 messages a minute and project is the documented default; far less is asked for.
LIMITS = Limits(
    max_items=1, max_bytes=16_000, requests_per_second=500.0, concurrency=8, partial="none",
    has_key=False,
)  # fmt: skip
# "Start with a delay of at least one minute" where a 429 does not say.
QUOTA_WAIT = timedelta(minutes=1)
# Refused for this one token though the status says 403: the token is another project's.
SENDER_ID_MISMATCH = "SENDER_ID_MISMATCH"
INVALID_REGISTRATION = "INVALID_REGISTRATION"
UNREGISTERED = "UNREGISTERED"


@dataclass(frozen=True)
class Fcm:
    """The push provider. It knows no idempotency key, so a lost answer is never sent again.

    Every message carries its key as notification tag (Android, web) and collapse id (Apple): one
    that came twice all the same would replace itself on the device.
    """

    access_token: str = field(repr=False)
    project_id: str
    base_url: str = BASE_URL
    name: str = "fcm"
    channel: Channel = "push"
    limits: Limits = LIMITS
    version: ApiVersion = VERSION

    @property
    def path(self) -> str:
        """Return the path of the project's messages."""
        return f"/{self.version.version}/projects/{self.project_id}/messages:send"

    def admit(self, item: Item) -> ItemResult | None:
        """Refuse what the API would refuse, before a request is spent on it."""
        problem = None
        if not item.address.strip():
            problem = INVALID_REGISTRATION
        elif not item.text:
            problem = "empty_notification"
        elif _payload_bytes(item) > MAX_PAYLOAD_BYTES:
            problem = "message_too_big"
        if problem is None:
            return None
        return ItemResult(item.message_key, Outcome.PERMANENT, code=problem)

    def plan(self, items: Iterable[Item]) -> list[Batch]:
        """Make one request per message, ordered by message key."""
        return [self._batch(item) for item in sorted(items, key=lambda item: item.message_key)]

    def _batch(self, item: Item) -> Batch:
        key = item.message_key
        body = {
            "message": {
                _target(item.address): item.address,
                **_payload(item),
                "android": {"notification": {"tag": key}},
                "apns": {"headers": {"apns-collapse-id": key[:64]}},
                "webpush": {"notification": {"tag": key}},
            }
        }
        raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        batch = batch_key(self.name, "POST", self.path, raw)
        return Batch(batch, (item,), "POST", self.path, "application/json", raw, digest(raw))

    def request(self, batch: Batch) -> Request:
        """Aim a batch at the project's messages with the OAuth 2.0 access token."""
        headers = {
            "Authorization": f"Bearer {self.access_token}",
            "Content-Type": batch.content_type,
        }
        return Request(batch.method, self.base_url + batch.path, headers, batch.content)

    def parse(self, batch: Batch, answer: Answer, now: datetime) -> list[ItemResult]:
        """Read the error table: a name · FcmError codes · credentials · 429 · 5xx · other 4xx.

        UNAVAILABLE and INTERNAL may have been processed, and no webhook would tell: ambiguous.
        """
        if isinstance(answer, TransportError):
            return lost(batch, answer)
        body = answer.json()
        told: Mapping[str, Any] = body if isinstance(body, dict) else {}
        if answer.status == 200 and told.get("name"):
            return each(batch, Outcome.ACCEPTED, "200", provider_ref=str(told["name"]))
        code = _code(told) or str(answer.status)
        if answer.status == 429:
            again_at = retry_after(answer, now) or now + QUOTA_WAIT
            return each(batch, Outcome.RETRY, code, retry_at=again_at)
        if answer.status in (401, 403) and code != SENDER_ID_MISMATCH:
            return each(batch, Outcome.AUTH, code)
        if 400 <= answer.status < 500:
            return each(batch, Outcome.PERMANENT, code)
        return each(batch, Outcome.AMBIGUOUS, code)

    def split(self, batch: Batch, results: Sequence[ItemResult]) -> list[Batch]:
        """Split nothing: a message is a request."""
        return []

    def rate(self, response: Response, now: datetime) -> RateState:
        """Read Retry-After, or a minute after a spent quota; no remaining count is told."""
        resume_at = retry_after(response, now)
        if resume_at is None and response.status == 429:
            resume_at = now + QUOTA_WAIT
        return RateState(None, resume_at)

    def verify(
        self,
        url: str,
        headers: Mapping[str, str],
        raw: bytes,
        secrets: Sequence[str],
        now: datetime,
    ) -> bool:
        """Believe nothing: the vendor sends no webhooks."""
        return False

    def events(self, url: str, headers: Mapping[str, str], raw: bytes) -> list[InboundEvent]:
        """Read nothing: opens are told by the app itself, as events of its own."""
        return []


def _target(address: str) -> str:
    """Registration tokens hold a colon; an installation id is 22 characters of base64url."""
    return "token" if ":" in address or len(address) > 40 else "fid"


def _payload(item: Item) -> dict[str, Any]:
    notification = {"body": item.text}
    if title := item.subject or item.sender_name:
        notification = {"title": title, **notification}
    data = {"message_key": item.message_key, "program": item.program, "arm": item.arm}
    return {"notification": notification, "data": data}


def _payload_bytes(item: Item) -> int:
    parts = _payload(item).values()
    return sum(len(f"{name}{value}".encode()) for part in parts for name, value in part.items())


def _code(told: Mapping[str, Any]) -> str | None:
    """FCM's own error code, else Google's status.

    INVALID_ARGUMENT is the token where FcmError alone says so, and a field where BadRequest does.
    """
    error = told.get("error")
    if not isinstance(error, dict):
        return None
    kinds = {
        str(one.get("@type", "")).rpartition(".")[2]: one
        for one in error.get("details") or []
        if isinstance(one, dict)
    }
    code = kinds.get("FcmError", {}).get("errorCode")
    if code == "INVALID_ARGUMENT" and "BadRequest" not in kinds:
        return INVALID_REGISTRATION
    return str(code or error.get("status") or "") or None


def _build(
    credentials: Mapping[str, str], base_url: str, options: Mapping[str, str], version: ApiVersion
) -> Fcm:
    return Fcm(credentials["google_access_token"], options["project_id"], base_url, version=version)


VENDOR = Vendor(
    name="fcm", channels=("push",), base_url=BASE_URL, hosts=HOSTS, version=VERSION,
    credentials=("google_access_token",), accounts=("project_id",), build=_build,
    gone_codes=frozenset({UNREGISTERED, INVALID_REGISTRATION, SENDER_ID_MISMATCH}),
)  # fmt: skip
