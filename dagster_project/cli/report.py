"""How the command line shows things: tables, figures and where to look next.

Keep out: queries and arithmetic; rows come in, lines go out.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from activations.audit import Verification
from activations.explain import Story
from activations.simulation import Change, Simulation
from dagster_project.loop import Day
from warehouse import Settings, Warehouse
from warehouse.diagnosis import Finding
from warehouse.summary import Rows, summarise

SHORT_ID = 12


def summary(
    console: Console, settings: Settings, warehouse: Warehouse, executed: Sequence[Day]
) -> None:
    """What the run did and where to look next."""
    figures = summarise(warehouse)
    simulated = {"market": " · simulated", "orders": " · real orders, the rest simulated"}
    kind = settings.simulation.kind if settings.simulation else ""
    world = simulated.get(kind, "")
    console.rule(f"{settings.workspace} at {figures.as_of:%Y-%m-%d %H:%M} UTC{world}")
    _table(console, "Ingested", figures.sources)
    _table(console, "Not loaded", figures.trouble)
    _table(console, "Persons", figures.persons)
    _table(console, "Models", [_model_row(row) for row in figures.models])
    _table(console, "Decisions by assignment", figures.decisions)
    _table(console, "Messages by status and reason", figures.messages)
    _table(console, "Daily budgets", figures.budgets)
    _table(console, "Conversions", figures.conversions)
    for row in figures.audit:
        console.print(f"[bold]Audit head[/bold] #{row['sequence']} {row['hash']}")
    for day in executed:
        for warning in day.warnings:
            console.print(f"check failed on {day.as_of:%Y-%m-%d}: {warning}", style="yellow")
    _where_next(console, settings)


def _model_row(row: Mapping[str, Any]) -> dict[str, Any]:
    published = "published" if row["gate"] == "passed" else "refused"
    return {"model": row["model"], "scores": published, "reason": row["reason"]}


def _where_next(console: Console, settings: Settings) -> None:
    simulated = settings.simulation is not None
    if simulated and settings.simulation is not None and settings.simulation.kind == "orders":
        console.print(
            "[dim]Orders are real. Contact cards, consents, visits, ads and answers are "
            "simulated.[/dim]"
        )
    elif simulated:
        console.print("[dim]People, orders, ads and answers are simulated.[/dim]")
    config = "" if settings.config_path.name == "market.yml" else f" --config {_shown(settings)}"
    console.print("[bold]Where to look next[/bold]")
    console.print(f"  make dev{config.replace(' --config ', ' CONFIG=')}", highlight=False)
    query = "select program, assignment, arm, messages, clicks from marts.program_results"
    console.print(f'  loopdrive sql{config} "{query}"', highlight=False, soft_wrap=True)
    console.print(f"  loopdrive explain{config} PERSON", highlight=False)
    console.print(f"  loopdrive audit verify{config}", highlight=False)


def _shown(settings: Settings) -> str:
    from pathlib import Path

    try:
        return str(settings.config_path.relative_to(Path.cwd()))
    except ValueError:
        return str(settings.config_path)


def findings(console: Console, found: Sequence[Finding]) -> None:
    """The diagnosis, line by line."""
    for finding in found:
        mark = "[yellow]look[/yellow]  " if finding.is_warning else "[green]ok[/green]    "
        mark = "[red]broken[/red]" if finding.is_broken else mark
        console.print(f"{mark}  [bold]{finding.topic:<14}[/bold] ", end="")
        console.print(finding.text, markup=False, highlight=False, soft_wrap=True)


def scorecard(console: Console, card: Mapping[str, Any]) -> None:
    """The rehearsal's scores against the simulated truth."""
    table = Table("score", "value", title="Against the simulated truth")
    for name, value in card.items():
        if name in ("refused", "attribution_error_by_model"):
            continue
        table.add_row(name, _cell(value))
    for model, error in (card.get("attribution_error_by_model") or {}).items():
        table.add_row(f"attribution_error · {model}", _cell(error))
    console.print(table)
    for name, reason in card.get("refused", {}).items():
        console.print(f"  {name}: {reason}", style="yellow", highlight=False)


