"""A stand-in for Meta's Graph API: daily budgets and the Conversions API.

Belongs here: what the two calls accept, refuse and answer.
Keep out: spend and results; the market writes those from budgets.json.

Sources: Meta's published api_specs; developers.facebook.com/docs/marketing-api (rate limiting:
four budget changes an hour) and …/conversions-api (1,000 events, 7 days, dedup for 48 hours, one
bad event fails the request).
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sandbox.standins.desk import Call, Desk, Reply, stamp
from sandbox.standins.shapes import (
    Check,
    Problem,
    anything,
    array,
    boolean,
    choice,
    either,
    integer,
    mapping,
    number,
    record,
    text,
)

ACCESS_TOKEN = "sandbox-meta-token"  # noqa: S105 - opens nothing but this stand-in
PIXEL_ID = "1000000000000001"
VERSION = "v26.0"
WHOLE_UNIT_CURRENCIES = frozenset({
    "CLP", "COP", "CRC", "HUF", "IDR", "ISK", "JPY", "KRW", "PYG", "TWD", "VND",
})  # fmt: skip
MAX_BUDGET_CHANGES_PER_HOUR = 4

HASH = text(pattern="[a-f0-9]{64}")
HASHES = either(HASH, array(HASH, minimum=1))
USER_DATA = record({}, {
    **dict.fromkeys(("em", "ph", "db", "ln", "fn", "ct", "st", "zp", "country", "ge"), HASHES),
    "external_id": either(text(), array(text(), minimum=1)),
    **dict.fromkeys(("client_ip_address", "client_user_agent", "fbc", "fbp"), text(minimum=1)),
})  # fmt: skip
CUSTOM_DATA = record({}, {
    "value": number, "currency": text(pattern="[A-Z]{3}"), "order_id": text(),
    "content_ids": array(text()), "contents": array(mapping(anything)), "num_items": integer(0),
    "content_type": text(),
})  # fmt: skip
EVENT = record(
    {
        "event_name": text(minimum=1),
        "event_time": integer(minimum=0),
        "user_data": USER_DATA,
        "action_source": choice(
            "email", "website", "app", "phone_call", "chat", "physical_store",
            "system_generated", "business_messaging", "other",
        ),
    },
    {
        "event_id": text(minimum=1), "event_source_url": text(minimum=1), "opt_out": boolean,
        "custom_data": CUSTOM_DATA, "data_processing_options": array(choice("LDU")),
        "data_processing_options_country": integer(0), "referrer_url": text(),
        "data_processing_options_state": integer(0),
    },
)  # fmt: skip
UPLOAD: Check = record(
    {"data": array(EVENT, minimum=1, maximum=1000)},
    {"test_event_code": text(), "partner_agent": text()},
)
BUDGET: Check = record({}, {
    "daily_budget": integer(minimum=0), "lifetime_budget": integer(minimum=0),
    "status": choice("ACTIVE", "ARCHIVED", "DELETED", "PAUSED"), "name": text(minimum=1),
    "execution_options": array(choice("include_recommendations", "validate_only")),
})  # fmt: skip


def handle(desk: Desk, call: Call) -> Reply:
    """Answer one request to a campaign, an ad set or a dataset."""
    if call.headers.get("authorization") != f"Bearer {ACCESS_TOKEN}":
        return unauthorized(desk)
    parts = call.path.strip("/").split("/")
    if not re.fullmatch(r"v\d+\.0", parts[0]) or parts[0] != VERSION:
        return error(desk, call, 400, 2635, "You are calling a deprecated version of the API.")
    if len(parts) == 3 and parts[2] == "events" and call.method == "POST":
        return _events(desk, call, parts[1])
    if len(parts) == 2 and call.method == "GET":
        return _read(desk, parts[1])
    if len(parts) == 2 and call.method == "POST":
        return _change(desk, call, parts[1])
    return error(desk, call, 404, 2500, "Unknown path components")


def _offset(desk: Desk) -> int:
    return 1 if desk.currency in WHOLE_UNIT_CURRENCIES else 100


def _read(desk: Desk, campaign_id: str) -> Reply:
    amount = desk.budget("meta", campaign_id)
    if amount is None:
        return Reply(200, {"id": campaign_id})
    return Reply(200, {"id": campaign_id, "daily_budget": str(int(amount * _offset(desk)))})


def _change(desk: Desk, call: Call, campaign_id: str) -> Reply:
    body = call.json()
    problems = BUDGET(body, "")
    if problems:
        return _invalid(desk, call, problems[0])
    units = body.get("daily_budget")
    if "validate_only" in body.get("execution_options", []) or units is None:
        return Reply(200, {"success": True})
    if units < _offset(desk):
        return error(desk, call, 400, 100, "Your budget is too low.", 1885272)
    with desk.lock:
        if desk.changes_in_the_last_hour("meta", campaign_id) >= MAX_BUDGET_CHANGES_PER_HOUR:
            return rate_limited(desk)
        desk.set_budget("meta", campaign_id, Decimal(units) / _offset(desk))
    return Reply(200, {"success": True}, items=1)


def _events(desk: Desk, call: Call, pixel_id: str) -> Reply:
    if pixel_id != PIXEL_ID:
        return error(desk, call, 400, 100, "Object with this ID does not exist", 33)
    body = call.json()
    problems = UPLOAD(body, "")
    if problems:
        return _invalid(desk, call, problems[0])
    for at, event in enumerate(body["data"]):
        found = _meaning(desk, event)
        if found:
            message, subcode = found
            return error(desk, call, 400, 100, f"data[{at}]: {message}", subcode)
    desk.take_conversions("meta", _rows(desk, body["data"]))
    trace = desk.new_id("fbtrace", call.body)[:24]
    told = {"events_received": len(body["data"]), "messages": [], "fbtrace_id": trace}
    return Reply(200, told, items=len(body["data"]))


def _meaning(desk: Desk, event: dict[str, Any]) -> tuple[str, int] | None:
    """Check what a schema cannot say; returns message and subcode."""
    happened_at = datetime.fromtimestamp(event["event_time"], UTC)
    days = 62 if event["action_source"] == "physical_store" else 7
    user_data = event["user_data"]
    if happened_at < desk.now() - timedelta(days=days):
        return "Event Timestamp Too Old", 2804003
    if happened_at > desk.now() + timedelta(minutes=1):
        return "Event Timestamp In The Future", 2804004
    if not user_data.keys() - {"client_user_agent"}:
        return "Event has no customer information parameters", 2804050
    is_website = event["action_source"] == "website"
    if is_website and not (event.get("event_source_url") and user_data.get("client_user_agent")):
        return "Website events need client_user_agent and event_source_url", 2804019
    return None


def _rows(desk: Desk, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return log rows; the first event of a name and id within 48 hours wins."""
    rows, taken = [], set()
    for event in events:
        key = f"{event['event_name']} {event.get('event_id')}"
        before = desk.last_upload("meta", key)
        is_recent = before is not None and desk.now() - before < timedelta(hours=48)
        is_duplicate = event.get("event_id") is not None and (is_recent or key in taken)
        taken.add(key)
        custom = event.get("custom_data", {})
        rows.append({
            "conversion_id": event.get("event_id"), "event_name": event["event_name"],
            "value": custom.get("value"), "currency": custom.get("currency"),
            "occurred_at": stamp(datetime.fromtimestamp(event["event_time"], UTC)),
            "dedup_key": key, "duplicate": is_duplicate,
        })  # fmt: skip
    return rows


