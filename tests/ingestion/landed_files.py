"""Files as sources land them, made by tests of ingestion.

Belongs here: valid rows, writing them. Keep out: fixtures.
"""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from warehouse import Settings

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)

SettingsFor = Callable[..., Settings]


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
