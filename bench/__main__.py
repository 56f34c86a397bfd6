"""`python -m bench`: measures, prints ratios and verdicts, and writes docs/benchmarks.md.

Belongs here: which measurements there are, their limits, the page. Keep out: measuring.
"""

import argparse
import json
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import psycopg

from bench import attribution, decisions, gateway, identity, ingestion, loop, models
from warehouse import Warehouse, migrations, server
from warehouse.warehouse import create_database

BASELINES = Path(__file__).with_name("baselines.json")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
PACKAGES = ("dagster", "dbt-core", "duckdb", "numpy", "pandas", "pyarrow", "lightgbm")
REHEARSAL_DAYS = 30


@dataclass(frozen=True)
class Line:
    """One figure beside what it must not exceed (or, at_least, fall below)."""

    what: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether the limit is kept."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def text(self) -> str:
        """`what: value unit (limit …): kept`."""
        bound = "at least" if self.at_least else "at most"
        verdict = "kept" if self.is_kept else "MISSED"
        return f"{self.what}: {self.value:,g} {self.unit} ({bound} {self.limit:,g}): {verdict}"


def main(arguments: list[str] | None = None) -> int:
    """Measure all, or the parts named; 1 when a limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        choices=[*PARTS, []],
        metavar="part",
        help=f"{', '.join(PARTS)}; default: all",
    )
    parser.add_argument("--save", action="store_true", help="make these figures the baselines")
    chosen = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", module="platformdirs")
    before = json.loads(BASELINES.read_text()) if BASELINES.exists() else {}
    found: dict[str, Any] = {"machine": _machine(), "versions": _versions(), "parts": {}}
    for name in chosen.parts or PARTS:
        print(f"measuring {name} …", flush=True)
        load = os.getloadavg()[0]
        found["parts"][name] = PARTS[name]() | {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "load_before": round(load, 2),
            "load_after": round(os.getloadavg()[0], 2),
        }
        _say(name, found["parts"][name], before.get("parts", {}).get(name))
    found["parts"] = before.get("parts", {}) | found["parts"]
    if chosen.save or not before:
        BASELINES.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    PAGE.write_text(page(found, before))
    print(f"wrote {PAGE.name}")
    return 0 if all(line.is_kept for line in _lines(found["parts"])) else 1


WarehouseFactory = Callable[[], AbstractContextManager[Warehouse]]


def _on_a_server(measure: Callable[[WarehouseFactory], dict[str, Any]]) -> dict[str, Any]:
    """The measurement on an embedded server of its own, gone afterwards."""
    with TemporaryDirectory(prefix="loopdrive-bench-pg-") as name:
        running = server.start(Path(name))

        @contextmanager
        def fresh() -> Iterator[Warehouse]:
            with psycopg.connect(running.url("postgres"), autocommit=True) as connection:
                connection.execute("drop database if exists bench with (force)")
                create_database(connection, "bench")
            migrations.apply(running.url("bench"))
            yield Warehouse(url=running.url("bench"))

        try:
            return measure(fresh)
        finally:
            server.stop(Path(name))


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "ingestion": lambda: _on_a_server(ingestion.run),
    "identity": lambda: _on_a_server(identity.run),
    "loop": loop.run,
    "attribution": attribution.run,
    "decisions": decisions.run,
    "gateway": gateway.run,
    "models": models.run,
}


def _machine() -> str:
    memory = round(psutil.virtual_memory().total / 2**30)
    return f"{os.cpu_count()} cores, {memory} GiB, {platform.system()}"


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def _say(name: str, figures: Mapping[str, Any], before: Mapping[str, Any] | None) -> None:
    for line in _lines({name: figures}):
        print(f"  {line.text()}")
    if name == "ingestion":
        print(
            f"  ingestion {figures['ingestion_seconds']} s, bare COPY {figures['copy_seconds']} s,"
            f" ratio {figures['ratio']:.2f}"
        )
    for key in TIMES.get(name, ()):
        if before and before.get(key):
            print(
                f"  {key}: {figures[key]} s, baseline {before[key]} s,"
                f" ratio {figures[key] / before[key]:.2f}"
            )


TIMES = {
    "attribution": ("seconds",),
    "ingestion": ("ingestion_seconds", "copy_seconds"),
    "identity": ("full_seconds", "day_seconds"),
    "loop": ("two_days_seconds", "third_day_seconds"),
    "decisions": ("seconds",),
    "models": ("day_seconds", "day_seconds_long"),
}


def _lines(parts: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    lines = []
    if figures := parts.get("ingestion"):
        lines.append(Line("speed against bare COPY", figures["ratio"], 0.5, "of it", at_least=True))
    if figures := parts.get("identity"):
        most = round(0.05 * figures["full_seconds"] + 3, 2)
        lines += [
            Line("person graph of 5 million observations", figures["full_seconds"], 45, "s"),
            Line("its peak memory", figures["peak_mebibytes"], 4096, "MiB"),
            Line("a day of 1 % more (5 % of that and 3 s)", figures["day_seconds"], most, "s"),
        ]
    if figures := parts.get("loop"):
        lines += [
            Line("loopdrive run --days 2", figures["two_days_seconds"], 120, "s"),
            Line("its peak memory", figures["peak_mebibytes"], 2048, "MiB"),
            Line(f"rehearsal of {REHEARSAL_DAYS} days, estimated", _rehearsal(figures), 900, "s"),
        ]
    if figures := parts.get("attribution"):
        lines.append(Line("attribution: its peak memory", figures["peak_mebibytes"], 1024, "MiB"))
        if "ratio" in figures:
            what = "attribution: ChannelAttribution's time, times ours"
            lines.append(Line(what, figures["ratio"], 8, "×", at_least=True))
    if figures := parts.get("decisions"):
        lines.append(Line("decisions: peak memory", figures["peak_mebibytes"], 2048, "MiB"))
        if "ratio" in figures:
            what = "decisions against MABWiser's predict"
            lines.append(Line(what, figures["ratio"], 10, "times as fast", at_least=True))
    if figures := parts.get("gateway"):
        lines += _gateway_lines(figures)
    if figures := parts.get("models"):
        lines += _model_lines(figures)
    return lines


def _gateway_lines(figures: Mapping[str, Any]) -> list[Line]:
    single, batch = figures["single_requests_per_second"], figures["batch_events_per_second"]
    return [
        Line("single events on the disk", single, 1_000, "requests/s", at_least=True),
        Line("their 99th percentile", figures["single_p99_milliseconds"], 50, "ms"),
        Line("events in batches on the disk", batch, 10_000, "events/s", at_least=True),
        Line("context look-up, 99th percentile", figures["context_p99_milliseconds"], 20, "ms"),
    ]


def _model_lines(figures: Mapping[str, Any]) -> list[Line]:
    long = f"{figures['factor']} times the history"
    return [
        Line(f"a day's models with {long}", figures["day_ratio"], 1.3, "of it"),
        Line("one person's context", figures["context_milliseconds"], 10, "ms"),
        *(
            Line(f"full refresh of {name} by hand's", figures[f"{name}_ratio"], 2, "of it")
            for name in models.REFRESHED
        ),
    ]


def _rehearsal(figures: Mapping[str, Any]) -> float:
    """Two days, and each further one as the third, with the command's own start each time."""
    further = (REHEARSAL_DAYS - 2) * figures["third_day_seconds"]
    return round(figures["two_days_seconds"] + further)


