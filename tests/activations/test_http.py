"""The guarded client: who may be called in which mode, and what a failed call proves."""

import socket
import struct
import threading
from contextlib import contextmanager

import httpx
import pytest

from activations import http
from activations.http import HostRefusedError, Request, Response, TransportError

KEY = "Bearer very-secret"
SHORT = httpx.Timeout(10.0, read=0.3)


@contextmanager
def listening(behave):
    """A loopback socket that treats every connection as `behave` says."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                behave(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x"
        thread.join(timeout=2)


def read_request(connection):
    data = b""
    while b"\r\n\r\nhello" not in data:
        data += connection.recv(4096)
    return data


def answer(connection):
    read_request(connection)
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: https://example.com/\r\n"
                       b"X-Thing: 1\r\nContent-Length: 2\r\n\r\nok")  # fmt: skip


def reset(connection):
    read_request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang_up(connection):
    read_request(connection)


def half_an_answer(connection):
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def nonsense(connection):
    read_request(connection)
    connection.sendall(b"what?\r\n\r\n")


def stay_silent(connection):
    read_request(connection)
    connection.recv(4096)


def post(url):
    return Request("POST", url, {"Authorization": KEY}, b"hello")


def test_an_answer_is_returned_as_it_is_and_a_redirect_is_not_followed():
    with http.open_client("sandbox") as client, listening(answer) as url:
        got = http.send(client, post(url))
    assert isinstance(got, Response)
    assert (got.status, got.headers["x-thing"], got.content) == (302, "1", b"ok")


@pytest.mark.parametrize("behave", [reset, hang_up, half_an_answer, nonsense, stay_silent])
def test_what_fails_after_the_request_left_is_ambiguous(behave):
    with http.open_client("sandbox", timeout=SHORT) as client, listening(behave) as url:
        got = http.send(client, post(url))
    assert isinstance(got, TransportError)
    assert got.kind == "ambiguous"


def test_a_refused_connection_is_not_processed():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with http.open_client("sandbox") as client:
        got = http.send(client, post(f"http://127.0.0.1:{port}/x"))
    assert got == TransportError("not_processed", "ConnectError")


def test_a_failed_tls_handshake_is_not_processed():
    def plain(connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with http.open_client("sandbox") as client, listening(plain) as url:
        got = http.send(client, post(url.replace("http://", "https://")))
    assert isinstance(got, TransportError)
    assert got.kind == "not_processed"


@pytest.mark.parametrize(
    ("mode", "hosts", "url"),
    [
        ("sandbox", ["api.sendgrid.com"], "https://api.sendgrid.com/v3"),
        ("sandbox", [], "http://10.0.0.1/"),
        ("sandbox", [], "http://localhost.example.com/"),
        ("sandbox", [], "http://0.0.0.0/"),
        ("live", [], "https://api.sendgrid.com/v3"),
        ("live", ["api.twilio.com"], "https://api.sendgrid.com/v3"),
        ("live", ["sendgrid.com"], "https://api.sendgrid.com/v3"),
        ("dry_run", ["api.sendgrid.com"], "https://api.sendgrid.com/v3"),
        ("dry_run", [], "http://127.0.0.1:1/"),
    ],
)
def test_a_host_is_refused_unless_mode_and_provider_allow_it(mode, hosts, url):
    with http.open_client(mode, hosts) as client, pytest.raises(HostRefusedError):
        http.send(client, post(url))


def test_live_mode_lets_an_enabled_host_through_the_guard():
    reached = []

    def inner(request):
        reached.append(request.url.host)
        return httpx.Response(202)

    guard = http.GuardedTransport(
        httpx.MockTransport(inner), "live", frozenset({"api.sendgrid.com"})
    )
    with httpx.Client(transport=guard) as client:
        assert http.send(client, post("https://api.sendgrid.com/v3")).status == 202
    assert reached == ["api.sendgrid.com"]


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://192.0.2.1:9")
    with http.open_client("sandbox") as client, listening(answer) as url:
        assert http.send(client, post(url)).status == 302


def test_nothing_secret_or_personal_is_in_a_repr():
    shown = repr(post("http://127.0.0.1/x")) + repr(Response(200, {}, b"a@example.com"))
    assert KEY not in shown
    assert "hello" not in shown
    assert "a@example.com" not in shown


@pytest.mark.parametrize(("host", "expected"), [
    ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
    ("127.0.0.1.example.com", False), ("169.254.169.254", False), ("example.com", False),
])  # fmt: skip
def test_loopback_is_told_by_the_address(host, expected):
    assert http.is_loopback(host) is expected
