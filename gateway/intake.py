"""Event intake: the Segment HTTP API.

Belongs here: routes, write keys, CORS, what is answered. Keep out: what makes an event valid
(`segment.py`), how it is made durable (`commits.py`).
"""

import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from gateway import access, bodies, segment
from gateway.bodies import RefusedError
from gateway.landing import LandingError
from gateway.state import (
    RETRY_SECONDS,
    Gateway,
    answer,
    answers_with,
    described,
    gateway_of,
    refusal,
    takes,
)

router = APIRouter(prefix="/v1", tags=["events"])
SINGLE_BYTES = 32 << 10
BATCH_BYTES = 500 << 10
PREFLIGHT_SECONDS = "600"

_TEXT: dict[str, Any] = {"type": "string"}
_OBJECT: dict[str, Any] = {"type": "object"}
_MESSAGE: dict[str, Any] = {
    "type": "object",
    "anyOf": [{"required": ["userId"]}, {"required": ["anonymousId"]}],
    "properties": {
        "userId": {"type": "string", "minLength": 1},
        "anonymousId": {"type": "string", "minLength": 1},
        "messageId": {"type": "string", "minLength": 1, "maxLength": segment.MAX_TEXT},
        "timestamp": {"type": "string", "format": "date-time"},
        "sentAt": {"type": "string", "format": "date-time"},
        "context": _OBJECT,
        "writeKey": _TEXT,
    },
}
_OWN: Mapping[str, dict[str, Any]] = {
    "track": {"event": {"type": "string", "minLength": 1, "maxLength": 200}, "properties": _OBJECT},
    "identify": {"traits": _OBJECT},
    "page": {"name": _TEXT, "properties": _OBJECT},
    "screen": {"name": _TEXT, "properties": _OBJECT},
    "alias": {"previousId": {"type": "string", "minLength": 1}},
    "group": {"groupId": _TEXT, "traits": _OBJECT},
}
_REQUIRED = {"track": ["event"], "alias": ["previousId"]}
_DONE = {
    "type": "object",
    "required": ["success"],
    "properties": {
        "success": {"type": "boolean"},
        "refused": {
            "type": "array",
            "description": "Messages of a batch that were not taken; the others were.",
            "items": {
                "type": "object",
                "properties": {"position": {"type": "integer"}, "reason": _TEXT},
            },
        },
    },
}
_REFUSALS = described(400, 401, 408, 413, 415, 429, 503)


def _schema(kind: str) -> dict[str, Any]:
    properties = _MESSAGE["properties"] | _OWN[kind]
    return _MESSAGE | {"properties": properties, "required": _REQUIRED.get(kind, [])}


def _route(path: str, kind: str, is_public: bool) -> None:
    max_bytes = BATCH_BYTES if kind == "batch" else SINGLE_BYTES
    batch = {"type": "array", "items": {"type": "object"}}
    schema = (
        {"type": "object", "required": ["batch"], "properties": {"batch": batch}}
        if kind == "batch"
        else _schema(kind)
    )

    async def take(request: Request) -> Response:
        gateway = gateway_of(request)
        try:
            return _allowed(await _taken(request, gateway, kind, max_bytes), request, gateway)
        except RefusedError as error:
            gateway.metrics.count("loopdrive_events_refused_total", reason=error.reason)
            return _allowed(refusal(error), request, gateway)

    router.add_api_route(
        path,
        take,
        methods=["POST"],
        name=f"{kind} ({path})",
        summary=f"Segment `{kind}`: on the disk before it is answered.",
        responses=answers_with(_DONE, "Durable.") | _REFUSALS,
        openapi_extra=takes(schema) | {"security": [{"writeKey": []}]},
        include_in_schema=is_public,
        operation_id=kind,
    )
    router.add_api_route(path, preflight, methods=["OPTIONS"], include_in_schema=False)


async def preflight(request: Request) -> Response:
    """What a browser asks before it posts from another origin."""
    asked = Response(status_code=204)
    asked.headers["Access-Control-Allow-Methods"] = "POST"
    asked.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, Content-Encoding"
    asked.headers["Access-Control-Max-Age"] = PREFLIGHT_SECONDS
    return _allowed(asked, request, gateway_of(request))


async def _taken(request: Request, gateway: Gateway, kind: str, max_bytes: int) -> Response:
    key = access.basic_user(request)
    if key is not None:  # browsers name it in the body, and are refused after it is read
        access.name_of(gateway.write_keys, key)
    body = await bodies.read(request, max_bytes, gateway.body_seconds)
    try:
        message = segment.parse(body)
        writer = access.name_of(gateway.write_keys, key or _key_in(message))
        taken = _lines(kind, message, gateway)
    except segment.MalformedError as error:
        reason = str(error)
        raise RefusedError(413 if reason == "too_large" else 400, reason) from error
    if taken.count:
        gateway.event_rate.take(writer, taken.count, time.monotonic())
        try:
            await gateway.events.append(taken.lines)
        except LandingError as error:
            raise RefusedError(503, "not_durable", RETRY_SECONDS) from error
    gateway.metrics.count("loopdrive_events_accepted_total", taken.count, key=writer)
    return _done(taken, gateway)


def _lines(kind: str, message: dict[str, Any], gateway: Gateway) -> segment.Taken:
    if kind == "batch":
        return segment.take_batch(message, gateway.clock(), gateway.new_id)
    return segment.take(kind, message, gateway.clock(), gateway.new_id)


def _done(taken: segment.Taken, gateway: Gateway) -> Response:
    if not taken.refused:
        return answer({"success": True})
    for _, reason in taken.refused:
        gateway.metrics.count("loopdrive_events_refused_total", reason=reason)
    refused = [{"position": position, "reason": reason} for position, reason in taken.refused]
    return answer({"success": True, "refused": refused})


def _key_in(message: Mapping[str, Any]) -> str | None:
    key = message.get("writeKey")
    return key if isinstance(key, str) else None


def _allowed(response: Response, request: Request, gateway: Gateway) -> Response:
    """CORS without credentials: a page may post, and read whether it was taken."""
    origin = request.headers.get("origin")
    if origin is None:
        return response
    if "*" in gateway.origins:
        response.headers["Access-Control-Allow-Origin"] = "*"
    elif origin in gateway.origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Vary"] = "Origin"
    return response


for _kind in (*segment.KINDS, "batch"):
    _route(f"/{_kind}", _kind, is_public=True)
# The browser library's short names, and its batches.
for _letter, _kind in segment.LETTERS.items():
    _route(f"/{_letter}", _kind, is_public=False)
_route("/b", "batch", is_public=False)