def page(found: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """The text of docs/benchmarks.md."""
    parts = found["parts"]
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    rows = "\n".join(
        f"| {line.what} | {line.value:,g} {line.unit} |"
        f" {'≥' if line.at_least else '≤'} {line.limit:,g} |"
        f" {'yes' if line.is_kept else '**no**'} |"
        for line in _lines(parts)
    )
    sections = [
        "# Benchmarks",
        "Written by `make bench`; the baselines it compares with are in `bench/baselines.json`"
        " (`python -m bench --save` makes today's figures the baselines).",
        f"Machine: {found['machine']}. {versions}. Single runs: take differences below 15 % as"
        " noise. Other work on the machine makes the figures worse than they are: the load"
        " averages of the minutes before and after each measurement stand beside it, and a"
        " `load_before` above 1 says that it was not alone.",
        f"| figure | measured | limit | kept |\n|---|---|---|---|\n{rows}",
        *(_section(name, figures, before) for name, figures in parts.items()),
    ]
    return "\n\n".join(sections) + "\n"


TEXTS = {
    "attribution": (
        "Attribution of a million journeys",
        "Markov (exact, order 1) with first, last and linear on one row per journey: random paths"
        " over 10 channels, 3.45 steps on average. Counting, solving and crediting, the best of"
        " three runs; reading the rows is left out. `ChannelAttribution` (heuristics and Markov,"
        " its defaults: Monte Carlo) runs on the same rows where it is installed (`pip install"
        " '.[bench]'`); where not, the time stands alone. `peak_mebibytes` is the measuring"
        " process with its imports and the paths.",
    ),
    "ingestion": (
        "Ingestion of Segment events",
        "JSON Lines of Segment messages (pages, product views, carts, orders, identify calls)"
        " through `ingestion.ingest`: parsed, typed, validated, deduplicated by id, partitioned."
        " The bare `COPY` streams the same rows, already in COPY's own text format, into the same"
        " tables with the same key, index and month partitions, in one transaction."
        " `peak_mebibytes` is the ingesting process alone.",
    ),
    "identity": (
        "The person graph",
        "Observed pairs of identifiers in Postgres tables, read, judged, partitioned and given"
        " person ids, verdicts and assignments written (`dagster_project.person_graph.resolve`):"
        " all of them into empty tables, then a day that adds one per cent. The graph has"
        " households, kiosks that hundreds used, and chains that the rules cut; a fifth of the"
        " observations repeat an edge. `peak_mebibytes` is the resolving process alone.",
    ),
    "loop": (
        "The loop on the simulated market",
        "`loopdrive run --days 2` in an empty folder: the embedded server is made, the market"
        " simulates its history, two days are played. Then one more day by a command of its own"
        " (with its start, about ten seconds of imports): what a day costs once the history is in."
        " `peak_mebibytes` is the command, its children and the server together. The rehearsal is"
        f" estimated as those two days and {REHEARSAL_DAYS - 2} further ones like the third; it was"
        " not played.",
    ),
    "decisions": (
        "Thompson decisions with propensities",
        "`ml.policy.choose` for a million persons over ten arms, each person with its own eligible"
        " arms (nine in ten), the posteriors of twelve personas: the arm, and the exact propensity"
        " of every arm. Bare draws are `numpy` Beta samples of the same posteriors with the"
        " greatest taken, without propensities. MABWiser, where it is installed (dependency group"
        " `bench`): Thompson sampling fitted to the posterior of one persona, one decision a"
        " `predict`, without propensities.",
    ),
    "gateway": (
        "The gateway",
        "`loopdrive gateway` on a simulated market that was played for a day; the load comes from"
        " a second process on loopback over kept connections, each sending its next request when"
        " the last one was answered, five seconds for each figure. Every event is synced to the"
        " disk before its answer, and counted in the files afterwards. A batch holds"
        f" {gateway.EVENTS_A_BATCH} events of about 500 bytes.",
    ),
    "models": (
        "The models of a day, and full refreshes",
        "10,000 events a day of persons who come, stay 30 days and go, made in the raw tables by"
        " arithmetic (`bench/model_history.py`). `day_seconds` sums what dbt reports for every"
        " model, seed and test of the day after `events` of history, `day_seconds_long` of the"
        " same day after `factor` times as many. Identities are given, their resolution is not"
        " measured here. Full refreshes are of the tables that a mart needs, indexes included,"
        " beside one statement written by hand over the same linked events"
        " (`bench/model_queries.py`); `context_milliseconds` is the median of reading one"
        " person's context by its key.",
    ),
}


def _section(name: str, figures: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    title, text = TEXTS[name]
    known = before.get("parts", {}).get(name, {})
    rows = "\n".join(
        f"| {key} | {_shown(figures[key])} | {_shown(known.get(key))} |" for key in figures
    )
    return f"## {title}\n\n{text}\n\n| | measured | baseline |\n|---|---|---|\n{rows}"


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
