"""`loopdrive simulate`, `loopdrive switch`: other guardrails tried on the past, and the stop.

Keep out: judging (`activations`).
"""

import getpass
import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from activations import programs, simulation, switches
from dagster_project.cli import report
from dagster_project.cli.app import Config, app, console, settings_of
from warehouse import ConfigError, Settings, Warehouse, business_time, open_warehouse

switch_app = typer.Typer(help="Stop a program, a channel or everything, now.", no_args_is_help=True)
app.add_typer(switch_app, name="switch")

Program = Annotated[str | None, typer.Option(help="A program, for example win_back.")]
Channel = Annotated[str | None, typer.Option(help="A channel, for example sms.")]


@app.command()
def simulate(
    guardrails: Annotated[
        Path, typer.Option(help="YAML with the keys of the configuration's `guardrails` section.")
    ],
    days: Annotated[int, typer.Option(min=1, help="How many of the last days.")] = 28,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: Config = None,
) -> None:
    """The last days under other guardrails: sends lost and gained, and their worth."""
    settings = settings_of(config)
    other = programs.house_file(guardrails)
    warehouse = open_warehouse(settings)
    until = business_time.current(warehouse)
    if until is None:
        raise ConfigError("nothing was decided yet: `loopdrive run` comes first")
    found = simulation.simulate(warehouse, programs.load_all(settings.programs), other, until, days)
    if as_json:
        print(json.dumps(asdict(found), default=str))
    else:
        report.simulated(console, found)


@switch_app.command("off")
def switch_off(
    reason: Annotated[str, typer.Option(help="Why; kept with the switch.")],
    program: Program = None,
    channel: Channel = None,
    config: Config = None,
) -> None:
    """Stop at once; without an option, everything. What falls due meanwhile is skipped."""
    settings = settings_of(config)
    kind, name = _what(settings, program, channel)
    warehouse, at = _opened(settings)
    is_new = switches.turn_off(warehouse, kind, name, reason, getpass.getuser(), at)
    console.print(f"{_said(kind, name)} {'is off' if is_new else 'was off already'}")


@switch_app.command("on")
def switch_on(program: Program = None, channel: Channel = None, config: Config = None) -> None:
    """Let it go on."""
    settings = settings_of(config)
    kind, name = _what(settings, program, channel)
    warehouse, at = _opened(settings)
    switches.turn_on(warehouse, kind, name, getpass.getuser(), at)
    console.print(f"{_said(kind, name)} is on")


@switch_app.command("list")
def switch_list(config: Config = None) -> None:
    """What is off."""
    report.switches(console, switches.standing(open_warehouse(settings_of(config))))


def _opened(settings: Settings) -> tuple[Warehouse, datetime]:
    warehouse = open_warehouse(settings)
    at = business_time.current(warehouse)
    if at is None:
        raise ConfigError("nothing was decided yet: `loopdrive run` comes first")
    return warehouse, at


def _what(
    settings: Settings, program: str | None, channel: str | None
) -> tuple[switches.Kind, str]:
    if program is not None and channel is not None:
        raise switches.SwitchError("give a program or a channel; two switches are two commands")
    if program is not None:
        return "program", programs.load(program).program
    known = programs.channels(settings.programs)
    if channel is not None and channel not in known:
        raise switches.SwitchError(f"no channel `{channel}`; there are {', '.join(known)}")
    return ("channel", channel) if channel is not None else ("everything", "")


def _said(kind: str, name: str) -> str:
    return "everything" if kind == "everything" else f"{kind} {name}"
