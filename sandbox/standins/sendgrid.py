"""A stand-in for SendGrid Mail Send v3: as strict as the published description, and stricter.

Belongs here: what v3/mail/send accepts, refuses and answers.
Keep out: delivery events; the market produces them from accepted.jsonl.

Sources: the published OpenAPI description, docs.sendgrid.com/api-reference/mail-send/errors and
…/limitations. Stricter: unknown fields are refused, as are two recipients of one address.
"""

from datetime import timedelta
from typing import Any

from sandbox.standins.desk import Call, Desk, Reply, stamp
from sandbox.standins.shapes import (
    EMAIL,
    Check,
    Problem,
    array,
    boolean,
    integer,
    mapping,
    record,
    text,
)

API_KEY = "SG.sandbox.key"
MAX_BYTES = 30_000_000
MAX_ARGS_BYTES = 10_000
RESERVED_HEADERS = frozenset({
    "x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type",
    "content-transfer-encoding", "to", "from", "subject", "reply-to", "cc", "bcc",
})  # fmt: skip

ADDRESS = record({"email": text(pattern=EMAIL)}, {"name": text()})
PERSONALIZATION = record(
    {"to": array(ADDRESS, minimum=1, maximum=1000)},
    {
        "from": ADDRESS,
        "cc": array(ADDRESS, maximum=1000),
        "bcc": array(ADDRESS, maximum=1000),
        "subject": text(minimum=1),
        "headers": mapping(text()),
        "substitutions": mapping(text()),
        "custom_args": mapping(text()),
        "send_at": integer(minimum=0),
    },
)
SWITCH = record({}, {"enable": boolean, "enable_text": boolean})
BODY: Check = record(
    {"personalizations": array(PERSONALIZATION, minimum=1, maximum=1000), "from": ADDRESS},
    {
        "reply_to": ADDRESS,
        "subject": text(minimum=1),
        "content": array(record({"type": text(minimum=1), "value": text(minimum=1)}), minimum=1),
        "template_id": text(minimum=1),
        "headers": mapping(text()),
        "categories": array(text(maximum=255), maximum=10),
        "send_at": integer(minimum=0),
        "asm": record({"group_id": integer()}, {"groups_to_display": array(integer(), maximum=25)}),
        "ip_pool_name": text(minimum=2, maximum=64),
        "mail_settings": mapping(SWITCH),
        "tracking_settings": mapping(SWITCH),
    },
)


def handle(desk: Desk, call: Call) -> Reply:
    """Answer one request: 202 with X-Message-Id, or the errors of the description."""
    if call.path != "/v3/mail/send":
        return _errors(404, [Problem("", "not found")])
    if call.method != "POST":
        return _errors(405, [Problem("", "method not allowed")])
    if call.headers.get("authorization") != f"Bearer {API_KEY}":
        return unauthorized(desk)
    if call.headers.get("content-type", "").split(";")[0] != "application/json":
        return _errors(415, [Problem("", "Content-Type should be application/json.")])
    if len(call.body) > MAX_BYTES:
        return _errors(413, [Problem("", "Payload Too Large")])
    body = call.json()
    problems = BODY(body, "") or _meaning(desk, body)
    if problems:
        return _errors(400, problems)
    return _accept(desk, call, body)


def _meaning(desk: Desk, body: dict[str, Any]) -> list[Problem]:
    """Check what a schema cannot say."""
    problems: list[Problem] = []
    if not body.get("template_id") and not body.get("content"):
        problems.append(Problem("content", "is required unless a template_id is given"))
    kinds = [part["type"] for part in body.get("content", [])]
    if kinds != sorted(kinds, key=lambda kind: (kind != "text/plain", kind != "text/html")):
        problems.append(Problem("content", "text/plain must be first, then text/html"))
    if len(set(body.get("categories", []))) != len(body.get("categories", [])):
        problems.append(Problem("categories", "must be unique"))
    for at, envelope in enumerate(body["personalizations"]):
        problems += _envelope(desk, body, envelope, f"personalizations.{at}")
    return problems + _recipients(body)


def _envelope(
    desk: Desk, body: dict[str, Any], envelope: dict[str, Any], path: str
) -> list[Problem]:
    problems = []
    if not envelope.get("subject") and not body.get("subject") and not body.get("template_id"):
        problems.append(Problem(f"{path}.subject", "is required"))
    reserved = {name.lower() for name in envelope.get("headers", {})} & RESERVED_HEADERS
    if reserved:
        problems.append(Problem(f"{path}.headers", "contains a reserved header"))
    latest = desk.now() + timedelta(hours=72)
    if envelope.get("send_at", 0) > latest.timestamp():
        problems.append(Problem(f"{path}.send_at", "cannot be more than 72 hours ahead"))
    problems += [
        Problem(f"{path}.{name}", "may not exceed 10000 bytes")
        for name in ("substitutions", "custom_args")
        if _bytes(envelope.get(name, {})) > MAX_ARGS_BYTES
    ]
    return problems


def _bytes(pairs: dict[str, str]) -> int:
    return sum(len(name.encode()) + len(value.encode()) for name, value in pairs.items())


def _recipients(body: dict[str, Any]) -> list[Problem]:
    addresses = [
        one["email"].lower()
        for envelope in body["personalizations"]
        for kind in ("to", "cc", "bcc")
        for one in envelope.get(kind, [])
    ]
    if len(addresses) > 1000:
        return [Problem("personalizations", "has more than 1000 recipients in total")]
    if len(set(addresses)) != len(addresses):
        return [Problem("personalizations", "may include each unique address only once")]
    return []


def _accept(desk: Desk, call: Call, body: dict[str, Any]) -> Reply:
    message_id = desk.new_id("sendgrid", call.body)[:22]
    at = stamp(desk.now())
    rows = []
    for position, envelope in enumerate(body["personalizations"]):
        known = envelope.get("custom_args", {})
        rows += [
            {
                "provider": "sendgrid",
                "provider_message_id": f"{message_id}.{position}",
                "message_key": known.get("message_key"),
                "channel": "email",
                "address": recipient["email"],
                "program": known.get("program"),
                "arm": known.get("arm"),
                "accepted_at": at,
            }
            for recipient in envelope["to"]
        ]
    desk.append("accepted.jsonl", rows)
    return Reply(202, None, {"X-Message-Id": message_id}, len(rows))


def rate_limited(desk: Desk) -> Reply:
    """Answer as SendGrid does at its limit: reset is an epoch second."""
    reset = int((desk.now() + timedelta(seconds=30)).timestamp())
    headers = {
        "X-RateLimit-Limit": "600",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(reset),
    }
    return Reply(429, {"errors": [{"field": None, "message": "too many requests"}]}, headers)


def unauthorized(desk: Desk) -> Reply:
    """Answer as SendGrid does to a wrong key."""
    return _errors(401, [Problem("", "authorization required")])


def server_error(desk: Desk) -> Reply:
    """Answer as SendGrid does when it breaks."""
    return _errors(500, [Problem("", "internal server error")])


def _errors(status: int, problems: list[Problem]) -> Reply:
    errors = [
        {"field": problem.path or None, "message": problem.message, "help": None}
        for problem in problems[:20]
    ]
    return Reply(status, {"errors": errors})
