"""A stand-in for Resend's batch endpoint: up to 100 e-mails, and keys that are kept for a day.

Belongs here: what POST /emails/batch accepts, refuses and answers.
Keep out: delivery events; the market produces them from accepted.jsonl.

Sources: the published OpenAPI description, resend.com/docs/api-reference/errors and …/rate-limit,
resend.com/docs/dashboard/emails/idempotency-keys. Stricter: unknown fields are refused.
"""

from typing import Any

from sandbox.standins.desk import Call, Desk, Reply, stamp
from sandbox.standins.shapes import (
    EMAIL,
    Check,
    Problem,
    array,
    either,
    mapping,
    record,
    text,
)

API_KEY = "re_sandbox_key"
PATH = "/emails/batch"
MAX_ITEMS = 100
TAG_TEXT = text(minimum=1, maximum=256, pattern="[A-Za-z0-9_-]+")
SENDER = rf"{EMAIL}|[^<>]+<{EMAIL}>"
ADDRESSES = either(text(pattern=EMAIL), array(text(pattern=EMAIL), minimum=1, maximum=50))
MAIL: Check = record(
    {"from": text(pattern=SENDER), "to": ADDRESSES, "subject": text(minimum=1)},
    {
        "text": text(),
        "html": text(),
        "bcc": ADDRESSES,
        "cc": ADDRESSES,
        "reply_to": ADDRESSES,
        "headers": mapping(text()),
        "tags": array(record({"name": TAG_TEXT, "value": TAG_TEXT})),
        "topic_id": text(),
    },
)


def handle(desk: Desk, call: Call) -> Reply:
    """Answer one request: 200 with ids, what was taken before under this key, or an error."""
    if call.path != PATH:
        return _error(404, "not_found", "The requested endpoint does not exist")
    if call.method != "POST":
        return _error(405, "method_not_allowed", "This endpoint does not support the method")
    if "authorization" not in call.headers:
        return _error(401, "missing_api_key", "Missing API key in the authorization header")
    if call.headers["authorization"] != f"Bearer {API_KEY}":
        return unauthorized(desk)
    if call.headers.get("content-type", "").split(";")[0] != "application/json":
        return _error(422, "missing_required_field", "The request body must be JSON")
    key = call.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 256:
        return _error(400, "invalid_idempotency_key", "The key must be between 1-256 chars")
    with desk.lock:
        known = desk.recall("resend", key, call.body) if key else None
        if known == "other":
            return _error(409, "invalid_idempotent_request", "Same key, another payload")
        return Reply(200, known) if known is not None else _judge(desk, call, key)


def _judge(desk: Desk, call: Call, key: str | None) -> Reply:
    mails = call.json()
    if not isinstance(mails, list) or not 1 <= len(mails) <= MAX_ITEMS:
        return _error(422, "validation_error", "A batch holds 1 to 100 e-mails")
    problems = {at: found for at, mail in enumerate(mails) if (found := _problems(mail))}
    is_permissive = call.headers.get("x-batch-validation") == "permissive"
    if problems and not is_permissive:
        first = next(iter(problems.values()))[0]
        return _error(422, "validation_error", f"{first.path} {first.message}")
    accepted = [mail for at, mail in enumerate(mails) if at not in problems]
    body: dict[str, Any] = {"data": [{"id": one} for one in _take(desk, call, accepted)]}
    if problems:
        body["errors"] = [
            {"index": at, "message": f"{found[0].path} {found[0].message}"}
            for at, found in problems.items()
        ]
    if key:
        desk.keep("resend", key, call.body, body)
    return Reply(200, body, {"ratelimit-limit": "5", "ratelimit-remaining": "4"}, len(accepted))


def _problems(mail: object) -> list[Problem]:
    problems = MAIL(mail, "")
    if not problems and isinstance(mail, dict) and not (mail.get("text") or mail.get("html")):
        problems = [Problem("text", "or html is required")]
    return problems


def _take(desk: Desk, call: Call, mails: list[dict[str, Any]]) -> list[str]:
    at, batch = stamp(desk.now()), desk.new_id("resend", call.body)
    ids, rows = [], []
    for position, mail in enumerate(mails):
        digits = f"{batch[:24]}{position:08x}"
        ids.append("-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])))
        tags = {one["name"]: one["value"] for one in mail.get("tags", [])}
        addresses = mail["to"] if isinstance(mail["to"], list) else [mail["to"]]
        rows += [
            {
                "provider": "resend",
                "provider_message_id": ids[-1],
                "message_key": tags.get("message_key"),
                "channel": "email",
                "address": address,
                "program": tags.get("program"),
                "arm": tags.get("arm"),
                "accepted_at": at,
            }
            for address in addresses
        ]
    desk.append("accepted.jsonl", rows)
    return ids


def rate_limited(desk: Desk) -> Reply:
    """Answer as Resend does above its requests a second; reset is in seconds."""
    headers = {"ratelimit-limit": "5", "ratelimit-remaining": "0", "ratelimit-reset": "1"}
    refused = _error(429, "rate_limit_exceeded", "Too many requests")
    return Reply(429, refused.body, headers | {"retry-after": "1"})


def unauthorized(desk: Desk) -> Reply:
    """Answer as Resend does to a wrong key."""
    return _error(403, "invalid_api_key", "API key is invalid")


def server_error(desk: Desk) -> Reply:
    """Answer as Resend does when it breaks: the request may have been processed."""
    return _error(500, "application_error", "An unexpected error occurred")


def _error(status: int, name: str, message: str) -> Reply:
    return Reply(status, {"statusCode": status, "name": name, "message": message})
