"""The whole loop of a simulated market: seconds and peak memory, as a user's command takes them.

Belongs here: the command in a throw-away workspace. Keep out: limits and pages (`__main__.py`).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from dagster_project.cli.memory import PeakMemory
from warehouse import load_settings, server

COMMAND = "from dagster_project.cli import main; main()"
ROOT = Path(__file__).resolve().parents[1]


def run(people: int = 5000, history_days: int = 365) -> dict[str, Any]:
    """Measure `loopdrive run --days 2` from nothing, and the day after it by itself.

    Memory counts the command, its children and the embedded server; in MiB. Raises
    RuntimeError with the command's last line when it fails.
    """
    home = Path(tempfile.mkdtemp(prefix="loopdrive-bench-"))
    try:
        config, last = _configured(home, people, history_days)
        two_days, peak = _timed(home, "run", "--days", "2", "--config", str(config))
        after = (last + timedelta(days=1)).isoformat()
        third_day, _ = _timed(home, "run", "--as-of", after, "--config", str(config))
        events = _events(home)
    finally:
        server.stop(home / ".loopdrive")
        shutil.rmtree(home, ignore_errors=True)
    return {
        "people": people,
        "history_days": history_days,
        "events": events,
        "two_days_seconds": round(two_days, 1),
        "peak_mebibytes": round(peak),
        "third_day_seconds": round(third_day, 1),
    }


def _configured(home: Path, people: int, history_days: int) -> tuple[Path, Any]:
    market = load_settings(None, environ={"LOOPDRIVE_HOME": str(home)})
    config = yaml.safe_load(market.config_path.read_text(encoding="utf-8"))
    config["simulation"] |= {"people": people, "days": history_days}
    path = home / "loopdrive.yml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path, market.as_of


def _timed(home: Path, *arguments: str) -> tuple[float, float]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("LOOPDRIVE_")
    } | {"PYTHONPATH": str(ROOT)}
    with PeakMemory(home / ".loopdrive") as memory:
        begun = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - begun
    if ended.returncode != 0:
        lines = [line for line in ended.stderr.splitlines() if line.strip()]
        raise RuntimeError(f"loopdrive {' '.join(arguments)}: {lines[-1] if lines else 'failed'}")
    return seconds, memory.megabytes


def _events(home: Path) -> int:
    import psycopg

    running = server.start(home / ".loopdrive")
    with psycopg.connect(running.url("loopdrive_market")) as connection:
        row = connection.execute("select count(*) from raw.event_ids").fetchone()
    return int(row[0]) if row else 0
