"""What every route of one gateway shares, and the answers they all give.

Belongs here: the parts put together, answers in JSON, how they are described to the outside.
Keep out: routes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from gateway.access import Buckets
from gateway.bodies import RefusedError
from gateway.commits import Commits
from gateway.connections import Connections
from gateway.metrics import Metrics
from warehouse.settings import BrandSettings

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "The reason, in a few words."}},
}
_REASONS = {
    400: "The body is not what this route takes.",
    401: "No key, or one that is not known.",
    403: "The signature is not the provider's.",
    404: "Not known here.",
    408: "The body did not arrive in time.",
    409: "The identifiers belong to more than one person.",
    413: "The body or an event is too large.",
    415: "A content type or encoding that is not read.",
    429: "Too many requests with this key; Retry-After says when to come back.",
    503: "Cannot be kept or looked up right now; come back after Retry-After seconds.",
}
RETRY_SECONDS = 5


@dataclass(frozen=True)
class Gateway:
    """One running gateway. `clock` gives the wall time, `new_id` ids for messages without one.

    In a simulated workspace (`is_simulated`) a decision stands by business time, not by the wall's.
    """

    brand: BrandSettings
    write_keys: Mapping[bytes, str] = field(repr=False)
    api_keys: Mapping[bytes, str] = field(repr=False)
    link_keys: tuple[bytes, ...] = field(repr=False)
    webhook_secrets: Mapping[str, tuple[str, ...]] = field(repr=False)
    challenge_tokens: Mapping[str, tuple[str, ...]] = field(repr=False)
    programs: tuple[str, ...]
    is_simulated: bool
    origins: tuple[str, ...]
    body_seconds: float
    events: Commits
    provider_events: Commits
    connections: Connections
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    metrics: Metrics
    event_rate: Buckets
    request_rate: Buckets


def gateway_of(request: Request) -> Gateway:
    """The gateway that serves this request."""
    return request.app.state.gateway


def answer(content: Mapping[str, Any], status: int = 200) -> JSONResponse:
    """An answer in JSON."""
    return JSONResponse(dict(content), status)


def refusal(error: RefusedError) -> JSONResponse:
    """The answer to a request that was refused."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Basic, Bearer"
    return JSONResponse({"error": error.reason}, error.status, headers)


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a route's refusals look, for its OpenAPI description."""
    content = {"application/json": {"schema": _ERROR}}
    return {one: {"description": _REASONS[one], "content": content} for one in statuses}


def answers_with(schema: Mapping[str, Any], text: str) -> dict[int | str, dict[str, Any]]:
    """How a route's good answer looks."""
    return {200: {"description": text, "content": {"application/json": {"schema": dict(schema)}}}}


def takes(schema: Mapping[str, Any], media: str = "application/json") -> dict[str, Any]:
    """How a route's body looks; for `openapi_extra`."""
    return {"requestBody": {"required": True, "content": {media: {"schema": dict(schema)}}}}
