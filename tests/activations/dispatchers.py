"""Dispatchers as processes of their own: forked from one that has imported everything.

Belongs here: starting them, waiting for them. Run as a module it is the process they are forked
from: a line of JSON in starts one, `started PID` and `ended PID CODE` come out.
Keep out: faults (`proxies.py`) and assertions.
"""

import json
import os
import select
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

import httpx

from activations import dispatch, http
from activations.providers import provider
from sandbox.standins import CREDENTIALS
from warehouse import Warehouse

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Nursery:
    """The process from which dispatchers are forked."""

    process: subprocess.Popen[str]
    ended: list[int] = field(default_factory=list)

    def start(
        self, url: str, provider: str, base_url: str, now: datetime, read_seconds: float = 30.0
    ) -> int:
        """Start a dispatcher; returns its process id."""
        order = {"url": url, "provider": provider, "base_url": base_url, "now": now.isoformat(),
                 "read_seconds": read_seconds}  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        while (words := self._line().split())[0] == "ended":
            self.ended.append(int(words[2]))
        return int(words[1])

    def wait(self, count: int = 1) -> list[int]:
        """Wait until as many ended as were started; returns their exit codes, signals negative."""
        while len(self.ended) < count:
            self.ended.append(int(self._line().split()[2]))
        codes, self.ended[:] = self.ended[:count], self.ended[count:]
        return codes

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process that forks dispatchers is gone"
        return line


@contextmanager
def nursery(errors: IO[str] | None = None) -> Iterator[Nursery]:
    """A process that forks dispatchers, gone when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.activations.dispatchers"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        stderr=errors or subprocess.DEVNULL, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        yield Nursery(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=30)


def _dispatch(order: Mapping[str, Any]) -> None:
    patience = httpx.Timeout(5.0, read=order["read_seconds"])
    with http.open_client("sandbox", timeout=patience) as client:
        dispatch.send_due(
            # The proxy tells processes apart by this name.
            Warehouse(f"{order['url']}&application_name=dispatcher-{os.getpid()}"),
            datetime.fromisoformat(order["now"]),
            provider(order["provider"], CREDENTIALS, order["base_url"]),
            partial(http.send, client),
        )


def _fork(order: Mapping[str, Any]) -> None:
    pid = os.fork()
    if pid:
        print("started", pid, flush=True)
        return
    code = 1
    try:
        _dispatch(order)
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)


def _reap() -> bool:
    """Tell of one that ended; False when none did."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    if pid:
        print("ended", pid, os.waitstatus_to_exitcode(status), flush=True)
    return bool(pid)


def main() -> None:
    """Fork a dispatcher for each line, until the lines end."""
    data = b""
    while True:
        ready, _, _ = select.select([0], [], [], 0.002)
        if ready:
            piece = os.read(0, 1 << 16)
            if not piece:
                return
            data += piece
        while b"\n" in data:
            line, _, data = data.partition(b"\n")
            _fork(json.loads(line))
        while _reap():
            pass


if __name__ == "__main__":
    main()
