"""Replaying paths: given conversions with their touches, what does attribution make of them?

Belongs here: the tables that attribution reads, filled by hand. Keep out: expectations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from tests.dbt_project.dbt_building import run_dbt
from warehouse import Warehouse

TABLES = """
    create schema if not exists marts;
    create table marts.orders (
        order_id text, person_id text, kind text, ordered_at timestamptz, revenue_amount numeric
    );
    create table marts.touchpoints (
        touchpoint_id text, person_id text, touched_at timestamptz, channel text, program text,
        campaign text, kind text, cost_amount numeric, batch_id bigint
    );
    create table identity.int_persons_touched (
        person_id text, fingerprint uuid, batch_id bigint
    );
"""


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
        " select order_id, order_id, 'sale', converted_at, revenue::numeric from public.incoming;"
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
    run_dbt(warehouse, folder, "run", "-s", "int_paths_numbered", "attributed_touchpoints")
