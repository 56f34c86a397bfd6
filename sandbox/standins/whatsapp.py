"""A stand-in for the WhatsApp Cloud API's messages: one approved template a request.

Belongs here: what POST /{version}/{number}/messages accepts, refuses and answers.
Keep out: statuses and replies; the market produces them from accepted.jsonl.

Sources: the published description (business-messaging-api v23.0) and Meta's page of error codes.
Stricter: unknown fields are refused, and only the one template is approved.
"""

import re
from typing import Any
from urllib.parse import parse_qsl

from sandbox.standins.desk import Call, Desk, Reply, stamp
from sandbox.standins.shapes import Check, Problem, array, choice, record, text

ACCESS_TOKEN = "EAAsandboxtoken"  # noqa: S105 - opens nothing but this stand-in
PHONE_NUMBER_ID = "106540352242922"
TEMPLATE = "sandbox_message"
PATH = re.compile(rf"/v\d+\.\d+/{PHONE_NUMBER_ID}/messages")

PARAMETER = record({"type": choice("text"), "text": text(minimum=1, maximum=1024)})
COMPONENT = record({"type": choice("body")}, {"parameters": array(PARAMETER, maximum=1)})
BODY: Check = record(
    {
        "messaging_product": choice("whatsapp"),
        "to": text(pattern=r"\+?[1-9]\d{6,14}"),
        "type": choice("template"),
        "template": record(
            {"name": text(minimum=1), "language": record({"code": text(minimum=2)})},
            {"components": array(COMPONENT)},
        ),
    },
    {"recipient_type": choice("individual"), "biz_opaque_callback_data": text(maximum=512)},
)


def handle(desk: Desk, call: Call) -> Reply:
    """Answer one request: 200 with the message's id, or Meta's error object."""
    if call.headers.get("authorization") != f"Bearer {ACCESS_TOKEN}":
        return unauthorized(desk)
    if not PATH.fullmatch(call.path) or call.method != "POST":
        return error(400, 100, "Unsupported request")
    if call.headers.get("content-type", "").split(";")[0] != "application/json":
        return error(400, 100, "Unsupported content type")
    body = call.json()
    problems = BODY(body, "") or _meaning(body)
    if problems:
        return error(400, 100, f"Param {problems[0].path} {problems[0].message}")
    if body["template"]["name"] != TEMPLATE:
        return error(404, 132001, "Template name does not exist in the translation")
    if not body["template"].get("components"):
        return error(400, 132000, "Number of parameters does not match")
    if body["to"] in desk.blocked_addresses:
        return error(400, 131050, "The recipient stopped marketing messages")
    return _accept(desk, call, body)


def _meaning(body: dict[str, Any]) -> list[Problem]:
    """A variable of a template holds no line break, no tab and no five spaces in a row."""
    texts = [
        parameter["text"]
        for component in body["template"].get("components", [])
        for parameter in component.get("parameters", [])
    ]
    is_wrong = any(re.search(r"[\n\t]| {5}", one) for one in texts)
    return [Problem("template.components", "cannot have new lines or tabs")] if is_wrong else []


def _accept(desk: Desk, call: Call, body: dict[str, Any]) -> Reply:
    known = dict(parse_qsl(body.get("biz_opaque_callback_data", "")))
    name = f"wamid.{desk.new_id('whatsapp', call.body)[:32]}"
    row = {
        "provider": "whatsapp",
        "provider_message_id": name,
        "message_key": known.get("message_key"),
        "channel": "whatsapp",
        "address": body["to"],
        "program": known.get("program"),
        "arm": known.get("arm"),
        "accepted_at": stamp(desk.now()),
    }
    desk.append("accepted.jsonl", [row])
    told = {
        "messaging_product": "whatsapp",
        "contacts": [{"input": body["to"], "wa_id": body["to"].lstrip("+")}],
        "messages": [{"id": name, "message_status": "accepted"}],
    }
    return Reply(200, told, items=1)


def error(status: int, code: int, message: str) -> Reply:
    """Answer with Meta's error object."""
    told = {"message": f"(#{code}) {message}", "type": "OAuthException", "code": code,
            "error_data": {"messaging_product": "whatsapp", "details": message},
            "fbtrace_id": "sandbox"}  # fmt: skip
    return Reply(status, {"error": told})


def rate_limited(desk: Desk) -> Reply:
    """Answer as Meta does above the number's throughput: 130429, never processed."""
    return error(400, 130429, "Rate limit hit")


def unauthorized(desk: Desk) -> Reply:
    """Answer as Meta does to an expired or wrong token."""
    return error(401, 190, "Access token has expired")


def server_error(desk: Desk) -> Reply:
    """Answer as Meta does when it breaks: the request may have been processed."""
    return error(500, 131000, "Something went wrong")
