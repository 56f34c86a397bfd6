"""Replaying paths: given conversions with their touches, what does attribution make of them?

Belongs here: the tables that attribution reads, filled by hand. Keep out: expectations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa

from tests.dbt_project.dbt_building import run_dbt, set_business_time
from warehouse import Warehouse

TABLES = """
    create schema if not exists marts;
    create table marts.orders (
        order_id text, person_id text, kind text, ordered_at timestamptz, ordered_date date,
        revenue_amount numeric, refund_amount numeric, country text, refunded_order_id text
    );
    create table identity.int_orders_linked (order_id text, ordered_at timestamptz);
    create table identity.profiles (person_id text, country text);
    create table marts.int_person_personas_dated (
        person_id text, persona_id text, since_at timestamptz
    );
    create table marts.touchpoints (
        touchpoint_id text, person_id text, touched_at timestamptz, channel text, program text,
        campaign text, kind text, cost_amount numeric, batch_id bigint
    );
    create table identity.int_persons_touched (
        person_id text, fingerprint uuid, batch_id bigint
    );
"""

STAGED = ("stg_ml__channel_removal_effects", "stg_ml__channel_coalitions", "stg_raw__workspace")
VIEWS = (
    "int_conversions_valued", "int_touches_stepped", "int_paths_numbered", "int_paths_counted",
    "int_months_closed",
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One visit of a path."""

    channel: str
    touched_at: datetime


@dataclass(frozen=True)
class Journey:
    """One conversion of one person with every visit known of them."""

    conversion_id: str
    revenue: str
    steps: Sequence[Step]
    converted_at: datetime


def replay_paths(warehouse: Warehouse, folder: Path, paths: Sequence[Journey]) -> None:
    """Fill what attribution reads, each path a person of its own, and build it."""
    warehouse.execute(TABLES)
    warehouse.execute(
        "create table public.incoming (order_id text, revenue text, converted_at timestamptz)"
    )
    warehouse.append(
        "public.incoming",
        pa.table(
            {
                "order_id": [path.conversion_id for path in paths],
                "revenue": [path.revenue for path in paths],
                "converted_at": [path.converted_at for path in paths],
            }
        ),
    )
    warehouse.execute(
        "insert into marts.orders"
        " select order_id, order_id, 'sale', converted_at, converted_at::date, revenue::numeric, 0"
        " from public.incoming;"
        " insert into identity.int_persons_touched select order_id, null, 1 from public.incoming"
    )
    steps = [
        (f"{path.conversion_id}-{place:04d}", path.conversion_id, step)
        for path in paths
        for place, step in enumerate(path.steps)
    ]
    warehouse.append(
        "marts.touchpoints",
        pa.table(
            {
                "touchpoint_id": [touchpoint for touchpoint, _, _ in steps],
                "person_id": [person for _, person, _ in steps],
                "touched_at": [step.touched_at for _, _, step in steps],
                "channel": [step.channel for _, _, step in steps],
                "kind": ["visit"] * len(steps),
            }
        ),
    )
    warehouse.execute("analyze")
    set_business_time(warehouse, max(path.converted_at for path in paths) + timedelta(days=40))
    run_dbt(warehouse, folder, "seed", "-s", "attribution_models", "attribution_look_backs")
    run_dbt(warehouse, folder, "run", "-s", *STAGED, *VIEWS)
    credit(warehouse, folder)


def credit(warehouse: Warehouse, folder: Path) -> None:
    """Share every conversion out, by what `ml.channel_*` hold now."""
    run_dbt(
        warehouse, folder, "run", "--full-refresh", "-s", "int_person_facts_traced",
        "int_steps_weighted", "attributed_touchpoints",
    )  # fmt: skip
