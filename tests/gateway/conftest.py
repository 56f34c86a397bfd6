"""A real server on loopback, spoken to over real HTTP.

Belongs here: starting a gateway, reading what it landed. Keep out: assertions.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway import app, serving
from gateway.state import Gateway
from warehouse import Settings, Warehouse, load_settings

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NOBODY = Warehouse(url="postgresql://nobody@127.0.0.1:1/none?connect_timeout=1")
ENVIRONMENT = {
    "LOOPDRIVE_WRITE_KEYS": "wk_old, wk_new",
    "LOOPDRIVE_API_KEYS": "ak_1",
    "TWILIO_AUTH_TOKEN": "12345",
}


@dataclass
class Clock:
    """The wall clock of a test: stands, and moves when told."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass(frozen=True)
class Served:
    """A running gateway and a client of it."""

    url: str
    client: httpx.Client
    settings: Settings
    gateway: Gateway
    clock: Clock

    def landed(self, part: str = "events") -> list[dict[str, Any]]:
        """Every line of a folder, in files whole or still open."""
        folder = self.settings.workspace_home / "gateway" / part
        texts = [path.read_text() for path in sorted(folder.glob("*"))] if folder.exists() else []
        return [json.loads(line) for text in texts for line in text.split("\n") if line]

    def publish(self) -> None:
        """Hand the open files to ingestion, as a gateway does when it ends."""
        for commits in (self.gateway.events, self.gateway.provider_events):
            commits.log.rotate()

    def event(self, **message: Any) -> httpx.Response:
        """One /v1/track with the write key where libraries put it."""
        body = {"event": "Product Viewed", "anonymousId": "a1"} | message
        return self.client.post("/v1/track", json=body, auth=("wk_new", ""))


def configured(folder: Path, environment: Mapping[str, str], **config: Any) -> Settings:
    """Settings of a workspace with a gateway."""
    path = folder / "loopdrive.yml"
    path.write_text(yaml.safe_dump({"workspace": "shop", "gateway": {}} | config))
    return load_settings(path, environ=environment)


@contextmanager
def serving_of(settings: Settings, warehouse: Warehouse) -> Iterator[Served]:
    """Serve until left."""
    clock, ids = Clock(), count(1)
    made = app.gateway(settings, warehouse, clock, lambda: f"made-{next(ids)}")
    server = serving.server(app.create(made), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
            yield Served(url, client, settings, made, clock)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Served]:
    """A gateway whose warehouse is away: intake does not need it."""
    with serving_of(configured(tmp_path, ENVIRONMENT), NOBODY) as served:
        yield served


@pytest.fixture
def served(tmp_path: Path, warehouse: Warehouse) -> Iterator[Served]:
    """A gateway with an empty, migrated warehouse."""
    with serving_of(configured(tmp_path, ENVIRONMENT), warehouse) as running:
        yield running


@pytest.fixture
def serve_with(tmp_path: Path) -> Callable[..., Any]:
    """Make a gateway with other settings: `serve_with(gateway={...})` is a context manager."""

    def make(
        warehouse: Warehouse = NOBODY, environment: Mapping[str, str] = ENVIRONMENT, **config: Any
    ) -> Any:
        return serving_of(configured(tmp_path, environment, **config), warehouse)

    return make
