"""Proxies between a dispatcher and what it speaks to: they count exchanges, and end one.

Belongs here: forwarding Postgres' and HTTP's frames on loopback, and the moment of a fault. The
product knows nothing of them. Keep out: what a fault must not do (the tests).

An exchange is one question on the wire: a statement (Query, Sync or the end of a COPY), an HTTP
request before it reaches the provider, an HTTP answer before it reaches the dispatcher.
"""

import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ASKING = {b"Q": "query", b"S": "sync", b"c": "copied"}
Fault = Literal["kill", "sever"]


class EndedError(ConnectionError):
    """The exchange that was to be the last one came."""


@dataclass
class Counter:
    """Counts exchanges, and at the chosen one kills the dispatcher or cuts its lines."""

    at: int | None = None
    fault: Fault = "kill"
    pid: int | None = None
    seen: list[str] = field(default_factory=list)
    is_over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self, at: int | None, fault: Fault) -> None:
        """Begin anew."""
        with self.lock:
            self.at, self.fault, self.pid, self.seen = at, fault, None, []
            self.is_over = False

    def meet(self, kind: str, pid: int | None = None) -> bool:
        """Count one exchange; True where its answer is to be lost. Raises where it is the end.

        `pid` is the process that asks, where the line tells; else it is the only one there is.
        """
        pid = pid or self.pid
        with self.lock:
            self.seen.append(kind)
            is_it = self.at is not None and len(self.seen) >= self.at and not self.is_over
            is_it = is_it and pid is not None
            self.is_over = self.is_over or is_it
        if is_it and self.fault == "kill":
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            raise EndedError
        return is_it


def _exactly(line: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = line.recv(min(size - len(data), 1 << 16))
        if not piece:
            raise EndedError
        data += piece
    return bytes(data)


def _frame(line: socket.socket) -> tuple[bytes, bytes]:
    """One message of Postgres' protocol: its kind and all of its bytes."""
    head = _exactly(line, 5)
    return head[:1], head + _exactly(line, int.from_bytes(head[1:], "big") - 4)


def _postgres(client: socket.socket, server: socket.socket, counter: Counter) -> None:
    size = _exactly(client, 4)
    greeting = _exactly(client, int.from_bytes(size, "big") - 4)
    named = re.search(rb"dispatcher-(\d+)", greeting)
    pid = int(named[1]) if named else None
    server.sendall(size + greeting)
    is_last = threading.Event()
    answers = threading.Thread(target=_answers, args=(client, server, is_last), daemon=True)
    answers.start()
    while True:
        kind, frame = _frame(client)
        if kind in ASKING and counter.meet(ASKING[kind], pid):
            is_last.set()
        server.sendall(frame)


def _answers(client: socket.socket, server: socket.socket, is_last: threading.Event) -> None:
    """Forward answers; the one to be lost is read to its end, so that it did happen."""
    with suppress(OSError):
        while True:
            kind, frame = _frame(server)
            if is_last.is_set():
                if kind in (b"Z", b"G"):
                    break
                continue
            client.sendall(frame)
    _hang_up(client, server)


def _hang_up(*lines: socket.socket) -> None:
    """Closing alone would not: another thread may still read."""
    for line in lines:
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


def _message(line: socket.socket) -> bytes:
    """One HTTP message with a content length, as bytes."""
    head = bytearray()
    while b"\r\n\r\n" not in head:
        head += _exactly(line, 1)
    length = next(
        (int(one.split(b":")[1]) for one in head.lower().split(b"\r\n")
         if one.startswith(b"content-length:")),
        0,
    )  # fmt: skip
    return bytes(head) + _exactly(line, length)


def _http(client: socket.socket, server: socket.socket, counter: Counter) -> None:
    while True:
        request = _message(client)
        lost = counter.meet("request")
        server.sendall(request)
        answer = _message(server)
        lost = counter.meet("answer") or lost
        if lost:
            raise EndedError
        client.sendall(answer)


Forward = Callable[[socket.socket, socket.socket, Counter], None]


@contextmanager
def _proxy(counter: Counter, forward: Forward, reach: Callable[[], socket.socket]) -> Iterator[int]:
    def serve(client: socket.socket) -> None:
        with client, suppress(OSError), reach() as server:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError):
                forward(client, server, counter)
            _hang_up(client, server)

    def listen() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def to_postgres(counter: Counter, socket_dir: Path, port: int) -> Iterator[int]:
    """A port of loopback behind which the server of a Unix socket answers."""

    def reach() -> socket.socket:
        line = socket.socket(socket.AF_UNIX)
        line.connect(str(socket_dir / f".s.PGSQL.{port}"))
        return line

    with _proxy(counter, _postgres, reach) as listening:
        yield listening


@contextmanager
def to_http(counter: Counter, port: int) -> Iterator[int]:
    """A port of loopback behind which an HTTP server of another port answers."""

    def reach() -> socket.socket:
        line = socket.create_connection(("127.0.0.1", port))
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return line

    with _proxy(counter, _http, reach) as listening:
        yield listening
