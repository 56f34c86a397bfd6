"""`loopdrive review`: the human queue.

Keep out: what a decision changes (`activations.reviews`).
"""

import getpass
from typing import Annotated

import typer

from dagster_project.cli import report
from dagster_project.cli.app import Config, app, console, settings_of
from warehouse import business_time, open_warehouse

review_app = typer.Typer(help="What waits for a person's decision.", no_args_is_help=True)
app.add_typer(review_app, name="review")

Review = Annotated[str, typer.Argument(help="A review_id, or its first characters.")]
Note = Annotated[str, typer.Option(help="Why; kept with the decision.")]


@review_app.command("list")
def list_open(config: Config = None) -> None:
    """What waits."""
    from activations import reviews

    report.reviews(console, reviews.waiting(open_warehouse(settings_of(config))))


@review_app.command()
def approve(review: Review, note: Note = "", config: Config = None) -> None:
    """Approve exactly what was shown: the content's hash is checked."""
    _decide(review, "approved", note, config)


@review_app.command()
def reject(review: Review, note: Note = "", config: Config = None) -> None:
    """Reject it."""
    _decide(review, "rejected", note, config)


def _decide(review: str, decision: str, note: str, config: Config) -> None:
    from activations import reviews

    warehouse = open_warehouse(settings_of(config))
    with warehouse.locked():
        as_of = business_time.current(warehouse)
        decided = reviews.decide(warehouse, review, decision, getpass.getuser(), note, as_of)
    console.print(f"{decided} {decision}")
