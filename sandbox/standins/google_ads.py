"""A stand-in for the Google Ads API's budgets: searchStream to read, mutate to write.

Belongs here: what the two calls accept, refuse and answer.
Keep out: conversions (`datamanager.py`), spend and results (the market).

Sources: google.ads.googleads.v26 (services, resources.CampaignBudget, errors/*.proto).
"""

import re
import zlib
from decimal import Decimal
from typing import Any

from sandbox.standins.desk import Call, Desk, Reply
from sandbox.standins.shapes import Check, array, boolean, choice, either, integer, record, text

ACCESS_TOKEN = "sandbox-google-token"  # noqa: S105 - opens nothing but this stand-in
CUSTOMER_ID = "1000000002"
PREFIX = f"/v26/customers/{CUSTOMER_ID}/"
MICROS = Decimal(1_000_000)
SMALLEST_UNIT_MICROS = 10_000

QUERY = re.compile(
    r"SELECT [a-z_., ]+ FROM campaign WHERE campaign\.(?:id = (?P<id>\d+)|name = '(?P<name>[^']+)')"
)
SEARCH: Check = record({"query": text(minimum=1)}, {"summaryRowSetting": text()})
BUDGET = record(
    {"resourceName": text(pattern=r"customers/\d+/campaignBudgets/\d+")},
    {"amountMicros": either(integer(0), text(pattern=r"\d+")), "name": text(minimum=1),
     "deliveryMethod": choice("STANDARD", "ACCELERATED")},
)  # fmt: skip
MUTATE: Check = record(
    {"operations": array(
        record({"updateMask": text(minimum=1), "update": BUDGET}), minimum=1, maximum=10_000
    )},
    {"partialFailure": boolean, "validateOnly": boolean,
     "responseContentType": choice("RESOURCE_NAME_ONLY", "MUTABLE_RESOURCE")},
)  # fmt: skip


def handle(desk: Desk, call: Call) -> Reply:
    """Answer one request of the customer this stand-in knows."""
    if call.headers.get("authorization") != f"Bearer {ACCESS_TOKEN}":
        return unauthorized(desk)
    if not call.path.startswith(PREFIX):
        return failure(desk, call, 404, "requestError", "RESOURCE_NAME_MALFORMED")
    name = call.path.removeprefix(PREFIX)
    if call.method == "POST" and name == "googleAds:searchStream":
        return _search(desk, call)
    if call.method == "POST" and name == "campaignBudgets:mutate":
        return _mutate(desk, call)
    return failure(desk, call, 404, "requestError", "UNKNOWN")


def resource_name(campaign_id: str) -> str:
    """Return the resource name of the one budget that a campaign has here."""
    number = zlib.crc32(campaign_id.encode())
    return f"customers/{CUSTOMER_ID}/campaignBudgets/{number}"


def _search(desk: Desk, call: Call) -> Reply:
    body = call.json()
    found = None if SEARCH(body, "") else QUERY.fullmatch(body["query"])
    if found is None:
        return failure(desk, call, 400, "queryError", "UNRECOGNIZED_FIELD", stream=True)
    campaign_id = found["id"] or found["name"]
    resource = resource_name(campaign_id)
    desk.budget_owners[resource] = campaign_id
    budget: dict[str, Any] = {"resourceName": resource}
    amount = desk.budget("google", campaign_id)
    if amount is not None:
        budget["amountMicros"] = str(int(amount * MICROS))
    mask = "campaignBudget.resourceName,campaignBudget.amountMicros"
    return Reply(200, [{"results": [{"campaignBudget": budget}], "fieldMask": mask}])


def _mutate(desk: Desk, call: Call) -> Reply:
    body = call.json()
    if MUTATE(body, ""):
        return failure(desk, call, 400, "requestError", "INVALID_INPUT")
    changes: list[tuple[str, Decimal]] = []
    for operation in body["operations"]:
        code = _refusal(desk, operation)
        if code:
            return failure(desk, call, 400, *code)
        update = operation["update"]
        campaign_id = desk.budget_owners[update["resourceName"]]
        changes.append((campaign_id, Decimal(update["amountMicros"]) / MICROS))
    if not body.get("validateOnly"):
        for campaign_id, amount in changes:
            desk.set_budget("google", campaign_id, amount)
    results = [
        {"resourceName": operation["update"]["resourceName"]} for operation in body["operations"]
    ]
    return Reply(200, {"results": results}, items=len(changes))


def _refusal(desk: Desk, operation: dict[str, Any]) -> tuple[str, str] | None:
    update = operation["update"]
    if update["resourceName"] not in desk.budget_owners:
        return "mutateError", "RESOURCE_NOT_FOUND"
    if operation["updateMask"] != "amountMicros" or "amountMicros" not in update:
        return "fieldMaskError", "FIELD_NOT_FOUND"
    micros = int(update["amountMicros"])
    if micros < SMALLEST_UNIT_MICROS * 100:
        return "campaignBudgetError", "BELOW_PER_DAY_MINIMUM"
    if micros % SMALLEST_UNIT_MICROS:
        return "campaignBudgetError", "NON_MULTIPLE_OF_MINIMUM_CURRENCY_UNIT"
    return None


def failure(
    desk: Desk,
    call: Call,
    status: int,
    kind: str,
    code: str,
    details: dict[str, Any] | None = None,
    stream: bool = False,
) -> Reply:
    """Answer with a google.rpc.Status that carries a GoogleAdsFailure; streams wrap it."""
    one: dict[str, Any] = {"errorCode": {kind: code}, "message": code}
    if details:
        one["details"] = details
    names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND",
             429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}  # fmt: skip
    body = {"error": {
        "code": status, "message": code, "status": names[status],
        "details": [{
            "@type": "type.googleapis.com/google.ads.googleads.v26.errors.GoogleAdsFailure",
            "errors": [one], "requestId": desk.new_id("google-ads", call.body)[:22],
        }],
    }}  # fmt: skip
    return Reply(status, [body] if stream else body)


EMPTY = Call("POST", "", {}, {}, b"")


def rate_limited(desk: Desk) -> Reply:
    """Answer as Google Ads does above its rate: the delay is inside the failure."""
    delay = {"quotaErrorDetails": {"rateScope": "ACCOUNT", "retryDelay": "30s"}}
    return failure(desk, EMPTY, 429, "quotaError", "RESOURCE_TEMPORARILY_EXHAUSTED", delay)


def unauthorized(desk: Desk) -> Reply:
    """Answer as Google Ads does to an expired token."""
    return failure(desk, EMPTY, 401, "authenticationError", "OAUTH_TOKEN_EXPIRED")


def server_error(desk: Desk) -> Reply:
    """Answer as a front of Google does when what is behind it breaks."""
    return Reply(500, None)
