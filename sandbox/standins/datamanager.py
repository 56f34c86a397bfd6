"""A stand-in for Google's Data Manager API: events:ingest and requestStatus:retrieve.

Belongs here: what the two calls accept, refuse and answer.
Keep out: budgets (`google_ads.py`).

Sources: the published discovery document datamanager v1; developers.google.com/data-manager/api
(limits, understand-errors: one invalid record fails the request, duplicates are told later).
"""

import re
from typing import Any

from sandbox.standins.desk import Call, Desk, Reply
from sandbox.standins.google_ads import ACCESS_TOKEN, CUSTOMER_ID
from sandbox.standins.shapes import (
    Check,
    Problem,
    array,
    boolean,
    choice,
    number,
    record,
    text,
)

CONVERSION_ACTION_ID = "3000000003"

HASH = text(pattern="[0-9a-f]{64}")
ACCOUNT = record(
    {"accountType": choice("GOOGLE_ADS"), "accountId": text(pattern=r"\d+")},
    {"product": choice("GOOGLE_ADS")},
)
DESTINATION = record(
    {"operatingAccount": ACCOUNT, "productDestinationId": text(pattern=r"\d+")},
    {"loginAccount": ACCOUNT, "linkedAccount": ACCOUNT, "reference": text(minimum=1)},
)
CONSENT_STATUS = choice("CONSENT_GRANTED", "CONSENT_DENIED")
CONSENT = record({}, {"adUserData": CONSENT_STATUS, "adPersonalization": CONSENT_STATUS})
ADDRESS = record({
    "givenName": HASH, "familyName": HASH, "regionCode": text(pattern="[A-Z]{2}"),
    "postalCode": text(minimum=1),
})  # fmt: skip
IDENTIFIER = record({}, {"emailAddress": HASH, "phoneNumber": HASH, "address": ADDRESS})
EVENT = record(
    {"eventTimestamp": text(pattern=r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")},
    {
        "transactionId": text(minimum=1), "conversionValue": number,
        "currency": text(pattern="[A-Z]{3}"), "consent": CONSENT,
        "eventSource": choice("WEB", "APP", "IN_STORE", "PHONE", "MESSAGE", "OTHER"),
        "adIdentifiers": record({}, dict.fromkeys(("gclid", "gbraid", "wbraid"), text(minimum=1))),
        "userData": record({"userIdentifiers": array(IDENTIFIER, minimum=1, maximum=10)}),
        "eventName": text(minimum=1), "lastUpdatedTimestamp": text(minimum=1),
    },
)  # fmt: skip
BODY: Check = record(
    {
        "destinations": array(DESTINATION, minimum=1, maximum=10),
        "events": array(EVENT, minimum=1, maximum=2000),
    },
    {"consent": CONSENT, "encoding": choice("HEX", "BASE64"), "validateOnly": boolean},
)


def handle(desk: Desk, call: Call) -> Reply:
    """Answer one request: a request id, a status, or a google.rpc.Status."""
    if call.headers.get("authorization") != f"Bearer {ACCESS_TOKEN}":
        return unauthorized(desk)
    if call.method == "POST" and call.path == "/v1/events:ingest":
        return _ingest(desk, call)
    if call.method == "GET" and call.path == "/v1/requestStatus:retrieve":
        found = desk.processing.get(call.query.get("requestId", ""))
        return Reply(200, found) if found else status(404, "NOT_FOUND", "no such request")
    return status(404, "NOT_FOUND", "no such method")


def _ingest(desk: Desk, call: Call) -> Reply:
    body = call.json()
    problems = BODY(body, "") or _meaning(body)
    if problems:
        return _violations(problems)
    request_id = desk.new_id("datamanager", call.body)[:32]
    if not body.get("validateOnly"):
        rows = _rows(desk, body["events"])
        desk.take_conversions("google", rows)
        desk.processing[request_id] = _processed(body, rows)
    return Reply(200, {"requestId": request_id}, items=len(body["events"]))


def _meaning(body: dict[str, Any]) -> list[Problem]:
    """Check what a schema cannot say."""
    problems = []
    for at, destination in enumerate(body["destinations"]):
        if destination["operatingAccount"]["accountId"] != CUSTOMER_ID:
            problems.append(Problem(f"destinations.{at}.operatingAccount", "is not known"))
    has_user_data = any("userData" in event for event in body["events"])
    if has_user_data and "encoding" not in body:
        problems.append(Problem("encoding", "is required with user data"))
    for at, event in enumerate(body["events"]):
        if not event.get("adIdentifiers") and not event.get("userData"):
            problems.append(Problem(f"events.{at}", "needs ad identifiers or user data"))
        if "conversionValue" in event and "currency" not in event:
            problems.append(Problem(f"events.{at}.currency", "is required with a value"))
    return problems


def _rows(desk: Desk, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows, taken = [], set()
    for event in events:
        key = str(event.get("transactionId"))
        is_duplicate = key in taken or desk.last_upload("google", key) is not None
        taken.add(key)
        rows.append({
            "conversion_id": event.get("transactionId"), "event_name": event.get("eventName"),
            "value": event.get("conversionValue"), "currency": event.get("currency"),
            "occurred_at": event["eventTimestamp"], "dedup_key": key, "duplicate": is_duplicate,
        })  # fmt: skip
    return rows


def _processed(body: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what requestStatus:retrieve will tell of this upload."""
    reasons = {
        "PROCESSING_ERROR_REASON_DUPLICATE_TRANSACTION_ID": [
            at for at, row in enumerate(rows) if row["duplicate"]
        ],
        "PROCESSING_ERROR_REASON_DENIED_CONSENT": [
            at
            for at, event in enumerate(body["events"])
            if event.get("consent", {}).get("adUserData") == "CONSENT_DENIED"
        ],
    }
    counts = [
        {"reason": reason, "recordCount": str(len(at)), "recordIndices": at}
        for reason, at in reasons.items()
        if at
    ]
    told: dict[str, Any] = {
        "destination": body["destinations"][0],
        "requestStatus": "PARTIAL_SUCCESS" if counts else "SUCCESS",
        "eventsIngestionStatus": {"recordCount": str(len(rows))},
    }
    if counts:
        told["errorInfo"] = {"errorCounts": counts}
    return {"requestStatusPerDestination": [told]}


def _violations(problems: list[Problem]) -> Reply:
    fields = [
        {"field": re.sub(r"\.(\d+)", r"[\1]", problem.path), "description": problem.message}
        for problem in problems[:50]
    ]
    for one in fields:
        if one["field"].startswith("events["):
            one["field"] = f"events.{one['field']}"
    details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": fields}]
    return status(400, "INVALID_ARGUMENT", "Request contains an invalid argument.", details)


def status(
    code: int, name: str, message: str, details: list[dict[str, Any]] | None = None
) -> Reply:
    """Answer with a google.rpc.Status."""
    error = {"code": code, "message": message, "status": name, "details": details or []}
    return Reply(code, {"error": error})


def rate_limited(desk: Desk) -> Reply:
    """Answer as Google does above a quota: `quota_limit` tells the minute from the day."""
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "RATE_LIMIT_EXCEEDED",
        "metadata": {"quota_limit": "IngestionMutatePerMinutePerProject"},
    }
    return status(429, "RESOURCE_EXHAUSTED", "Quota exceeded", [info])


def unauthorized(desk: Desk) -> Reply:
    """Answer as Google does to an expired token."""
    return status(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")


def server_error(desk: Desk) -> Reply:
    """Answer as Google does when it breaks."""
    return status(503, "UNAVAILABLE", "The service is currently unavailable.")