def _invalid(desk: Desk, call: Call, problem: Problem) -> Reply:
    return error(desk, call, 400, 100, f"Invalid parameter: {problem.path} {problem.message}")


def error(
    desk: Desk, call: Call, status: int, code: int, message: str, subcode: int | None = None
) -> Reply:
    """Answer with the Graph API's error object."""
    told: dict[str, Any] = {
        "message": message, "type": "OAuthException", "code": code,
        "fbtrace_id": desk.new_id("fbtrace", call.body)[:24],
    }  # fmt: skip
    if subcode is not None:
        told["error_subcode"] = subcode
    return Reply(status, {"error": told})


def rate_limited(desk: Desk) -> Reply:
    """Answer as Meta does above a quota: no Retry-After, the wait is in the usage header."""
    usage = '{"100":[{"type":"ads_management","estimated_time_to_regain_access":30}]}'
    told = {"message": "Calls to this api have exceeded the rate limit.", "code": 613,
            "type": "OAuthException", "is_transient": True}  # fmt: skip
    return Reply(400, {"error": told}, {"X-Business-Use-Case-Usage": usage})


def unauthorized(desk: Desk) -> Reply:
    """Answer as Meta does to an expired token."""
    told = {"message": "Error validating access token", "type": "OAuthException", "code": 190}
    return Reply(401, {"error": told})


def server_error(desk: Desk) -> Reply:
    """Answer as a front of Meta does when what is behind it breaks: no error object."""
    return Reply(500, None)
