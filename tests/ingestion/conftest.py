"""Files and settings for tests of ingestion: small real files in a directory of their own."""

import gzip
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from warehouse import Settings, load_settings

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)

SettingsFor = Callable[..., Settings]


@pytest.fixture
def settings_for(tmp_path: Path) -> SettingsFor:
    """Make settings of a workspace with these sources; paths are relative to the test's folder."""

    def make(*sources: Mapping[str, Any]) -> Settings:
        config = tmp_path / "loopdrive.yml"
        content = {
            "workspace": "test", "currency": "GBP", "country": "GB", "time_zone": "Europe/London",
            "sources": [dict(source) for source in sources],
        }  # fmt: skip
        config.write_text(yaml.safe_dump(content))
        return load_settings(config, environ={})

    return make


def message(number: int, **changes: Any) -> dict[str, Any]:
    """A valid Segment page message; `changes` replace its fields, None removes one."""
    base: dict[str, Any] = {
        "messageId": f"m-{number}",
        "type": "page",
        "name": "Home",
        "anonymousId": f"a-{number}",
        "timestamp": "2026-02-28T10:00:00.000Z",
        "sentAt": "2026-02-28T10:00:01.000Z",
        "receivedAt": "2026-02-28T10:00:02.000Z",
        "channel": "client",
        "properties": {"path": "/"},
        "context": {"page": {"url": "https://shop.example/", "path": "/"}},
    }
    base.update(changes)
    return {key: value for key, value in base.items() if value is not None}


def write_lines(path: Path, rows: list[Any]) -> Path:
    """JSON Lines, gzip when the name says so; strings and bytes are written as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for row in rows:
        text = row if isinstance(row, str | bytes) else json.dumps(row, ensure_ascii=False)
        lines.append(text if isinstance(text, bytes) else text.encode())
    data = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path
