"""Short links of texts: `/l/<code>` leads to the shop with its UTM tags, and counts the click.

Belongs here: the look-up, the landed click, the redirect. Keep out: making links (`copy.links`).
"""

import json
import re
import time
from datetime import datetime

import psycopg
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from activations import copy
from activations.keys import stable_id
from gateway import pages
from gateway.bodies import RefusedError
from gateway.landing import LandingError
from gateway.state import Gateway, gateway_of

router = APIRouter(tags=["links"])
CODE = re.compile(r"[0-9a-f]{16}")
# The code is the beginning of the message's key: a range of the key's own index.
TARGET = """
    select messages.message_key, messages.program, messages.channel, decisions.arm
    from delivery.messages as messages
    inner join delivery.decisions as decisions using (decision_id)
    where messages.message_key >= %(code)s and messages.message_key < %(code)s || 'g'
    order by messages.message_key
    limit 1
"""


@router.get(
    "/l/{code:path}",
    status_code=302,
    response_class=RedirectResponse,
    responses={
        404: {
            "description": "Not known here.",
            "content": {"text/html": {}, "application/json": {}},
        }
    },
)
async def follow(code: str, request: Request) -> Response:
    """To the shop, whatever happens: a click that cannot be counted is still somebody's."""
    gateway = gateway_of(request)
    if not CODE.fullmatch(code):
        return pages.trouble(gateway.brand, RefusedError(404, "unknown_link"))
    try:
        gateway.request_rate.take(f"link {code}", 1, time.monotonic())
        found = await run_in_threadpool(
            gateway.connections.read,
            lambda connection: connection.execute(TARGET, {"code": code}).fetchone(),
        )
    except (psycopg.Error, RefusedError):
        return RedirectResponse(gateway.brand.site_url, 302)
    if found is None:
        return pages.trouble(gateway.brand, RefusedError(404, "unknown_link"))
    await _count(gateway, found["message_key"], gateway.clock())
    to = copy.landing(gateway.brand.site_url, found["program"], found["channel"], found["arm"])
    return RedirectResponse(to, 302)


async def _count(gateway: Gateway, message_key: str, now: datetime) -> None:
    """A second click in the same second is the same click (a browser that fetches ahead)."""
    second = int(now.timestamp())
    payload = {
        "message_key": message_key,
        "event": "click",
        "event_id": stable_id(message_key, "click", second),
        "timestamp": second,
    }
    line = {"provider": "links", "received_at": now.isoformat(), "url": "", "payload": payload}
    try:
        await gateway.provider_events.append(json.dumps(line).encode() + b"\n")
        count = "landed"
    except LandingError:
        count = "lost"
    gateway.metrics.count("loopdrive_webhook_events_total", provider="links", outcome=count)
