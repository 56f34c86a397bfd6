"""Accepted is durable: the process is killed, the disk fills, and every 200 is kept."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from gateway.landing import LandingError, LandingLog
from tests.gateway.conftest import Clock

ROOT = Path(__file__).resolve().parents[2]


def started(folder: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.gateway.serve", str(folder)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    return process, f"http://127.0.0.1:{int(process.stdout.readline())}"


def send_until_it_dies(url: str, sender: int, acknowledged: list[str]) -> None:
    with httpx.Client(base_url=url, timeout=5, trust_env=False) as client:
        for number in range(100_000):
            message_id = f"{sender}-{number}"
            event = {"event": "E", "userId": "u", "messageId": message_id}
            try:
                answer = client.post("/v1/track", json=event, auth=("wk_new", ""))
            except httpx.TransportError:
                return
            if answer.status_code == 200:
                acknowledged.append(message_id)


def test_no_acknowledged_event_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    for round_number in range(2):
        process, url = started(tmp_path)
        senders = [
            threading.Thread(
                target=send_until_it_dies, args=(url, 10 * round_number + one, acknowledged)
            )
            for one in range(4)
        ]
        for thread in senders:
            thread.start()
        wanted, deadline = 100 * (round_number + 1), time.monotonic() + 60
        while len(acknowledged) < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for thread in senders:
            thread.join()
    folder = tmp_path / ".loopdrive" / "shop" / "gateway" / "events"
    assert len(list(folder.glob("*.part"))) == 1
    LandingLog(folder, Clock()).recover()
    texts = [path.read_text() for path in folder.glob("*.jsonl")]
    landed = {json.loads(line)["messageId"] for text in texts for line in text.split("\n") if line}
    assert len(acknowledged) >= 200
    assert set(acknowledged) <= landed


def test_a_full_disk_is_said_and_forgotten_when_there_is_room(
    serve_with: Callable[..., Any], monkeypatch: Any
) -> None:
    with serve_with() as served:

        def full(_lines: bytes) -> None:
            raise LandingError(28, "no space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(served.gateway.events.log, "commit", full)
            answer = served.event()
            assert (answer.status_code, answer.json()) == (503, {"error": "not_durable"})
            assert int(answer.headers["retry-after"]) > 0
            assert served.client.get("/health").status_code == 503
        assert served.event().status_code == 200
        assert served.client.get("/health").status_code == 200
        assert len(served.landed()) == 1


def test_many_requests_share_a_sync(serve_with: Callable[..., Any], monkeypatch: Any) -> None:
    with serve_with() as served:
        commit, groups = served.gateway.events.log.commit, []

        def slowly(lines: bytes) -> None:
            groups.append(lines.count(b"\n"))
            time.sleep(0.1)
            commit(lines)

        monkeypatch.setattr(served.gateway.events.log, "commit", slowly)
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(served.event().status_code))
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [200] * 12
    assert sum(groups) == 12
    assert len(groups) < 6
