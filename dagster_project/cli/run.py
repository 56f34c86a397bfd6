"""`loopdrive run` and `loopdrive rehearse`: the whole loop, day by day.

Keep out: what a day does (`defs/`) and the scorecard's arithmetic (`sandbox.scorecard`).
"""

import json
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import typer
import yaml
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from dagster_project import loop, providers, storage
from dagster_project.cli import report
from dagster_project.cli.app import Config, app, console, settings_of
from dagster_project.cli.memory import PeakMemory
from warehouse import (
    ConfigError,
    Settings,
    adopt_settings,
    business_time,
    load_settings,
    open_warehouse,
    server,
)


@app.command()
def run(
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            help="Business time of the last day, UTC unless it names a zone.",
            formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"],
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How many days, ending at as_of.")] = 1,
    config: Config = None,
) -> None:
    """Run the whole loop for one or more days."""
    settings = settings_of(config)
    started = time.monotonic()
    with PeakMemory(settings.home) as memory:
        warehouse = open_warehouse(settings)
        with warehouse.locked():
            planned = _planned_days(settings, as_of, days, business_time.current(warehouse))
            executed = play(planned, storage.instance(settings))
    report.summary(console, settings, warehouse, executed)
    console.print(f"[dim]{time.monotonic() - started:.0f} s, peak {memory.megabytes:.0f} MB[/dim]")


@app.command()
def rehearse(
    people: Annotated[int, typer.Option(min=50, help="People in the simulated market.")] = 2000,
    days: Annotated[int, typer.Option(min=1, help="Days to play.")] = 14,
    seed: Annotated[int, typer.Option(help="Seed of the market.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scorecard as JSON.")] = False,
) -> None:
    """Play a simulated market with known truth in a throw-away workspace, and score the loop."""
    home = Path(tempfile.mkdtemp(prefix="loopdrive-rehearsal-"))
    try:
        card = rehearsal(home, people, days, seed)
    finally:
        server.stop(home / ".loopdrive")
        shutil.rmtree(home, ignore_errors=True)
    if as_json:
        print(json.dumps(card))
    else:
        report.scorecard(console, card)


def rehearsal(folder: Path, people: int, days: int, seed: int) -> dict[str, Any]:
    """Play `days` in `folder` and return the scorecard, with seconds and peak memory."""
    started = time.monotonic()
    settings = _rehearsal_settings(folder, people, seed)
    last = settings.as_of
    assert last is not None
    with PeakMemory(settings.home) as memory:
        warehouse = open_warehouse(settings)
        planned = business_time.days_ending(last, days, settings.time_zone)
        play(planned, dg.DagsterInstance.ephemeral())
        card = providers.score(settings, warehouse, last)
    return card | {
        "seconds": round(time.monotonic() - started, 1),
        "peak_memory_mb": round(memory.megabytes),
    }


def play(planned: list[datetime], instance: dg.DagsterInstance) -> list[loop.Day]:
    """Execute the daily job for each moment, showing progress; returns what ran."""
    job = loop.definitions().resolve_job_def("daily_loop")
    steps = len(job.all_node_defs)
    executed = []
    with _progress() as bar:
        task = bar.add_task("starting", total=steps * len(planned))
        for number, as_of in enumerate(planned, start=1):
            label = f"day {number}/{len(planned)} {as_of:%Y-%m-%d}"

            def show(step: str, is_done: bool, label: str = label) -> None:
                bar.update(task, advance=int(is_done), description=f"{label}  {step}")

            executed.append(loop.execute(job, instance, as_of, show))
        bar.update(task, completed=steps * len(planned), description="done")
    return executed


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<52}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=console,
        transient=not console.is_terminal,
    )


def _planned_days(
    settings: Settings, as_of: datetime | None, days: int, last: datetime | None
) -> list[datetime]:
    end = as_of or settings.as_of or _now()
    if end.tzinfo is None:
        end = end.replace(tzinfo=UTC)
    wanted = business_time.days_ending(end, days, settings.time_zone)
    if last is None:
        return wanted
    if end < last:
        raise ConfigError(
            f"as_of {end.isoformat()} lies before this workspace's last one, {last.isoformat()}; "
            "to replay history use `loopdrive rehearse`"
        )
    gone = [day for day in wanted if day < last]
    if gone:
        names = ", ".join(f"{day:%Y-%m-%d}" for day in gone)
        console.print(f"already played, skipped: {names}")
    return [day for day in wanted if day >= last]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _rehearsal_settings(folder: Path, people: int, seed: int) -> Settings:
    market = load_settings(None, environ={"LOOPDRIVE_HOME": str(folder)})
    config = yaml.safe_load(market.config_path.read_text(encoding="utf-8"))
    config["simulation"] |= {"people": people, "seed": seed}
    config["workspace"] = "rehearsal"
    path = folder / "loopdrive.yml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    settings = load_settings(path, environ={})
    adopt_settings(settings)
    return settings
