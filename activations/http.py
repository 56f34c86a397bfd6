"""The one door to the network of this room: a guarded client and a `send` that never guesses.

Belongs here: the client factory (time-outs, no redirects, no proxies from the environment), the
guard that keeps every mode but `live` on loopback, and the verdict on a failed call: was the
request certainly not processed, or may it have been?
Keep out: anything a provider defines (status codes, headers, retries) and every credential.
"""

import ipaddress
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

Mode = Literal["sandbox", "dry_run", "live"]

# Read is long: SendGrid takes up to a thousand recipients a request before it answers.
TIMEOUT = httpx.Timeout(connect=5.0, read=30.0, write=30.0, pool=10.0)
CONNECTIONS = httpx.Limits(max_connections=32, max_keepalive_connections=16)
# A time-out of reading counts from byte to byte; an answer that trickles would last for ever.
ANSWER_SECONDS = 60.0
ANSWER_BYTES = 8 << 20

# The request was refused or never left: nobody can have processed it.
NOT_PROCESSED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
)


class HostRefusedError(ValueError):
    """A request was aimed at a host that the workspace's mode does not allow."""


@dataclass(frozen=True)
class Request:
    """One HTTP request, complete but for the connection. Headers are kept out of `repr`."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    content: bytes = field(repr=False, default=b"")


@dataclass(frozen=True)
class Response:
    """An answer with its header names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False, default=b"")

    def json(self) -> Any:
        """Return the parsed body, or None where it is empty or no JSON."""
        try:
            return json.loads(self.content)
        except ValueError:
            return None


@dataclass(frozen=True)
class TransportError:
    """No answer came. `reason` is the kind of failure: never an address, never a body."""

    kind: Literal["not_processed", "ambiguous"]
    reason: str


Answer = Response | TransportError


def is_loopback(host: str) -> bool:
    """Tell whether a URL's host is this machine: `localhost`, 127.0.0.0/8 or ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class GuardedTransport(httpx.BaseTransport):
    """Refuses a host before a connection is opened, redirects and base URLs included."""

    def __init__(self, inner: httpx.BaseTransport, mode: Mode, live_hosts: frozenset[str]) -> None:
        self._inner = inner
        self._mode = mode
        self._live_hosts = live_hosts

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if self._mode == "dry_run":
            raise HostRefusedError("mode dry_run calls nobody; set mode to sandbox or live")
        is_enabled = self._mode == "live" and host in self._live_hosts
        if not (is_loopback(host) or is_enabled):
            raise HostRefusedError(
                f"host {host} is refused in mode {self._mode}; only live mode with the provider "
                "enabled may leave this machine"
            )
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def open_client(
    mode: Mode, live_hosts: Collection[str] = (), timeout: httpx.Timeout = TIMEOUT
) -> httpx.Client:
    """Open the shared client; close it, or use it in a `with` block.

    `live_hosts` are the hosts of the enabled providers (`providers.hosts`, `platforms.hosts`);
    they count in mode `live` only.
    """
    transport = GuardedTransport(
        httpx.HTTPTransport(limits=CONNECTIONS, retries=0, trust_env=False),
        mode,
        frozenset(live_hosts),
    )
    return httpx.Client(
        transport=transport, timeout=timeout, follow_redirects=False, trust_env=False
    )


def send(
    client: httpx.Client,
    request: Request,
    answer_seconds: float = ANSWER_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Send one request once, and say what is known when no answer came.

    Not processed: no connection, TLS failure, unknown host, no free connection. Everything after
    the first byte left (time-out while reading, reset, broken answer, one that is not whole after
    `answer_seconds` or larger than 8 MB) is ambiguous.
    Raises HostRefusedError for a host that the mode forbids, httpx.InvalidURL and
    httpx.UnsupportedProtocol for a request that is not one: both are mistakes of ours.
    """
    until = clock() + answer_seconds
    try:
        with client.stream(
            request.method, request.url, headers=dict(request.headers), content=request.content
        ) as answer:
            return _whole(answer, until, clock)
    except NOT_PROCESSED as error:
        return TransportError("not_processed", type(error).__name__)
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError):
        raise
    except httpx.RequestError as error:
        return TransportError("ambiguous", type(error).__name__)


def _whole(answer: httpx.Response, until: float, clock: Callable[[], float]) -> Answer:
    content = bytearray()
    for piece in answer.iter_bytes():
        content += piece
        if len(content) > ANSWER_BYTES:
            return TransportError("ambiguous", "AnswerTooLarge")
        if clock() > until:
            return TransportError("ambiguous", "AnswerTooSlow")
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Response(answer.status_code, headers, bytes(content))
