"""The published description under random calls: every answer is one that it describes.

Belongs here: calls drawn from the description and from nowhere; no status, type or shape outside
what /openapi.json says. Keep out: what single routes mean.
"""

import json
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.conftest import Served

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
PUBLIC_SEGMENTS = st.text(min_size=1, max_size=60).filter(lambda text: text.strip("./"))
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from(
            ["application/json", "text/plain", "application/x-www-form-urlencoded", "image/png",
             "multipart/form-data; boundary=x", "multipart/form-data", "application/vnd.x+json"]
        ),
        "Content-Encoding": st.sampled_from(["gzip", "identity", "br"]),
        "Authorization": st.sampled_from(
            ["Basic d2tfbmV3Og==", "Bearer ak_1", "Basic !", "Bearer wk_new", "Basic", "x"]
        ),
        "Origin": st.just("https://shop.example"),
    },
)  # fmt: skip

KEYS = {
    "writeKey": {"Authorization": "Basic d2tfbmV3Og=="},
    "apiKey": {"Authorization": "Bearer ak_1"},
}


def drawn(schema: dict[str, Any], noise: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema of the description, but for the noise in its objects."""
    kind = schema.get("type")
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if kind == "object":
        held = schema.get("properties", {})
        properties = {name: drawn(one, noise) | noise for name, one in held.items()}
        required = set(schema.get("required", [])) | {"userId"} & set(properties)
        return st.fixed_dictionaries(
            {name: one for name, one in properties.items() if name in required},
            optional={name: one for name, one in properties.items() if name not in required},
        )
    if kind == "array":
        return st.lists(drawn(schema.get("items", {}), noise), max_size=4)
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda moment: moment.isoformat() + "Z")
    if kind != "string":
        return JSON
    return st.text(min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 30))


def bodies_of(operation: dict[str, Any]) -> st.SearchStrategy[bytes]:
    content = operation.get("requestBody", {}).get("content", {})
    schemas = [one["schema"] for one in content.values() if "schema" in one]
    fitting = [drawn(schema, st.nothing()) for schema in schemas]
    nearly = [drawn(schema, JSON) for schema in schemas]
    values = st.one_of(*fitting, *nearly, JSON)
    return values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60)


def headers_of(operation: dict[str, Any]) -> st.SearchStrategy[dict[str, str]]:
    schemes = [name for one in operation.get("security", []) for name in one]
    return st.one_of(*(st.just(KEYS[name]) for name in schemes), HEADERS)


def paths_of(template: str) -> st.SearchStrategy[str]:
    head, is_open, _ = template.partition("{")
    if not is_open:
        return st.just(template)
    names = st.sampled_from(["twilio", "sendgrid"]) if "provider" in template else st.nothing()
    return (PUBLIC_SEGMENTS | names).map(lambda text: head + quote(text, safe=""))


def calls(
    template: str, method: str, operation: dict[str, Any]
) -> st.SearchStrategy[tuple[str, bytes, dict[str, str]]]:
    """(path, body, headers) of an operation."""
    body = bodies_of(operation) if method == "post" else st.just(b"")
    return st.tuples(paths_of(template), body, headers_of(operation))


@pytest.mark.verify
def test_every_answer_is_described(served: Served) -> None:
    schema = served.client.get("/openapi.json").json()
    seen = {
        (template, status)
        for template, operations in schema["paths"].items()
        for method, operation in operations.items()
        for status in statuses(served, template, method, operation)
    }
    assert {("/v1/track", 200), ("/v1/batch", 200), ("/v1/persons/next", 503)} <= seen
    assert {status for _, status in seen} >= {200, 400, 401, 404, 415, 503}


def statuses(served: Served, template: str, method: str, operation: dict[str, Any]) -> set[int]:
    """The statuses of one operation's answers, each of which fits its description."""
    seen: set[int] = set()

    @settings(
        max_examples=40, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(calls(template, method, operation))
    def check(call: tuple[str, bytes, dict[str, str]]) -> None:
        path, body, headers = call
        answer = served.client.request(method, path, content=body, headers=headers)
        seen.add(answer.status_code)
        _fits(answer, operation["responses"], f"{method} {template}")

    check()
    return seen


def _fits(answer: httpx.Response, described: dict[str, Any], call: str) -> None:
    assert str(answer.status_code) in described, f"{call}: {answer.status_code}"
    content = described[str(answer.status_code)].get("content")
    if not content:
        return
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in content, f"{call}: {answer.status_code} is {kind}"
    if kind == "application/json" and "schema" in content[kind]:
        jsonschema.validate(answer.json(), content[kind]["schema"])
