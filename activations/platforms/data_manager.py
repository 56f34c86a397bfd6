"""Google Data Manager: conversions by events:ingest, and what became of them.

Belongs here: the request body, the error table, the processing reasons of this one API. New
integrations must use it: the click upload of the Google Ads API is closed to them since June 2026.
Keep out: hosts, credentials (`google.py`), match-key rules (`match_keys.py`).

Sources: the published discovery document datamanager v1 (2026-11), processing_errors.proto,
developers.google.com/data-manager/api/devguides (limits, concepts/understand-errors: an invalid
record fails its whole request).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from typing import Any

from activations.http import Answer, Response, TransportError
from activations.match_keys import match_keys
from activations.platforms.seam import (
    Conversion,
    ConversionBatch,
    ConversionResult,
    Verdict,
    all_of,
    halves,
    make_batch,
)
from activations.providers.seam import Limits, Outcome
from activations.versions import ApiVersion

BASE_URL = "https://datamanager.googleapis.com"
VERSION = ApiVersion("Google Data Manager API", "v1", None, date(2026, 11, 20))
PATH = "/v1/events:ingest"
STATUS_PATH = "/v1/requestStatus:retrieve"

# 300 requests a minute and ten at once are Google's; transaction ids dedup without an end.
LIMITS = Limits(
    max_items=2000, max_bytes=10_000_000, requests_per_second=5.0, concurrency=10,
    partial="all_or_nothing", has_key=True, dedup=timedelta(days=365), max_age=timedelta(days=90),
)  # fmt: skip

SOURCES: Mapping[str, str] = {
    "website": "WEB", "app": "APP", "physical_store": "IN_STORE", "phone_call": "PHONE",
    "chat": "MESSAGE", "business_messaging": "MESSAGE", "email": "OTHER",
    "system_generated": "OTHER", "other": "OTHER",
}  # fmt: skip
CLICK_IDS = frozenset({"gclid", "gbraid", "wbraid"})
CONSENT: Mapping[str, str] = {"granted": "CONSENT_GRANTED", "denied": "CONSENT_DENIED"}
ADDRESS_KEYS: Mapping[str, str] = {
    "first_name": "givenName", "last_name": "familyName", "country": "regionCode",
    "postal_code": "postalCode",
}  # fmt: skip

DUPLICATE_REASONS = frozenset({"DUPLICATE_TRANSACTION_ID", "DUPLICATE_GCLID"})
RETRY_REASONS = frozenset({
    "TOO_RECENT_CLICK", "TOO_RECENT_CALL", "INTERNAL_ERROR", "DESTINATION_TOO_RECENTLY_CREATED",
})  # fmt: skip
BLOCKED_REASONS = frozenset({"DENIED_CONSENT", "NO_CONSENT", "UNKNOWN_CONSENT"})
# A click younger than this is not known to Google yet.
CLICK_DELAY = timedelta(hours=6)
FAIL_FAST = "fail_fast"


@dataclass(frozen=True)
class Destination:
    """Where conversions go: an account, its conversion action, and who logs in."""

    customer_id: str
    conversion_action_id: str
    login_customer_id: str | None = None

    def body(self) -> dict[str, Any]:
        """Return the destination as the API wants it."""
        operating = {"accountType": "GOOGLE_ADS", "accountId": self.customer_id}
        login = {"accountType": "GOOGLE_ADS", "accountId": self.login_customer_id}
        body: dict[str, Any] = {
            "operatingAccount": operating,
            "productDestinationId": self.conversion_action_id,
        }
        return body | ({"loginAccount": login} if self.login_customer_id else {})


def admit(conversion: Conversion, now: datetime) -> ConversionResult | None:
    """Return why a conversion cannot be uploaded, or None."""
    checks = (
        ("unknown_action_source", conversion.action_source not in SOURCES),
        ("event_in_future", conversion.occurred_at > now),
        ("event_too_old", now - conversion.occurred_at > timedelta(days=90)),
        ("no_match_key", not (_click(conversion) or _identifiers(conversion))),
    )
    code, outcome = next((code for code, fails in checks if fails), None), Outcome.PERMANENT
    if conversion.consent == "denied":
        code, outcome = "consent_denied", Outcome.BLOCKED
    return ConversionResult(conversion.conversion_id, outcome, code=code) if code else None


def plan(conversions: Iterable[Conversion], destination: Destination) -> list[ConversionBatch]:
    """Cut into uploads of at most 2,000 events, ordered by conversion id."""
    ordered = sorted(conversions, key=lambda item: item.conversion_id)
    size = LIMITS.max_items
    return [_batch(ordered[at : at + size], destination) for at in range(0, len(ordered), size)]


def _batch(items: Sequence[Conversion], destination: Destination) -> ConversionBatch:
    body = {
        "destinations": [destination.body()],
        "encoding": "HEX",
        "events": [_event(item) for item in items],
    }
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return make_batch("google", PATH, items, content)


def _click(conversion: Conversion) -> dict[str, str]:
    if conversion.click_id_type in CLICK_IDS and conversion.click_id:
        return {str(conversion.click_id_type): conversion.click_id}
    return {}


def _identifiers(conversion: Conversion) -> list[dict[str, Any]]:
    """Return hashed user data, only with granted consent; an address needs all four parts."""
    if conversion.consent != "granted":
        return []
    keys = match_keys("google", conversion.person)
    found: list[dict[str, Any]] = []
    if "email" in keys:
        found.append({"emailAddress": keys["email"]})
    if "phone" in keys:
        found.append({"phoneNumber": keys["phone"]})
    if ADDRESS_KEYS.keys() <= keys.keys():
        found.append({"address": {name: keys[key] for key, name in ADDRESS_KEYS.items()}})
    return found


def _event(conversion: Conversion) -> dict[str, Any]:
    event: dict[str, Any] = {
        "transactionId": conversion.conversion_id,
        "eventTimestamp": conversion.occurred_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": SOURCES[conversion.action_source],
        "conversionValue": float(conversion.value),
        "currency": conversion.currency,
    }
    if click := _click(conversion):
        event["adIdentifiers"] = click
    if identifiers := _identifiers(conversion):
        event["userData"] = {"userIdentifiers": identifiers}
    if status := CONSENT.get(conversion.consent):
        event["consent"] = {"adUserData": status}
    return event


def parse(batch: ConversionBatch, answer: Answer, now: datetime) -> list[ConversionResult]:
    """Read an upload's answer.

    200 with a request id is accepted (processing follows); 400 that names rows makes those
    permanent and the rest `fail_fast` retries; everything else holds for all rows.
    """
    if isinstance(answer, TransportError):
        lost = answer.kind == "ambiguous"
        return all_of(batch, Verdict(Outcome.AMBIGUOUS if lost else Outcome.RETRY, answer.reason))
    body = _body(answer)
    if answer.status == 200 and body.get("requestId"):
        return all_of(batch, Verdict(Outcome.ACCEPTED, "200"), body["requestId"])
    error = body.get("error", {})
    code = str(error.get("status") or answer.status)
    bad = _named_rows(error)
    if answer.status == 400 and bad:
        return [_row_result(item, bad.get(at)) for at, item in enumerate(batch.items)]
    return all_of(batch, _verdict(answer.status, code, error, now))


def _verdict(status: int, code: str, error: Mapping[str, Any], now: datetime) -> Verdict:
    if status in (401, 403):
        return Verdict(Outcome.AUTH, code)
    if status == 429:
        return Verdict(Outcome.RETRY, code, retry_at=_quota_resumes_at(error, now))
    if 400 <= status < 500:
        return Verdict(Outcome.PERMANENT, code)
    return Verdict(Outcome.AMBIGUOUS, code)


def _quota_resumes_at(error: Mapping[str, Any], now: datetime) -> datetime:
    """Tell a spent day from a spent minute by ErrorInfo's `quota_limit`.

    Days are Pacific; waiting for the next UTC midnight but eight hours is never too short.
    """
    limits = [
        str(detail.get("metadata", {}).get("quota_limit", ""))
        for detail in error.get("details", [])
    ]
    if not any("day" in limit.lower() for limit in limits):
        return now + timedelta(minutes=1)
    pacific = now.astimezone(UTC) - timedelta(hours=8)
    midnight = datetime.combine(pacific.date() + timedelta(days=1), time(), UTC)
    return midnight + timedelta(hours=8)


def _named_rows(error: Mapping[str, Any]) -> dict[int, str]:
    """Return row index to field name of each violation such as `events.events[3].currency`."""
    violations = chain.from_iterable(
        detail.get("fieldViolations", []) for detail in error.get("details", [])
    )
    rows: dict[int, str] = {}
    for violation in violations:
        found = re.search(r"events\[(\d+)\]\.?(.*)", str(violation.get("field", "")))
        if found:
            rows.setdefault(int(found[1]), found[2])
    return rows


def _row_result(item: Conversion, field: str | None) -> ConversionResult:
    if field is None:
        return ConversionResult(item.conversion_id, Outcome.RETRY, code=FAIL_FAST)
    return ConversionResult(
        item.conversion_id, Outcome.PERMANENT, code="INVALID_ARGUMENT", detail=field
    )


def split(
    batch: ConversionBatch, results: Sequence[ConversionResult], destination: Destination
) -> list[ConversionBatch]:
    """Return what to send instead: the rows nobody complained of, or two halves."""
    good = [
        item for item, result in zip(batch.items, results, strict=True) if result.code == FAIL_FAST
    ]
    if good:
        return [_batch(good, destination)]
    is_refused = all(
        result.outcome is Outcome.PERMANENT and not result.detail for result in results
    )
    if not is_refused or len(batch.items) < 2:
        return []
    return [_batch(half, destination) for half in halves(batch.items)]


def parse_status(batch: ConversionBatch, answer: Answer, now: datetime) -> list[ConversionResult]:
    """Read requestStatus:retrieve: reasons by row where Google names rows.

    Still processing, or no usable answer: every row AMBIGUOUS, ask again. Counts without rows
    cannot be told apart: rows stay ACCEPTED with the reason as detail.
    """
    statuses = _body(answer).get("requestStatusPerDestination", [])
    state = statuses[0].get("requestStatus") if statuses else None
    if state in (None, "PROCESSING", "REQUEST_STATUS_UNKNOWN"):
        return all_of(batch, Verdict(Outcome.AMBIGUOUS, state or "no_status"))
    counts = statuses[0].get("errorInfo", {}).get("errorCounts", [])
    by_row = {row: _reason(count) for count in counts for row in count.get("recordIndices", [])}
    unnamed = [_reason(count) for count in counts if not count.get("recordIndices")]
    if state == "FAILED" and not by_row:
        return all_of(batch, Verdict(Outcome.PERMANENT, unnamed[0] if unnamed else state))
    fine = Verdict(Outcome.ACCEPTED, state, ",".join(unnamed) or None)
    verdicts = (
        _processing(by_row[at], now) if at in by_row else fine for at in range(len(batch.items))
    )
    return [
        ConversionResult(item.conversion_id, found.outcome, None, found.code, found.detail,
                         found.retry_at)
        for item, found in zip(batch.items, verdicts, strict=True)
    ]  # fmt: skip


def _reason(count: Mapping[str, Any]) -> str:
    reason = str(count.get("reason"))
    return reason.removeprefix("PROCESSING_ERROR_").removeprefix("REASON_")


def _processing(reason: str, now: datetime) -> Verdict:
    if reason in DUPLICATE_REASONS:
        return Verdict(Outcome.DUPLICATE, reason)
    if reason in RETRY_REASONS:
        return Verdict(Outcome.RETRY, reason, retry_at=now + CLICK_DELAY)
    if reason in BLOCKED_REASONS:
        return Verdict(Outcome.BLOCKED, reason)
    return Verdict(Outcome.PERMANENT, reason)


def _body(answer: Answer) -> dict[str, Any]:
    body = answer.json() if isinstance(answer, Response) else None
    return body if isinstance(body, dict) else {}
