"""Event intake over HTTP: who may, what is taken, what lands."""

import gzip
import json
import socket
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.conftest import Served

KEY = ("wk_new", "")


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("track", {"event": "Order Completed", "userId": "u1", "properties": {"revenue": 9.5}},
         {"type": "track", "event": "Order Completed", "properties": {"revenue": 9.5}}),
        ("identify", {"userId": "u1", "traits": {"email": "a@b.example"}},
         {"type": "identify", "traits": {"email": "a@b.example"}}),
        ("page", {"anonymousId": "a1", "name": "Home"}, {"type": "page", "name": "Home"}),
        ("screen", {"anonymousId": "a1", "name": "Cart"}, {"type": "screen", "name": "Cart"}),
        ("alias", {"userId": "u1", "previousId": "a1"}, {"type": "alias", "previousId": "a1"}),
        ("group", {"userId": "u1", "groupId": "g1"}, {"type": "group", "groupId": "g1"}),
    ],
)  # fmt: skip
def test_every_call_lands(alone: Served, kind: str, body: Any, expected: Any) -> None:
    answer = alone.client.post(f"/v1/{kind}", json=body, auth=KEY)
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    [line] = alone.landed()
    assert line | expected == line
    assert line["timestamp"] == line["receivedAt"] == "2026-11-20T12:00:00.000Z"
    assert line["messageId"] == "made-1"


def test_a_batch_shares_its_context_and_says_what_it_refused(alone: Served) -> None:
    good = {"type": "track", "event": "E", "userId": "u", "messageId": "m1", "context": {"a": 1}}
    batch = {"batch": [good, {"type": "track", "userId": "u"}, 7], "context": {"a": 0, "b": 2}}
    answer = alone.client.post("/v1/batch", json=batch, auth=KEY)
    refused = [
        {"position": 1, "reason": "missing_value: event"},
        {"position": 2, "reason": "not_an_object"},
    ]  # fmt: skip
    assert answer.json() == {"success": True, "refused": refused}
    [line] = alone.landed()
    assert line["context"] == {"a": 1, "b": 2}


