"""Health, metrics, headers, errors that show nothing, and a description that is valid."""

import io
import json
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gateway.serving import PlainFormatter
from tests.gateway.conftest import Served


def test_health_says_what_works(served: Served, serve_with: Callable[..., Any]) -> None:
    assert served.client.get("/health").json() == {"status": "ok", "warehouse": "ok"}
    with serve_with() as alone:
        answer = alone.client.get("/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok", "warehouse": "away"})


def test_metrics_are_prometheus_text(alone: Served) -> None:
    alone.event()
    alone.client.post("/v1/track", json={}, auth=("wk_new", ""))
    answer = alone.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert 'loopdrive_events_accepted_total{key="write key 2"} 1' in lines
    assert 'loopdrive_requests_total{route="/v1/track",status="200"} 1' in lines
    assert 'loopdrive_request_seconds_bucket{route="/v1/track",le="+Inf"} 2' in lines
    for line in lines:
        name = line.split(" ")[2] if line.startswith("#") else line
        assert name.startswith("loopdrive_")


def test_metrics_from_elsewhere_need_a_key(alone: Served) -> None:
    behind_a_proxy = {"X-Forwarded-For": "203.0.113.9"}
    assert alone.client.get("/metrics", headers=behind_a_proxy).status_code == 401
    keyed = behind_a_proxy | {"Authorization": "Bearer ak_1"}
    assert alone.client.get("/metrics", headers=keyed).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/v1/track", "/unsubscribe/x", "/l/x"])
def test_every_answer_is_guarded(alone: Served, path: str) -> None:
    headers = alone.client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["strict-transport-security"]
    assert "server" not in headers


def test_a_fault_of_ours_shows_and_logs_nothing_of_the_request(
    alone: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> None:
        raise KeyError("ada@example.com")

    log = io.StringIO()
    handlers = logging.getLogger("uvicorn.error").handlers
    [handler] = [one for one in handlers if isinstance(one.formatter, PlainFormatter)]
    monkeypatch.setattr(handler, "stream", log)
    monkeypatch.setattr("gateway.segment.take", breaks)
    answer = alone.event()
    assert (answer.status_code, answer.json()) == (500, {"error": "internal"})
    assert "ada@example.com" not in log.getvalue()
    assert "KeyError at test_operation.py" in log.getvalue()


def test_a_logged_exception_is_its_type_and_place() -> None:
    try:
        json.loads("ada@example.com")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "failed", (), None)
        record.exc_info = (type(error), error, error.__traceback__)
    text = PlainFormatter("%(message)s").format(record)
    assert text.startswith("failed\nJSONDecodeError at decoder.py")
    assert "ada" not in text


def test_the_description_covers_every_public_route(alone: Served) -> None:
    schema = alone.client.get("/openapi.json").json()
    assert schema["openapi"].startswith("3.")
    assert set(schema["paths"]) == {
        *(f"/v1/{one}" for one in
          ("track", "identify", "page", "screen", "alias", "group", "batch")),
        *(f"/v1/persons/{one}" for one in ("resolve", "context", "next")),
        "/webhooks/{provider}", "/unsubscribe/{token}", "/l/{code}", "/health", "/metrics",
    }  # fmt: skip
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert operation["responses"], path


def test_a_path_that_names_a_method_wrongly_is_told_so(alone: Served) -> None:
    answer = httpx.get(f"{alone.url}/v1/track", trust_env=False)
    assert (answer.status_code, answer.json()) == (405, {"error": "method_not_allowed"})
