"""The gateway under load from another process on loopback.

Belongs here: the load and the measurement, with `loopdrive gateway` as a user starts it, on a
simulated market that was played for a day. Keep out: limits and pages (`__main__.py`).
"""

import asyncio
import base64
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg
import yaml

from bench import loop
from warehouse import Settings, front, load_settings, server

PEOPLE, HISTORY_DAYS = 2_000, 120
CONNECTIONS = 24
SECONDS = 5.0
EVENTS_A_BATCH = 100
STARTING_SECONDS = 120

_Request = Callable[[int], bytes]


def run() -> dict[str, Any]:
    """Requests a second and the 99th percentile of their milliseconds, for single events, batches
    and context look-ups, each for five seconds over kept connections.

    `…_processor_milliseconds` is what the gateway's process spent on one request, which tells what
    a busy machine hides.
    Raises RuntimeError when an answer is not 200, or what landed is not what was accepted.
    """
    home = Path(tempfile.mkdtemp(prefix="loopdrive-bench-gateway-"))
    try:
        config = _configured(home)
        loop._timed(home, "run", "--days", "1", "--config", str(config))
        settings = load_settings(config, environ={})
        with _serving(home, config, settings.gateway.port if settings.gateway else 0) as served:
            single, single_cpu = _measured(served, _singles(settings), CONNECTIONS)
            batch, batch_cpu = _measured(served, _batches(settings), 4)
            context, _ = _measured(served, _contexts(settings, _identifiers(home)), 4)
        _must_have_landed(settings, len(single) + EVENTS_A_BATCH * len(batch))
    finally:
        server.stop(home / ".loopdrive")
        shutil.rmtree(home, ignore_errors=True)
    return {
        "people": PEOPLE,
        "connections": CONNECTIONS,
        "single_requests_per_second": round(len(single) / SECONDS),
        "single_processor_milliseconds": single_cpu,
        "single_p50_milliseconds": _percentile(single, 0.50),
        "single_p99_milliseconds": _percentile(single, 0.99),
        "batch_events_per_second": round(EVENTS_A_BATCH * len(batch) / SECONDS),
        "batch_processor_milliseconds": batch_cpu,
        "batch_p99_milliseconds": _percentile(batch, 0.99),
        "context_requests_per_second": round(len(context) / SECONDS),
        "context_p50_milliseconds": _percentile(context, 0.50),
        "context_p99_milliseconds": _percentile(context, 0.99),
    }


def _configured(home: Path) -> Path:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config, _ = loop._configured(home, PEOPLE, HISTORY_DAYS)
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    content["gateway"] = {
        "port": port, "events_per_second": 1_000_000, "requests_per_second": 1_000_000,
    }  # fmt: skip
    config.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return config


@contextmanager
def _serving(home: Path, config: Path, port: int) -> Iterator[tuple[int, psutil.Process]]:
    command = [sys.executable, "-c", loop.COMMAND, "gateway", "--config", str(config)]
    running = subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + STARTING_SECONDS
        while time.monotonic() < deadline and running.poll() is None:
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port, psutil.Process(running.pid)
    finally:
        running.terminate()
        running.wait()


def _measured(
    served: tuple[int, psutil.Process], request: _Request, connections: int
) -> tuple[list[float], float]:
    """The times of a load, and the server's processor milliseconds for each request."""
    port, process = served
    before = sum(process.cpu_times()[:2])
    times = asyncio.run(_load(port, request, connections))
    spent = sum(process.cpu_times()[:2]) - before
    return times, round(1000 * spent / len(times), 3)


async def _load(port: int, request: _Request, connections: int) -> list[float]:
    """Milliseconds of every request answered in SECONDS; each connection sends its next request
    when the last one was answered."""
    numbers, times = count(), list[float]()
    end = time.perf_counter() + SECONDS

    async def sender() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            begun = time.perf_counter()
            writer.write(request(next(numbers)))
            await _answered(reader)
            times.append(1000 * (time.perf_counter() - begun))
        writer.close()

    await asyncio.gather(*(sender() for _ in range(connections)))
    return times


async def _answered(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the gateway answered {head[:40]!r}")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))


def _post(path: str, authorization: str, body: Any) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: {authorization}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _event(number: str) -> dict[str, Any]:
    """About 500 bytes, as the libraries send it."""
    return {
        "type": "track",
        "event": "Product Viewed",
        "messageId": number,
        "anonymousId": f"a-{number}",
        "timestamp": "2026-09-15T10:00:00.000Z",
        "properties": {"product_id": "p-1", "name": "Mug", "price": 19.9, "currency": "GBP"},
        "context": {
            "library": {"name": "analytics-node", "version": "2.0.0"},
            "page": {"url": "https://shop.example/p-1?utm_source=google", "path": "/p-1"},
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Safari/537.36",
        },
    }


def _basic(settings: Settings) -> str:
    key = next(iter(front.write_keys(settings)))
    return f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}"


def _singles(settings: Settings) -> _Request:
    authorization = _basic(settings)
    return lambda number: _post("/v1/track", authorization, _event(f"s{number}"))


def _batches(settings: Settings) -> _Request:
    """One body, sent again and again: the load shall not be what is measured."""
    events = [_event(f"b{number}") for number in range(EVENTS_A_BATCH)]
    whole = _post("/v1/batch", _basic(settings), {"batch": events})
    return lambda _number: whole


def _identifiers(home: Path) -> list[tuple[str, str]]:
    running = server.start(home / ".loopdrive")
    with psycopg.connect(running.url("loopdrive_market")) as connection:
        return connection.execute(
            "select identifier_type, identifier_value from identity.person_identifiers"
            " where identifier_type in ('email', 'user_id') and not is_shared order by 1, 2"
        ).fetchall()


def _contexts(settings: Settings, people: list[tuple[str, str]]) -> _Request:
    authorization = f"Bearer {next(iter(front.api_keys(settings)))}"

    def request(number: int) -> bytes:
        kind, value = people[(number * 7919) % len(people)]
        body = {"identifiers": [{"type": kind, "value": value}]}
        return _post("/v1/persons/context", authorization, body)

    return request


def _percentile(times: list[float], share: float) -> float:
    return round(sorted(times)[min(len(times) - 1, int(share * len(times)))], 1)


def _must_have_landed(settings: Settings, expected: int) -> None:
    folder = front.landing(settings) / front.LANDED["segment"]
    found = sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))
    if found != expected:
        raise RuntimeError(f"{expected} events were accepted, {found} landed")
