"""`loopdrive review`: the human queue.

Keep out: what a decision changes (`activations.reviews`).
"""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from activations import reviews
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
    report.reviews(console, reviews.open_reviews(open_warehouse(settings_of(config))))


@review_app.command()
def approve(review: Review, note: Note = "", config: Config = None) -> None:
    """Approve exactly what was shown: the content's hash is checked."""
    _decide(review, "approved", note, config)


@review_app.command()
def reject(review: Review, note: Note = "", config: Config = None) -> None:
    """Reject it."""
    _decide(review, "rejected", note, config)


def _decide(prefix: str, decision: reviews.Decision, note: str, config: Path | None) -> None:
    warehouse = open_warehouse(settings_of(config))
    with warehouse.locked():
        as_of = business_time.current(warehouse)
        found = [r for r in reviews.open_reviews(warehouse) if r["review_id"].startswith(prefix)]
        if as_of is None or len(found) != 1:
            raise reviews.ReviewError(
                f"{len(found)} open reviews begin with {prefix}; `loopdrive review list` has them"
            )
        row = found[0]
        reviews.decide(
            warehouse, row["review_id"], decision, getpass.getuser(), as_of, row["seen"], note
        )
    console.print(f"{row['kind']} {row['subject_id']} {decision}", highlight=False)
