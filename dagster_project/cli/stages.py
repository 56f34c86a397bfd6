"""One stage of the loop at the workspace's current business time.

Keep out: the whole day (`run.py`). A stage is the daily job over some groups of assets.
"""

from pathlib import Path
from typing import Annotated

import dagster as dg
import typer

from dagster_project import loop, storage
from dagster_project.cli.app import Config, app, console, settings_of
from warehouse import ConfigError, business_time, open_warehouse

GROUPS = {
    "build": ("staging", "identity", "marts", "features", "activation"),
    "learn": ("ml",),
    "decide": ("decide",),
    "send": ("send",),
    "budgets": ("budget",),
    "conversions": ("conversion",),
}


@app.command()
def ingest(
    accept: Annotated[
        int | None, typer.Option("--accept", help="Load a batch that was held, by its number.")
    ] = None,
    config: Config = None,
) -> None:
    """Load new files of every source; or take a held batch."""
    if accept is None:
        _stage("ingest", ("raw", "settle"), config)
        return
    from datetime import UTC, datetime

    import ingestion

    settings = settings_of(config)
    warehouse = open_warehouse(settings)
    with warehouse.locked():
        result = ingestion.accept(warehouse, settings, accept, now=datetime.now(UTC))
    console.print(
        f"{result.location}: {result.rows_loaded} loaded, {result.rows_duplicate} duplicate, "
        f"{result.rows_rejected} rejected"
    )


@app.command()
def build(config: Config = None) -> None:
    """Transform: staging, identity, marts, features, activation."""
    _stage("build", GROUPS["build"], config)


@app.command()
def learn(config: Config = None) -> None:
    """Train what is due and score everybody."""
    _stage("learn", GROUPS["learn"], config)


@app.command()
def decide(config: Config = None) -> None:
    """Decide for every open opportunity and plan messages."""
    _stage("decide", GROUPS["decide"], config)


@app.command()
def send(config: Config = None) -> None:
    """Dispatch what is due in the outbox."""
    _stage("send", GROUPS["send"], config)


@app.command()
def budgets(config: Config = None) -> None:
    """Propose, approve by rule and push daily ad budgets."""
    _stage("budgets", GROUPS["budgets"], config)


@app.command()
def conversions(config: Config = None) -> None:
    """Upload conversions to the ad platforms."""
    _stage("conversions", GROUPS["conversions"], config)


def _stage(name: str, groups: tuple[str, ...], config: Path | None) -> None:
    settings = settings_of(config)
    warehouse = open_warehouse(settings)
    with warehouse.locked():
        last = business_time.current(warehouse)
        as_of = last or (settings.as_of if name == "ingest" else None)
        if as_of is None:
            raise ConfigError("this workspace has no day yet; start with `loopdrive run`")
        job = loop.definitions().resolve_job_def("daily_loop")
        day = loop.execute(job, storage.instance(settings), as_of, _print, assets_of(job, groups))
    for warning in day.warnings:
        console.print(f"check failed: {warning}", style="yellow")


def assets_of(job: dg.JobDefinition, groups: tuple[str, ...]) -> list[dg.AssetKey]:
    """The assets of some groups, with those that one step makes together with them.

    The person graph writes to `ml` and is a part of `build`.
    """
    graph = job.asset_layer.asset_graph
    keys = [
        key
        for key in job.asset_layer.executable_asset_keys
        if job.asset_layer.get(key).group_name in groups
        and not (groups == GROUPS["learn"] and key.path[-1].startswith("identity_"))
    ]
    chosen = dg.AssetSelection.assets(*keys).required_multi_asset_neighbors()
    return sorted(chosen.resolve(graph))


def _print(step: str, is_done: bool) -> None:
    if is_done:
        console.print(f"  done  {step}", highlight=False)