def audit(console: Console, verdict: Verification) -> None:
    """The audit chain's verdict and head."""
    if verdict.is_intact:
        text = f"intact, {verdict.entries} entries"
    else:
        text = f"BROKEN at entry {verdict.broken_at}: {verdict.reason}"
    console.print(f"audit chain: {text}", style="green" if verdict.is_intact else "bold red")
    console.print(f"head {verdict.head}", highlight=False, soft_wrap=True)


def reviews(console: Console, waiting: Rows) -> None:
    """The open reviews."""
    if not waiting:
        console.print("nothing waits for a review")
    _table(console, "Waiting", waiting)


def simulated(console: Console, found: Simulation) -> None:
    """The last days under other guardrails; nothing was changed."""
    console.rule(
        f"{found.since:%Y-%m-%d} to {found.until:%Y-%m-%d} under other guardrails, "
        f"{found.run_count} runs"
    )
    console.print(
        f"messages sent: {found.sends_before:,} under the present rules, "
        f"{found.sends_after:,} under these",
        highlight=False,
    )
    _table(console, "Lost and gained", [_change_row(change) for change in found.changes])
    for program, worth in sorted(found.worths.items()):
        text = "no reward has matured yet, so no value is told"
        if worth is not None:
            text = (
                f"{worth.mean:.4g} {worth.unit} a message ({worth.lower:.4g} to "
                f"{worth.upper:.4g}), from {worth.matured_count:,} matured"
            )
        console.print(f"[dim]{program}: {text}[/dim]", highlight=False)
    console.print(
        f"[dim]Under the present rules the replay ends as it really went for "
        f"{found.agreeing_count:,} of {found.occasion_count:,} occasions. "
        "Nothing was changed.[/dim]",
        highlight=False,
    )


def _change_row(change: Change) -> dict[str, Any]:
    told = None
    if change.value is not None:
        told = (
            f"{change.value:+,.4g} {change.unit} "
            f"({change.value_lower:+,.4g} to {change.value_upper:+,.4g})"
        )
    return {
        "program": change.program,
        "reason": change.reason,
        "lost": change.sends_lost,
        "gained": change.sends_gained,
        "value, 95 %": told,
    }


def switches(console: Console, standing: Rows) -> None:
    """What is switched off."""
    if not standing:
        console.print("nothing is switched off")
    _table(console, "Switched off", standing)


def merges(console: Console, standing: Rows) -> None:
    """Merges that stand; ids by their beginning, which is all that `undo` needs."""
    if not standing:
        console.print("no merges stand")
    ids = ("merge_id", "survivor", "absorbed")
    short = [row | {name: row[name][:SHORT_ID] for name in ids} for row in standing]
    _table(console, "Merges", short)


def preview(console: Console, figures: Mapping[str, Any], currency: str) -> None:
    """What other rules would change; nothing was changed."""
    rows = [
        {
            "what": name.replace("_", " "),
            "count": f"{value:,.2f} {currency}" if name.startswith("revenue") else f"{value:,}",
        }
        for name, value in figures.items()
    ]
    _table(console, "Under these rules", rows)
    console.print("[dim]Nothing was changed.[/dim]")


def story(console: Console, told: Story) -> None:
    """One person's story, part by part."""
    console.rule(f"person {told.person_id}")
    if told.absorbed:
        console.print(f"absorbed: {', '.join(told.absorbed)}", highlight=False)
    for name, rows in vars(told).items():
        if name not in ("person_id", "absorbed"):
            _table(console, name.capitalize(), rows)


def _table(console: Console, title: str, rows: Rows) -> None:
    if not rows:
        return
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return str(value)
