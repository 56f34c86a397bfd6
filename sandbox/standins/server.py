"""One loopback HTTP server in a background thread; the first path segment names the stand-in.

Belongs here: sockets, HTTP framing, dispatch and the faults that happen below a provider's format
(resets, slowness).
Keep out: what any provider accepts or answers.
"""

import json
import socket
import struct
import sys
import threading
import time
import traceback
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from types import ModuleType
from urllib.parse import parse_qsl, urlsplit

from sandbox.standins import (
    chat,
    datamanager,
    fcm,
    google_ads,
    meta,
    resend,
    sendgrid,
    twilio,
    webhook,
    whatsapp,
)
from sandbox.standins.desk import Call, ClockNotSetError, Desk, Fault, Reply

STANDINS: dict[str, ModuleType] = {
    "sendgrid": sendgrid, "twilio": twilio, "resend": resend, "whatsapp": whatsapp, "fcm": fcm,
    "webhook": webhook, "meta": meta, "google-ads": google_ads,
    "datamanager": datamanager, "openai": chat,
}  # fmt: skip


class Server(ThreadingMixIn, TCPServer):
    """A thread a connection; the port is the system's choice."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent where a client hung up; a fault of our own is printed."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            traceback.print_exc()

    def stop(self) -> None:
        """Stop listening and wait for the thread."""
        self.shutdown()
        self.server_close()
        self.thread.join()


class Handler(BaseHTTPRequestHandler):
    """Reads one request, asks the stand-in, writes one answer in one piece."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """Answer a GET."""
        self._serve()

    def do_POST(self) -> None:
        """Answer a POST."""
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        """Keep silent: requests.jsonl is the log."""

    def _serve(self) -> None:
        desk = self.server.desk
        name, call = self._read()
        standin = STANDINS.get(name)
        if standin is None:
            self._write(Reply(404, {"error": f"no stand-in {name!r}"}))
            return
        fault = desk.next_fault(name)
        if fault and fault.kind == "reset_before":
            desk.count(name, call, Reply(0))
            self._reset()
            return
        reply = answer(desk, standin, call, fault)
        desk.count(name, call, reply)
        if fault and fault.kind == "reset_after_accept":
            self._reset()
            return
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        self._write(reply)

    def _read(self) -> tuple[str, Call]:
        parts = urlsplit(self.path)
        name, _, rest = parts.path.lstrip("/").partition("/")
        length = int(self.headers.get("content-length", 0))
        headers = {key.lower(): value for key, value in self.headers.items()}
        call = Call(
            self.command, f"/{rest}", dict(parse_qsl(parts.query)), headers,
            self.rfile.read(length),
        )  # fmt: skip
        return name, call

    def _write(self, reply: Reply) -> None:
        content = b"" if reply.body is None else json.dumps(reply.body).encode()
        lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}", "", ""]
        self.wfile.write("\r\n".join(lines).encode() + content)

    def _reset(self) -> None:
        """Hang up without an answer, by a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True


def answer(desk: Desk, standin: ModuleType, call: Call, fault: Fault | None) -> Reply:
    """Ask a stand-in, or fail as the script says in the provider's own format."""
    kind = fault.kind if fault else None
    try:
        if kind in ("rate_limited", "unauthorized", "server_error"):
            return getattr(standin, kind)(desk)
        reply = standin.handle(desk, call)
        return standin.server_error(desk) if kind == "error_after_accept" else reply
    except ClockNotSetError as error:
        return Reply(503, {"error": str(error)})
