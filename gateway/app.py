"""The application: routes put together, and what holds for every answer.

Belongs here: assembly, health, metrics, headers, errors that show nothing, the OpenAPI page.
Keep out: what routes do; starting a server (`serving.py`).
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import access, intake, links, metrics, people, preferences, webhooks
from gateway.access import Buckets, Rate
from gateway.bodies import RefusedError
from gateway.commits import Commits
from gateway.connections import Connections
from gateway.landing import LandingLog, Rotation
from gateway.metrics import Metrics
from gateway.state import Gateway, answer, answers_with, gateway_of, refusal
from warehouse import Settings, Warehouse, front

LOOPBACK = ("127.0.0.1", "::1")
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
NO_CONTENT_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
TRANSPORT_SECURITY = (b"strict-transport-security", b"max-age=31536000")
_NAMES = {404: "not_found", 405: "method_not_allowed"}


def gateway(
    settings: Settings,
    warehouse: Warehouse,
    clock: Callable[[], datetime],
    new_id: Callable[[], str],
) -> Gateway:
    """The parts of one gateway for a workspace."""
    held = settings.gateway or front.GatewaySettings()
    rotation = Rotation(max_age=timedelta(seconds=held.rotate_seconds))

    def log(folder: str) -> Commits:
        return Commits(LandingLog(front.landing(settings) / folder, clock, rotation))

    return Gateway(
        brand=settings.brand,
        write_keys=access.digests(front.write_keys(settings)),
        api_keys=access.digests(front.api_keys(settings)),
        link_keys=front.link_keys(settings),
        webhook_secrets=front.webhook_secrets(settings),
        challenge_tokens=front.challenge_tokens(settings),
        programs=settings.programs,
        is_simulated=settings.simulation is not None,
        origins=held.origins,
        body_seconds=held.body_seconds,
        events=log(front.LANDED["segment"]),
        provider_events=log(front.LANDED["provider_events"]),
        connections=Connections(warehouse),
        clock=clock,
        new_id=new_id,
        metrics=Metrics(),
        event_rate=Buckets(Rate(held.events_per_second, 2 * held.events_per_second)),
        request_rate=Buckets(Rate(held.requests_per_second, 2 * held.requests_per_second)),
    )


def create(made: Gateway) -> ASGIApp:
    """The application that a server runs. Nothing is opened before it starts."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with made.events.running(), made.provider_events.running():
            yield
        made.connections.close()

    app = FastAPI(
        title="LoopDrive gateway",
        description="Events, webhooks and preferences in; answers about persons out.",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: _refused, Exception: _broken},
    )
    app.state.gateway = made
    app.state.remembered = webhooks.Remembered()
    for part in (intake, people, webhooks, preferences, links):
        app.include_router(part.router)
    app.add_api_route("/health", health, methods=["GET"], tags=["operation"], responses=_HEALTH)
    app.add_api_route("/metrics", scrape, methods=["GET"], tags=["operation"], responses=_METRICS)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return _Answers(app, made)


_HEALTH = answers_with(
    {"type": "object", "properties": {"status": {"type": "string"}}}, "It takes events."
) | {503: {"description": "The landing log cannot be written."}}
_METRICS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus text format.", "content": {"text/plain": {}}},
    401: {"description": "From elsewhere than this machine a key is needed."},
}


async def health(request: Request) -> Response:
    """Whether events are taken (the status), and whether the warehouse answers."""
    held = gateway_of(request)
    is_failing = held.events.is_failing or held.provider_events.is_failing
    try:
        await run_in_threadpool(
            held.connections.read, lambda connection: connection.execute("select 1").fetchone()
        )
        warehouse = "ok"
    except psycopg.Error:
        warehouse = "away"
    told = {"status": "failing" if is_failing else "ok", "warehouse": warehouse}
    return answer(told, 503 if is_failing else 200)


async def scrape(request: Request) -> Response:
    """Counters and times. Open to this machine, to others with an API key."""
    held = gateway_of(request)
    is_local = request.client is not None and request.client.host in LOOPBACK
    if not is_local or "x-forwarded-for" in request.headers:
        try:
            access.name_of(held.api_keys, access.bearer(request))
        except RefusedError as error:
            return refusal(error)
    is_failing = held.events.is_failing or held.provider_events.is_failing
    return Response(held.metrics.text(is_failing), media_type=metrics.CONTENT_TYPE)


async def _refused(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    refused = answer({"error": _NAMES.get(status, "refused")}, status)
    refused.headers.update(headers or {})
    return refused


async def _broken(_request: Request, _error: Exception) -> Response:
    """A fault of ours: the outside learns that, and nothing else."""
    return answer({"error": "internal"}, 500)


def _described(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schema.setdefault("components", {})["securitySchemes"] = {
            "writeKey": {"type": "http", "scheme": "basic", "description": "User: the write key."},
            "apiKey": {"type": "http", "scheme": "bearer"},
        }
        app.openapi_schema = schema
    return app.openapi_schema


class _Answers:
    """Headers and counts for every answer, also of those that failed."""

    def __init__(self, app: ASGIApp, made: Gateway) -> None:
        self._app = app
        self._made = made
        is_secure = made.brand.gateway_url.startswith("https:")
        self._headers = SECURITY_HEADERS + ((TRANSPORT_SECURITY,) if is_secure else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._complete(message)
                seconds = time.perf_counter() - begun
                self._made.metrics.request(_route_of(scope), message["status"], seconds)
            await send(message)

        await self._app(scope, receive, counted)

    def _complete(self, message: Message) -> None:
        headers = [*message.get("headers", ()), *self._headers]
        if not any(name == NO_CONTENT_POLICY[0] for name, _ in headers):
            headers.append(NO_CONTENT_POLICY)
        message["headers"] = headers


def _route_of(scope: Mapping[str, Any]) -> str:
    """The route's template: a path as called may hold a token."""
    return getattr(scope.get("route"), "path", None) or "(none)"
