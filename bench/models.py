"""The models: what a day costs when history is ten times as long, and full refreshes beside SQL.

Belongs here: the measurement, the dbt runs it takes. Keep out: the events (`model_history.py`)
and the hand-written SQL (`model_queries.py`).
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import yaml

from bench import model_history as history
from bench.model_queries import BY_HAND, CONTEXT
from warehouse import migrations, server
from warehouse.warehouse import create_database

EVENTS = 1_000_000
FACTOR = 10
REFRESHED_EVENTS = 5_000_000
PROJECT = Path(__file__).resolve().parents[1] / "dbt_project"
LOOKUPS = 200
# What stands for each of the three: a view needs the tables it is over.
REFRESHED = {
    "sessions": ("int_sessions_opened", "sessions"),
    "person_stats": ("person_days", "int_person_days_accumulated", "person_stats"),
    "person_chronology": ("person_chronology",),
}
Seconds = dict[str, float]


def run(
    events: int = EVENTS, factor: int = FACTOR, refreshed_events: int = REFRESHED_EVENTS
) -> dict[str, Any]:
    """Measure both; `events` is the history at 1x.

    Events come 10,000 a day at either length, so ten times the history is ten times as long and
    knows ten times as many persons; the day that is measured is the same. Seconds are sums of the
    execution times that dbt reports for models, tests and seeds.
    """
    with _database() as (home, fresh):
        days = {length: _day(home, fresh, length * events) for length in (1, factor)}
        refreshed = _refreshes(home, fresh, refreshed_events)
    short, long = days[1]["nodes"], days[factor]["nodes"]
    grown = sorted(long, key=lambda name: short.get(name, 0) - long[name])[:8]
    return {
        "events": events,
        "factor": factor,
        "day_seconds": round(sum(short.values()), 2),
        "day_seconds_long": round(sum(long.values()), 2),
        "day_ratio": round(sum(long.values()) / sum(short.values()), 2),
        "grown_most": ", ".join(f"{n} {short.get(n, 0):.2f}→{long[n]:.2f}" for n in grown),
        "context_milliseconds": days[factor]["context"],
        "refreshed_events": refreshed_events,
        **refreshed,
    }


def _day(home: Path, fresh: Callable[[], str], events: int) -> dict[str, Any]:
    """The seconds of each node on the day after a history, and of one person's context."""
    url = fresh()
    with psycopg.connect(url, autocommit=True) as connection:
        history.land(connection, 0, events)
        _build(home, url)
        connection.execute("vacuum analyze")
        history.land(connection, events, events + history.EVENTS_A_DAY)
        nodes = _build(home, url)
        return {"nodes": nodes, "context": _context_milliseconds(connection)}


def _refreshes(home: Path, fresh: Callable[[], str], events: int) -> dict[str, float]:
    url = fresh()
    figures: dict[str, float] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        history.land(connection, 0, events)
        _build(home, url, command="seed")
        _build(home, url, *_selected(f"+{name}" for name in REFRESHED), command="run")
        connection.execute("vacuum analyze")
        for name, models in REFRESHED.items():
            seconds = _build(home, url, *_selected(models), "--full-refresh", command="run")
            connection.execute("drop table if exists by_hand")
            begun = time.perf_counter()
            connection.execute(BY_HAND[name])
            by_hand = time.perf_counter() - begun
            figures[f"{name}_seconds"] = round(sum(seconds.values()), 2)
            figures[f"{name}_by_hand_seconds"] = round(by_hand, 2)
            figures[f"{name}_ratio"] = round(sum(seconds.values()) / by_hand, 2)
            _must_agree(connection, name)
    return figures


def _must_agree(connection: psycopg.Connection[Any], name: str) -> None:
    """A faster query that says something else is no bar."""
    counts = [
        connection.execute(f"select count(*) from {table}").fetchone()
        for table in ("by_hand", f"marts.{name}")
    ]
    if counts[0] != counts[1]:
        raise RuntimeError(f"{name}: by hand {counts[0]} rows, the model {counts[1]}")


def _context_milliseconds(connection: psycopg.Connection[Any]) -> float:
    """Median of reading one person's context by its key."""
    people = connection.execute(
        "select person_id from identity.persons order by md5(person_id) limit %s", [LOOKUPS]
    ).fetchall()
    taken = []
    for (person_id,) in people:
        begun = time.perf_counter()
        connection.execute(CONTEXT, [person_id]).fetchone()
        taken.append(time.perf_counter() - begun)
    return round(sorted(taken)[len(taken) // 2] * 1000, 2)


def _selected(names: Iterator[str] | tuple[str, ...]) -> tuple[str, ...]:
    return ("-s", *names)


@contextmanager
def _database() -> Iterator[tuple[Path, Callable[[], str]]]:
    """A server of its own, and what makes an empty, migrated database on it."""
    home = Path(tempfile.mkdtemp(prefix="loopdrive-bench-models-"))
    running = server.start(home / "server")

    def fresh() -> str:
        with psycopg.connect(running.url("postgres"), autocommit=True) as connection:
            connection.execute("drop database if exists bench with (force)")
            create_database(connection, "bench")
        migrations.apply(running.url("bench"))
        return running.url("bench")

    try:
        yield home, fresh
    finally:
        server.stop(home / "server")
        shutil.rmtree(home, ignore_errors=True)


def _build(home: Path, url: str, *arguments: str, command: str = "build") -> Seconds:
    """Run dbt; the seconds of each node. Raises RuntimeError naming the nodes that failed."""
    from dbt.cli.main import dbtRunner

    _write_profile(home, url)
    where = ["--project-dir", str(PROJECT), "--profiles-dir", str(home), "--log-path", str(home)]
    options = ["--exclude-resource-type", "unit_test"] if command == "build" else []
    result = dbtRunner().invoke(
        ["--quiet", command, *arguments, *options, *where, "--target-path", str(home / "target")]
    )
    if result.result is None:
        raise RuntimeError(f"dbt: {result.exception}")
    failed = [r for r in result.result.results if r.status in ("error", "fail")]
    if failed:
        raise RuntimeError("; ".join(f"{r.node.name}: {r.message}" for r in failed))
    return {r.node.name: r.execution_time for r in result.result.results}


def _write_profile(home: Path, url: str) -> None:
    split = urlsplit(url)
    query = parse_qs(split.query)
    output = {
        "type": "postgres",
        "host": split.hostname or query["host"][0],
        "port": int(split.port or query["port"][0]),
        "user": split.username,
        "password": split.password or "",
        "dbname": split.path.lstrip("/"),
        "schema": "public",
        "threads": 1,
    }
    profile = {"loopdrive": {"target": "warehouse", "outputs": {"warehouse": output}}}
    (home / "profiles.yml").write_text(yaml.safe_dump(profile))
