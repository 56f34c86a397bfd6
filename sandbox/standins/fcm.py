"""A stand-in for Firebase Cloud Messaging, HTTP v1: one push message a request.

Belongs here: what messages:send accepts, refuses and answers.
Keep out: what devices do with it; no webhook tells.

Sources: the published discovery document and firebase.google.com/docs/reference/fcm/rest/v1/
ErrorCode. Stricter: exactly one target, a notification, and only the fields named below.
"""

from typing import Any

from sandbox.standins.desk import Call, Desk, Reply, stamp
from sandbox.standins.google_ads import ACCESS_TOKEN
from sandbox.standins.shapes import Check, boolean, mapping, record, text

PROJECT_ID = "sandbox-project"
PATH = f"/v1/projects/{PROJECT_ID}/messages:send"
MAX_PAYLOAD_BYTES = 4096
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"

MESSAGE = record(
    {"notification": record({"body": text(minimum=1)}, {"title": text(), "image": text()})},
    {
        "token": text(minimum=1),
        "fid": text(minimum=1),
        "data": mapping(text()),
        "android": record(
            {},
            {
                "collapseKey": text(),
                "ttl": text(pattern=r"\d+(\.\d+)?s"),
                "notification": record({}, {"tag": text()}),
            },
        ),
        "apns": record({}, {"headers": mapping(text())}),
        "webpush": record({}, {"notification": record({}, {"tag": text()})}),
    },
)
BODY: Check = record({"message": MESSAGE}, {"validateOnly": boolean})


def handle(desk: Desk, call: Call) -> Reply:
    """Answer one request: 200 with the message's name, or Google's error object."""
    if call.headers.get("authorization") != f"Bearer {ACCESS_TOKEN}":
        return unauthorized(desk)
    if call.path != PATH or call.method != "POST":
        return _error(404, "NOT_FOUND", [])
    if call.headers.get("content-type", "").split(";")[0] != "application/json":
        return _violation("content-type", "must be application/json")
    body = call.json()
    problems = BODY(body, "")
    if problems:
        return _violation(problems[0].path, problems[0].message)
    message = body["message"]
    targets = [message[name] for name in ("token", "fid") if name in message]
    if len(targets) != 1:
        return _violation("message", "exactly one of token, fid, topic or condition is required")
    if _size(message) > MAX_PAYLOAD_BYTES:
        return _violation("message", "is too big")
    if targets[0] in desk.blocked_addresses:
        return _error(404, "NOT_FOUND", [_fcm("UNREGISTERED")])
    return _accept(desk, call, message, targets[0])


def _size(message: dict[str, Any]) -> int:
    parts = (message["notification"], message.get("data", {}))
    return sum(len(f"{name}{value}".encode()) for part in parts for name, value in part.items())


def _accept(desk: Desk, call: Call, message: dict[str, Any], address: str) -> Reply:
    name = f"projects/{PROJECT_ID}/messages/{desk.new_id('fcm', call.body)[:24]}"
    data = message.get("data", {})
    row = {
        "provider": "fcm",
        "provider_message_id": name,
        "message_key": data.get("message_key"),
        "channel": "push",
        "address": address,
        "program": data.get("program"),
        "arm": data.get("arm"),
        "accepted_at": stamp(desk.now()),
    }
    desk.append("accepted.jsonl", [row])
    return Reply(200, {"name": name}, items=1)


def _fcm(code: str) -> dict[str, Any]:
    return {"@type": FCM_ERROR, "errorCode": code}


def _violation(path: str, message: str) -> Reply:
    found = {"@type": BAD_REQUEST, "fieldViolations": [{"field": path, "description": message}]}
    return _error(400, "INVALID_ARGUMENT", [found, _fcm("INVALID_ARGUMENT")])


def _error(status: int, name: str, details: list[dict[str, Any]]) -> Reply:
    told = {"code": status, "message": "refused", "status": name, "details": details}
    return Reply(status, {"error": told})


def rate_limited(desk: Desk) -> Reply:
    """Answer as FCM does above the project's quota."""
    refused = _error(429, "RESOURCE_EXHAUSTED", [_fcm("QUOTA_EXCEEDED")])
    return Reply(429, refused.body, {"Retry-After": "60"})


def unauthorized(desk: Desk) -> Reply:
    """Answer as Google does to a wrong token."""
    return _error(401, "UNAUTHENTICATED", [])


def server_error(desk: Desk) -> Reply:
    """Answer as FCM does when it is overloaded: the message may be on its way."""
    return _error(503, "UNAVAILABLE", [_fcm("UNAVAILABLE")])
