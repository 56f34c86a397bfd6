"""A stand-in for Twilio's Messages resource: one form in, one message out.

Belongs here: what Messages.json accepts, refuses and answers.
Keep out: status callbacks; the market produces them from accepted.jsonl.

Sources: the published OpenAPI description (api_v2010) and twilio.com/docs/api/errors. Stricter:
unknown parameters are refused.
"""

import base64
from email.utils import format_datetime
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from sandbox.standins.desk import Call, Desk, Reply, stamp
from sandbox.standins.shapes import E164, HTTPS_URL, Check, Problem, choice, record, text

ACCOUNT_SID = "AC" + "5a" * 16
AUTH_TOKEN = "sandbox-token"  # noqa: S105 - opens nothing but this stand-in
PATH = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"

FLAG = choice("true", "false")
SENDER = rf"{E164}|\d{{5,6}}|[A-Za-z0-9 &_+\-]{{1,11}}"
BODY: Check = record(
    {"To": text(pattern=E164)},
    {
        "From": text(pattern=SENDER),
        "MessagingServiceSid": text(pattern="MG[0-9a-fA-F]{32}"),
        "Body": text(minimum=1, maximum=1600),
        "ContentSid": text(pattern="HX[0-9a-fA-F]{32}"),
        "ContentVariables": text(),
        "StatusCallback": text(pattern=HTTPS_URL),
        "ValidityPeriod": text(pattern="[1-9][0-9]{0,3}|[12][0-9]{4}|3[0-5][0-9]{3}|36000"),
        "SmartEncoded": FLAG,
        "ShortenUrls": FLAG,
        "ScheduleType": choice("fixed"),
        "SendAt": text(minimum=1),
    },
)
# Twilio's own codes by the parameter that is wrong or missing.
CODES = {
    "To": 21211, "From": 21212, "Body": 21602, "StatusCallback": 21609,
    "MessagingServiceSid": 21701, "ValidityPeriod": 21616,
}  # fmt: skip
BODY_TOO_LONG = 21617
INVALID_PARAMETER = 20001


def handle(desk: Desk, call: Call) -> Reply:
    """Answer one request: 201 with sid and status, or Twilio's error object."""
    pair = base64.b64encode(f"{ACCOUNT_SID}:{AUTH_TOKEN}".encode()).decode()
    if call.headers.get("authorization") != f"Basic {pair}":
        return unauthorized(desk)
    if call.path != PATH:
        return error(404, 20404, "The requested resource was not found")
    if call.method == "GET":
        return _list(desk, call)
    if call.method != "POST":
        return error(405, 20004, "Method not allowed")
    if call.headers.get("content-type", "").split(";")[0] != "application/x-www-form-urlencoded":
        return error(415, 20415, "Unsupported content type")
    form = dict(parse_qsl(call.body.decode(errors="replace"), keep_blank_values=True))
    problems = BODY(form, "")
    if problems:
        return _refused(form, problems[0])
    if not (form.get("From") or form.get("MessagingServiceSid")):
        return error(400, 21603, "A 'From' number or a messaging service is required")
    if not (form.get("Body") or form.get("ContentSid")):
        return error(400, 21619, "A text message body or a content sid must be specified")
    if form["To"] in desk.blocked_addresses:
        return error(400, 21610, "Attempt to send to unsubscribed recipient")
    return _accept(desk, call, form)


def _refused(form: dict[str, str], problem: Problem) -> Reply:
    name = problem.path
    code = CODES.get(name, INVALID_PARAMETER)
    if name == "To" and "To" not in form:
        code = 21604
    if name == "Body" and len(form.get("Body", "")) > 1600:
        code = BODY_TOO_LONG
    return error(400, code, f"Parameter '{name}' {problem.message}")


def _list(desk: Desk, call: Call) -> Reply:
    """List what this server took, latest first, a hundred a page at most, by sender and day."""
    wanted = call.query
    size, page = min(int(wanted.get("PageSize", 50)), 100), int(wanted.get("Page", 0))
    with desk.lock:
        held = [
            one for one in reversed(desk.listed)
            if wanted.get("From") in (None, one["from"])
            and wanted.get("DateSent>", "") <= str(one["day"])
        ]  # fmt: skip
    shown = held[page * size : (page + 1) * size]
    is_last = len(held) <= (page + 1) * size
    query = urlencode({**wanted, "Page": str(page + 1)})
    messages = [{name: value for name, value in one.items() if name != "day"} for one in shown]
    following = None if is_last else f"{PATH}?{query}"
    return Reply(200, {"messages": messages, "next_page_uri": following, "page": page})


def _accept(desk: Desk, call: Call, form: dict[str, str]) -> Reply:
    sid = "SM" + desk.new_id("twilio", call.body)[:32]
    known = parse_qs(urlsplit(form.get("StatusCallback", "")).query)
    at = desk.now()
    row = {
        "provider": "twilio",
        "provider_message_id": sid,
        "message_key": known.get("message_key", [None])[0],
        "channel": "sms",
        "address": form["To"],
        "program": known.get("program", [None])[0],
        "arm": known.get("arm", [None])[0],
        "accepted_at": stamp(at),
    }
    desk.append("accepted.jsonl", [row])
    told = {
        "sid": sid, "account_sid": ACCOUNT_SID, "api_version": "2010-04-01", "status": "queued",
        "direction": "outbound-api", "to": form["To"], "from": form.get("From"),
        "messaging_service_sid": form.get("MessagingServiceSid"), "body": form.get("Body"),
        "num_segments": str(1 + (len(form.get("Body", "")) - 1) // 153), "num_media": "0",
        "date_created": format_datetime(at), "date_updated": format_datetime(at),
        "date_sent": None, "error_code": None, "error_message": None, "price": None,
        "price_unit": None, "uri": PATH.replace("Messages.json", f"Messages/{sid}.json"),
    }  # fmt: skip
    with desk.lock:
        desk.listed.append({**told, "status": "sent", "day": f"{at:%Y-%m-%d}"})
    return Reply(201, told, items=1)


def error(status: int, code: int, message: str) -> Reply:
    """Answer with Twilio's error object."""
    more = f"https://www.twilio.com/docs/errors/{code}"
    return Reply(status, {"code": code, "message": message, "more_info": more, "status": status})


def rate_limited(desk: Desk) -> Reply:
    """Answer as Twilio does above its concurrency: code 20429, never processed."""
    refused = error(429, 20429, "Too Many Requests")
    return Reply(429, refused.body, {"Retry-After": "1"})


def unauthorized(desk: Desk) -> Reply:
    """Answer as Twilio does to wrong credentials."""
    return error(401, 20003, "Authenticate")


def server_error(desk: Desk) -> Reply:
    """Answer as Twilio does when it breaks: the request may have been processed."""
    return error(500, 20500, "Internal Server Error")