def test_the_write_key_may_stand_in_the_body_but_never_lands(alone: Served) -> None:
    body = {"event": "E", "anonymousId": "a", "writeKey": "wk_old"}
    answer = alone.client.post("/v1/t", content=json.dumps(body), headers={"Origin": "https://s"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "wk_old" not in json.dumps(alone.landed())


@pytest.mark.parametrize("auth", [None, ("wk_unknown", ""), ("", "wk_new")])
def test_an_unknown_write_key_is_refused(alone: Served, auth: Any) -> None:
    answer = alone.client.post("/v1/track", json={"event": "E", "userId": "u"}, auth=auth)
    assert (answer.status_code, answer.json()) == (401, {"error": "unknown_key"})
    assert alone.landed() == []


@pytest.mark.parametrize(
    ("content", "headers", "status", "reason"),
    [
        (b"{", {}, 400, "broken_json"),
        (b"[1]", {}, 400, "not_an_object"),
        (b"[" * 20_000, {}, 400, "broken_json"),
        (b'{"userId":"u","event":"e\\ud800"}', {}, 400, "broken_json"),
        (b'{"userId":"u","event":"a\\u0000"}', {}, 400, "broken_json"),
        (b'{"userId":"u","event":"e","properties":{"a":1e999}}', {}, 400, "broken_json"),
        (b'{"userId":"u","event":"e","properties":{"a":NaN}}', {}, 400, "broken_json"),
        (b'{"event":"e"}', {}, 400, "missing_value: userId or anonymousId"),
        (b'{"userId":"u","event":"e","timestamp":"soon"}', {}, 400, "wrong_type: timestamp"),
        (b"\xff", {}, 400, "broken_json"),
        (b"x", {"Content-Type": "application/xml"}, 415, "unsupported_content_type"),
        (b"x", {"Content-Encoding": "br"}, 415, "unsupported_content_encoding"),
        (b"x", {"Content-Encoding": "gzip"}, 400, "broken_gzip"),
        (gzip.compress(b"{}")[:-3], {"Content-Encoding": "gzip"}, 400, "broken_gzip"),
        (gzip.compress(b" " * 50_000_000), {"Content-Encoding": "gzip"}, 413, "too_large"),
        (b'"' + b"x" * 33_000 + b'"', {}, 413, "too_large"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(
    alone: Served, content: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = alone.client.post("/v1/track", content=content, headers=headers, auth=KEY)
    assert (answer.status_code, answer.json()) == (status, {"error": reason})
    assert alone.landed() == []


def test_gzip_is_read(alone: Served) -> None:
    body = gzip.compress(json.dumps({"event": "E", "userId": "u"}).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert alone.client.post("/v1/track", content=body, headers=headers, auth=KEY).is_success
    assert len(alone.landed()) == 1


def test_a_body_without_a_declared_length_is_bounded_too(alone: Served) -> None:
    chunks = (b" " * 10_000 for _ in range(60))
    answer = alone.client.post("/v1/batch", content=chunks, auth=KEY)
    assert answer.status_code == 413


def test_an_event_of_a_batch_has_its_own_limit(alone: Served) -> None:
    large = {"type": "track", "event": "E", "userId": "u", "properties": {"a": "x" * 34_000}}
    small = {"type": "track", "event": "E", "userId": "u"}
    answer = alone.client.post("/v1/batch", json={"batch": [large, small]}, auth=KEY)
    assert answer.json()["refused"] == [{"position": 0, "reason": "too_large"}]
    assert len(alone.landed()) == 1


def test_a_wrong_clock_is_set_right_and_no_event_lies_ahead(alone: Served) -> None:
    hour_late = {"timestamp": "2026-11-20T10:58:00Z", "sentAt": "2026-11-20T11:00:00Z"}
    ahead = {"timestamp": "2027-01-01T00:00:00Z"}
    for stated in (hour_late, ahead):
        assert alone.event(**stated).status_code == 200
    late, clamped = alone.landed()
    assert late["timestamp"] == "2026-11-20T11:58:00.000Z"
    assert clamped["timestamp"] == "2026-11-20T12:00:00.000Z"
    assert clamped["originalTimestamp"] == "2027-01-01T00:00:00.000Z"


def test_sending_a_message_without_an_id_again_is_the_same_event(alone: Served) -> None:
    for sent_at in ("2026-11-20T11:00:00Z", "2026-11-20T11:00:09Z"):
        alone.event(timestamp="2026-11-20T10:00:00Z", sentAt=sent_at)
    alone.event()
    alone.event()
    ids = [line["messageId"] for line in alone.landed()]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_a_slow_body_is_given_up(serve_with: Callable[..., Any]) -> None:
    with serve_with(gateway={"body_seconds": 0.2}) as served:
        host, port = served.client.base_url.host, served.client.base_url.port
        head = (
            "POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
            "Authorization: Basic d2tfbmV3Og==\r\n\r\n{"
        )
        with socket.create_connection((host, port), timeout=5) as slow:
            slow.sendall(head.encode())
            assert slow.recv(1000).startswith(b"HTTP/1.1 408")
        assert served.event().status_code == 200


def test_a_key_has_a_rate(serve_with: Callable[..., Any]) -> None:
    with serve_with(gateway={"events_per_second": 1}) as served:
        answers = [served.event() for _ in range(4)]
        assert [one.status_code for one in answers].count(200) == 2
        assert int(answers[-1].headers["retry-after"]) >= 1
        other = {"event": "E", "userId": "u"}
        assert served.client.post("/v1/track", json=other, auth=("wk_old", "")).status_code == 200


def test_browsers_may_ask_from_configured_origins_only(serve_with: Callable[..., Any]) -> None:
    with serve_with(gateway={"origins": ["https://shop.example"]}) as served:
        for origin, allowed in (
            ("https://shop.example", "https://shop.example"),
            ("https://x", None),
        ):
            asked = served.client.options("/v1/batch", headers={"Origin": origin})
            assert asked.headers.get("access-control-allow-origin") == allowed
        answer = served.client.options("/v1/persons/context", headers={"Origin": "https://x"})
        assert "access-control-allow-origin" not in answer.headers


def test_a_bomb_is_not_unpacked(alone: Served) -> None:
    """A tenth of a megabyte that would be a hundred: refused after half a one."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(b"\0" * (1 << 20)) for _ in range(100)) + packer.flush()
    assert len(bomb) < 500 << 10
    answer = alone.client.post(
        "/v1/batch", content=bomb, headers={"Content-Encoding": "gzip"}, auth=KEY
    )
    assert answer.status_code == 413
