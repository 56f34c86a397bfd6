"""`loopdrive identity`: what people do with the person graph.

Keep out: what it does (`identity_operations.py`).
"""

import getpass
import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from activations import unmerging
from activations.link_rules import Action
from dagster_project import identity_operations as operations
from dagster_project.cli import report
from dagster_project.cli.app import Config, app, console, settings_of
from warehouse import ConfigError, Warehouse, business_time, open_warehouse

identity_app = typer.Typer(
    help="Who is who: link, unlink, undo a merge, preview rules.", no_args_is_help=True
)
app.add_typer(identity_app, name="identity")

Left = Annotated[str, typer.Argument(help="An identifier as type:value.")]
Right = Annotated[str, typer.Argument(help="Another identifier as type:value.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the rule.")]
NEXT = "applied by the next `loopdrive build` or `loopdrive run`"


@identity_app.command()
def link(left: Left, right: Right, reason: Reason = "", config: Config = None) -> None:
    """Say that two identifiers are one person, whatever the guards think."""
    _rule("include", left, right, reason, config)


@identity_app.command()
def unlink(left: Left, right: Right, reason: Reason = "", config: Config = None) -> None:
    """Say that two identifiers are never one person, over whatever path."""
    _rule("exclude", left, right, reason, config)


@identity_app.command()
def merges(
    limit: Annotated[int, typer.Option(help="How many, the latest first.")] = 20,
    config: Config = None,
) -> None:
    """Merges that stand, and over which kinds of identifiers they came about."""
    report.merges(console, unmerging.listed(open_warehouse(settings_of(config)), limit))


@identity_app.command()
def undo(
    merge: Annotated[str, typer.Argument(help="A merge_id, or its first characters.")],
    config: Config = None,
) -> None:
    """Undo a merge: the two persons get their ids, events, orders and figures back."""
    warehouse = open_warehouse(settings_of(config))
    with warehouse.locked():
        undone = operations.undo(warehouse, merge, getpass.getuser(), _now(warehouse))
    console.print(
        f"merge {undone.merge.merge_id} undone: {undone.rules} exclude rules, {NEXT}",
        highlight=False,
    )
    console.print(
        f"  {undone.delivery.messages_skipped} open messages skipped as {unmerging.REASON}, "
        f"{undone.delivery.assignments_restored} experiment groups given back",
        highlight=False,
    )


@identity_app.command()
def preview(
    rules: Annotated[
        Path, typer.Option(help="YAML: `identity` as in the configuration, and `link_rules`.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: Config = None,
) -> None:
    """What other rules would merge, split and move. Changes nothing."""
    settings = settings_of(config)
    warehouse = open_warehouse(settings)
    found = operations.preview(warehouse, settings, rules, _now(warehouse))
    if as_json:
        print(json.dumps(found))
    else:
        report.preview(console, found, settings.currency)


@identity_app.command()
def picture(
    person: Annotated[str, typer.Argument(help="A person_id.")],
    to: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("person.png"),
    config: Config = None,
) -> None:
    """Draw what makes one person: identifiers by kind, and the edges that link them or do not."""
    from ml import plots

    edges = operations.edges_of(open_warehouse(settings_of(config)), person)
    to.write_bytes(plots.person_edges(edges))
    console.print(f"{len(edges)} edges drawn in {to}", highlight=False)


def _rule(action: Action, left: str, right: str, reason: str, config: Path | None) -> None:
    warehouse = open_warehouse(settings_of(config))
    with warehouse.locked():
        written = operations.rule(
            warehouse, action, (left, right), getpass.getuser(), reason, _now(warehouse)
        )
    state = "written" if written.is_new else "was there already"
    ended = f", {written.withdrawn} contrary rule withdrawn" if written.withdrawn else ""
    console.print(f"{action} rule {written.rule_id} {state}{ended}; {NEXT}", highlight=False)


def _now(warehouse: Warehouse) -> datetime:
    as_of = business_time.current(warehouse)
    if as_of is None:
        raise ConfigError("this workspace has no day yet; start with `loopdrive run`")
    return as_of
