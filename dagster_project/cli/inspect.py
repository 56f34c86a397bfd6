"""Looking: `sql`, `explain`, `audit verify`.

Keep out: changing anything.
"""

import csv
import json
import sys
from typing import Annotated

import psycopg
import typer
from rich.table import Table

from dagster_project.cli import report
from dagster_project.cli.app import Config, app, console, settings_of
from warehouse import ConfigError, open_warehouse

audit_app = typer.Typer(help="The chained audit log.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One select statement.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config: Config = None,
) -> None:
    """Query the warehouse as the analyst role, which cannot read behind the wall."""
    warehouse = open_warehouse(settings_of(config))
    try:
        names, rows = warehouse.query_as_analyst(query)
    except psycopg.Error as error:
        raise ConfigError(str(error).strip().splitlines()[0]) from error
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows(rows)
    elif as_json:
        for row in rows:
            print(json.dumps(dict(zip(names, row, strict=True)), default=str))
    else:
        table = Table(*names)
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row))
        console.print(table)
        console.print(f"[dim]{len(rows)} rows[/dim]")


@app.command()
def explain(
    person: Annotated[str, typer.Argument(help="A person_id.")],
    config: Config = None,
) -> None:
    """One person's story: identifiers, chronology, scores, decisions, messages, money."""
    from activations import explain as story

    settings = settings_of(config)
    report.story(console, story.explain(open_warehouse(settings), person))


@audit_app.command("verify")
def audit_verify(config: Config = None) -> None:
    """Compute the hash chain anew from the rows, and print its head."""
    from activations import audit

    verdict = audit.verify(open_warehouse(settings_of(config)))
    report.audit(console, verdict)
    if not verdict.is_intact:
        raise typer.Exit(1)
