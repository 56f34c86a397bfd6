"""A stand-in for a receiver of LoopDrive's own signed webhook, as docs/sending.md asks for one.

Belongs here: checking signature, shape and key; answering by rows.
Keep out: events back; the market produces answers from accepted.jsonl.
"""

import hashlib
import hmac
from typing import Any

from sandbox.standins.desk import Call, Desk, Reply, stamp
from sandbox.standins.shapes import Check, array, choice, either, mapping, record, text

SECRET = "sandbox-webhook-secret"  # noqa: S105 - opens nothing but this stand-in
CHANNEL = "push"


def _nothing(value: object, path: str) -> list[Any]:
    return [] if value is None else text(minimum=1)(value, path)


MESSAGE = record(
    {
        "message_key": text(minimum=1),
        "address": text(minimum=1),
        "program": text(minimum=1),
        "arm": text(minimum=1),
        "sender": text(),
        "sender_name": _nothing,
        "subject": _nothing,
        "text": text(),
        "html": either(text(), _nothing),
        "headers": mapping(text()),
    }
)
BODY: Check = record(
    {
        "version": choice(1),
        "channel": choice("email", "sms", "push", "whatsapp"),
        "messages": array(MESSAGE, minimum=1, maximum=100),
    }
)


def handle(desk: Desk, call: Call) -> Reply:
    """Answer one request: 202 with a result per message, or why it was refused."""
    key = call.headers.get("idempotency-key", "")
    signed = hmac.new(SECRET.encode(), key.encode() + b"." + call.body, hashlib.sha256)
    given = call.headers.get("loopdrive-signature", "").split(",")
    if not key or f"v1={signed.hexdigest()}" not in given:
        return unauthorized(desk)
    if call.method != "POST" or call.path not in ("", "/"):
        return Reply(404, {"error": "not_found"})
    with desk.lock:
        known = desk.recall("webhook", key, call.body)
        if known == "other":
            return Reply(409, {"error": "same key, another body"})
        if known is not None:
            return Reply(200, known)
        body = call.json()
        problems = BODY(body, "")
        if problems:
            return Reply(400, {"error": f"{problems[0].path} {problems[0].message}"})
        told = {"results": _take(desk, call, body)}
        desk.keep("webhook", key, call.body, told)
        return Reply(202, told, items=len(told["results"]))


def _take(desk: Desk, call: Call, body: dict[str, Any]) -> list[dict[str, Any]]:
    at, batch = stamp(desk.now()), desk.new_id("webhook", call.body)[:20]
    results, rows = [], []
    for position, message in enumerate(body["messages"]):
        name = f"{batch}.{position}"
        if message["address"] in desk.blocked_addresses:
            results.append({"message_key": message["message_key"], "status": "blocked"})
            continue
        results.append({"message_key": message["message_key"], "status": "accepted", "id": name})
        rows.append(
            {
                "provider": "webhook",
                "provider_message_id": name,
                "message_key": message["message_key"],
                "channel": body["channel"],
                "address": message["address"],
                "program": message["program"],
                "arm": message["arm"],
                "accepted_at": at,
            }
        )
    desk.append("accepted.jsonl", rows)
    return results


def rate_limited(desk: Desk) -> Reply:
    """Answer as a receiver that is busy."""
    return Reply(429, {"error": "slow down"}, {"Retry-After": "5"})


def unauthorized(desk: Desk) -> Reply:
    """Answer to a signature that is none."""
    return Reply(401, {"error": "bad signature"})


def server_error(desk: Desk) -> Reply:
    """Answer as a receiver that broke: the request may have been processed."""
    return Reply(500, {"error": "broken"})
