"""A stand-in for an OpenAI-compatible server: one deterministic draft per prompt.

Belongs here: chat/completions and models, as strict as the fields this project sends.
Keep out: what makes a good draft; the drafts here exist to be parsed, linted and reviewed.

Source: the published OpenAPI description of chat/completions (openai/openai-openapi).
"""

import hashlib
import json
from typing import Any

from sandbox.standins.desk import Call, Desk, Reply
from sandbox.standins.shapes import (
    Check,
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

API_KEY = "sandbox-chat-key"
MODEL = "sandbox-writer"
CONTENT = either(text(minimum=1), array(mapping(anything), minimum=1))
MESSAGE = record(
    {"role": choice("developer", "system", "user", "assistant"), "content": CONTENT},
    {"name": text(minimum=1)},
)
BODY: Check = record(
    {"model": text(minimum=1), "messages": array(MESSAGE, minimum=1)},
    {
        "temperature": number, "top_p": number, "seed": integer(), "n": integer(1, 8),
        "max_tokens": integer(1), "max_completion_tokens": integer(1), "stream": boolean,
        "response_format": mapping(anything), "user": text(), "store": boolean,
        "reasoning_effort": choice("none", "minimal", "low", "medium", "high"),
        "metadata": mapping(text()),
    },
)  # fmt: skip

OPENINGS = ("A quick note", "Still thinking it over?", "We kept this for you", "Good to see you")
REASONS = (
    "the things you looked at are still here",
    "your size may not stay for long",
    "people who bought it tell us they use it every week",
    "delivery takes two working days",
)


def handle(desk: Desk, call: Call) -> Reply:
    """Answer one request."""
    if call.headers.get("authorization") != f"Bearer {API_KEY}":
        return unauthorized(desk)
    if call.method == "GET" and call.path == "/v1/models":
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "sandbox"}
        return Reply(200, {"object": "list", "data": [model]})
    if call.method != "POST" or call.path != "/v1/chat/completions":
        return error(404, "invalid_request_error", "Unknown request URL")
    body = call.json()
    problems = BODY(body, "")
    if problems:
        return error(400, "invalid_request_error", f"{problems[0].path} {problems[0].message}")
    if body.get("stream"):
        return error(400, "invalid_request_error", "stream is not offered here")
    return Reply(200, _completion(call.body, body), items=int(body.get("n", 1)))


def _completion(raw: bytes, body: dict[str, Any]) -> dict[str, Any]:
    prompt = json.dumps(body["messages"], sort_keys=True)
    choices = [
        {
            "index": at,
            "finish_reason": "stop",
            "logprobs": None,
            "message": {"role": "assistant", "content": draft(prompt, at), "refusal": None},
        }
        for at in range(int(body.get("n", 1)))
    ]
    tokens = len(prompt) // 4
    return {
        "id": "chatcmpl-" + hashlib.sha256(raw).hexdigest()[:24],
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": choices,
        "usage": {
            "prompt_tokens": tokens, "completion_tokens": 60, "total_tokens": tokens + 60,
        },
    }  # fmt: skip


def draft(prompt: str, position: int) -> str:
    """Return a JSON object with `subject` and `body`, chosen by the prompt's hash."""
    turn = int(hashlib.sha256(f"{position} {prompt}".encode()).hexdigest(), 16)
    opening = OPENINGS[turn % len(OPENINGS)]
    reason = REASONS[turn // len(OPENINGS) % len(REASONS)]
    body = f"{opening}: {reason}. Have a look when it suits you."
    return json.dumps({"subject": opening, "body": body})


def error(status: int, kind: str, message: str) -> Reply:
    """Answer with OpenAI's error object."""
    return Reply(status, {"error": {"message": message, "type": kind, "param": None, "code": None}})


def rate_limited(desk: Desk) -> Reply:
    """Answer as such servers do above their rate."""
    told = error(429, "rate_limit_error", "Rate limit reached")
    return Reply(429, told.body, {"Retry-After": "1", "x-ratelimit-remaining-requests": "0"})


def unauthorized(desk: Desk) -> Reply:
    """Answer as such servers do to a wrong key."""
    return error(401, "invalid_request_error", "Incorrect API key provided")


def server_error(desk: Desk) -> Reply:
    """Answer as such servers do when they break."""
    return error(500, "server_error", "The server had an error")
