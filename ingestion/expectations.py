"""What a source's latest files must look like: Great Expectations suites over a few figures.

Belongs here: the suites, and the frame of figures they are held against.
Keep out: rows. Postgres condenses the delta to one row of numbers and only that reaches the
suite, so that no unexpected value can reach a result, a log or a page.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from ingestion import engine
from warehouse import Warehouse

DAY_HOURS = 24.0


@dataclass(frozen=True)
class Promise:
    """One expectation: a figure of the delta lies between two bounds. Severe ones block."""

    name: str
    figure: str
    at_least: float | None = None
    at_most: float | None = None
    is_severe: bool = False


@dataclass(frozen=True)
class CheckResult:
    """One check. `observed`: the figure, None when the delta has none, and its bounds."""

    name: str
    passed: bool
    severe: bool
    observed: dict[str, float | None]


# What raw.batches says of the files of the last run that loaded any, whatever the source.
OF_ALL = (
    Promise("latest_files_brought_rows", "rows_read", at_least=1),
    Promise("few_rows_are_refused", "reject_share", at_most=0.05),
    Promise("no_file_is_held", "held_count", at_most=0),
    Promise("no_file_failed", "failed_count", at_most=0),
)
NO_RATE = Promise("every_currency_has_a_rate", "without_rate_count", at_most=0, is_severe=True)
NOT_AHEAD = Promise("little_is_later_than_as_of", "after_as_of_share", at_most=0.01)

SUITES: dict[str, tuple[Promise, ...]] = {
    "segment": (
        Promise("events_are_fresh", "age_hours", at_most=1.5 * DAY_HOURS),
        Promise("events_name_somebody", "unidentified_share", at_most=0.5, is_severe=True),
        Promise("types_are_snake_case", "malformed_type_count", at_most=0, is_severe=True),
        Promise("page_views_have_an_address", "page_without_url_share", at_most=0.2),
        Promise("orders_are_complete", "incomplete_order_share", at_most=0.05, is_severe=True),
        NOT_AHEAD,
        NO_RATE,
    ),
    "order_lines": (
        # Longer than any shop is closed over Christmas.
        Promise("orders_are_fresh", "age_hours", at_most=14 * DAY_HOURS),
        Promise("most_lines_have_a_customer", "without_customer_share", at_most=0.5),
        Promise("lines_have_a_product", "without_product_share", at_most=0.05, is_severe=True),
        Promise("prices_are_not_negative", "negative_price_share", at_most=0.001),
        Promise("credit_notes_are_the_exception", "credit_note_share", at_most=0.25),
        Promise("credit_notes_take_back", "positive_credit_count", at_most=0),
        NO_RATE,
    ),
    "crm_contacts": (
        Promise("contacts_are_fresh", "age_hours", at_most=30 * DAY_HOURS),
        Promise("contacts_can_be_reached", "unreachable_share", at_most=0.5, is_severe=True),
        Promise("contact_points_are_usable", "unusable_contact_point_share", at_most=0.05),
        Promise("contacts_have_a_country", "without_country_share", at_most=0.5),
        NOT_AHEAD,
    ),
    "crm_consents": (
        Promise("consents_are_fresh", "age_hours", at_most=30 * DAY_HOURS),
        Promise("consents_say_yes_or_no", "unknown_status_share", at_most=0.5),
        Promise("consents_name_their_law", "without_regulation_share", at_most=0.5),
        Promise("grants_have_evidence", "grant_without_evidence_share", at_most=0.5),
        NOT_AHEAD,
    ),
    "crm_deals": (
        Promise("deals_are_fresh", "age_hours", at_most=30 * DAY_HOURS),
        Promise("deals_have_a_contact", "without_contact_share", at_most=0.5),
        Promise("contacts_of_deals_are_known", "unknown_contact_share", at_most=0.05),
        Promise("deals_close_after_they_open", "closed_before_open_count", at_most=0),
        Promise("amounts_are_not_negative", "negative_amount_count", at_most=0),
    ),
    "products": (
        Promise("products_have_a_price", "without_price_share", at_most=0.2),
        Promise("prices_are_not_negative", "negative_price_count", at_most=0, is_severe=True),
        Promise("products_have_a_category", "without_category_share", at_most=0.5),
    ),
    "ad_spend": (
        Promise("spend_is_fresh", "age_hours", at_most=3 * DAY_HOURS),
        Promise("spend_is_not_negative", "negative_spend_count", at_most=0, is_severe=True),
        Promise("clicks_need_impressions", "excess_clicks_count", at_most=0),
        Promise("platforms_are_known", "unknown_platform_count", at_most=0),
        NO_RATE,
    ),
    "currency_rates": (
        Promise("rates_are_fresh", "age_hours", at_most=7 * DAY_HOURS),
        Promise("own_currency_is_one", "own_rate_not_one_count", at_most=0, is_severe=True),
    ),
    "provider_events": (
        Promise("provider_events_are_fresh", "age_hours", at_most=3 * DAY_HOURS),
        Promise("events_belong_to_a_message", "without_message_share", at_most=0.2),
        Promise("messages_of_events_are_known", "unknown_message_share", at_most=0.01),
        Promise("types_are_known", "unknown_type_count", at_most=0),
    ),
}


def promises(source_kind: str) -> tuple[Promise, ...]:
    """The suite of a kind. Raises KeyError for a kind that has none."""
    # Before the first message there is nothing that a provider could report.
    of_all = OF_ALL[1:] if source_kind == "provider_events" else OF_ALL
    return of_all + SUITES[source_kind]


def check(
    warehouse: Warehouse,
    source_kind: str,
    as_of: datetime,
    *,
    names: Collection[str] | None = None,
) -> list[CheckResult]:
    """Hold the files of the source's latest run against its suite.

    `names`: the sources of that kind as raw.batches names them; the kind itself when None.
    Cost follows the delta, not the history. Great Expectations is imported here: it takes
    seconds. Raises KeyError for a kind that has no suite.
    """
    suite = promises(source_kind)
    figures = _figures(warehouse, source_kind, as_of, sorted(names or (source_kind,)))
    return _validated(source_kind, suite, figures)


def prepare() -> None:
    """Import Great Expectations, which takes seconds, before the first check needs it."""
    import great_expectations  # noqa: F401


def _figures(
    warehouse: Warehouse, source_kind: str, as_of: datetime, names: list[str]
) -> dict[str, float | None]:
    row = warehouse.rows(
        """
        with latest as (
            select max(started_at) as started_at from raw.batches
            where source = any(%(names)s) and status = 'loaded'
        )
        select
            coalesce(sum(rows_read) filter (where status = 'loaded'), 0)::float8 as rows_read,
            coalesce(
                sum(rows_rejected) filter (where status = 'loaded')::float8
                / nullif(sum(rows_read) filter (where status = 'loaded'), 0),
                0
            ) as reject_share,
            count(*) filter (where status = 'held')::float8 as held_count,
            count(*) filter (where status = 'failed')::float8 as failed_count,
            array_agg(batch_id) filter (where status = 'loaded') as batches
        from raw.batches
        where
            source = any(%(names)s)
            and started_at >= coalesce((select started_at from latest), started_at)
        """,
        names=names,
    )[0]
    batches = row.pop("batches") or []
    if not batches:
        return row
    return (
        row
        | warehouse.rows(
            engine.statement(f"checks/{source_kind}"),
            as_of=as_of,
            batches=batches,
            first=min(batches),
            last=max(batches),
        )[0]
    )


def _validated(
    source_kind: str, suite: tuple[Promise, ...], figures: dict[str, float | None]
) -> list[CheckResult]:
    import great_expectations as gx
    import pandas as pd
    from great_expectations import expectations as gxe
    from great_expectations.expectations.metadata_types import FailureSeverity

    # Without a figure (no row in the delta) there is nothing to hold a promise against.
    stated = [promise for promise in suite if figures.get(promise.figure) is not None]
    frame = pd.DataFrame([{promise.figure: figures[promise.figure] for promise in stated}])
    expectations = gx.ExpectationSuite(
        name=source_kind,
        expectations=[
            gxe.ExpectColumnValuesToBeBetween(
                column=promise.figure,
                min_value=promise.at_least,
                max_value=promise.at_most,
                severity=(
                    FailureSeverity.CRITICAL if promise.is_severe else FailureSeverity.WARNING
                ),
                meta={"name": promise.name},
            )
            for promise in stated
        ],
    )
    batch = _context().data_sources.pandas_default.read_dataframe(frame)
    outcome = batch.validate(expectations, result_format="BOOLEAN_ONLY")
    passed = {
        result.expectation_config.meta["name"]: bool(result.success) for result in outcome.results
    }
    return [
        _result(promise, figures.get(promise.figure), passed.get(promise.name, True))
        for promise in suite
    ]


@cache
def _context() -> Any:
    """A context in memory that reports to nobody and draws no progress bar."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _result(promise: Promise, figure: float | None, passed: bool) -> CheckResult:
    bounds = {"at_least": promise.at_least, "at_most": promise.at_most}
    observed = {promise.figure: figure} | {k: v for k, v in bounds.items() if v is not None}
    return CheckResult(promise.name, passed, promise.is_severe, observed)
