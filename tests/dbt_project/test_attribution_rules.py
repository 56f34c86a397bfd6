"""The dbt unit tests of attribution, on an empty database.

Keep out: the cases themselves, which lie beside the models.
"""

from datetime import UTC, datetime
from pathlib import Path

from tests.dbt_project.dbt_building import run_dbt, set_business_time
from warehouse import Warehouse


def test_unit_tests_of_attribution_hold(warehouse: Warehouse, tmp_path: Path) -> None:
    set_business_time(warehouse, datetime(2026, 3, 1, tzinfo=UTC))
    run_dbt(warehouse, tmp_path, "seed")
    run_dbt(warehouse, tmp_path, "run", "-s", "+channel_performance")
    run_dbt(warehouse, tmp_path, "test", "-s", "models/marts/attribution,test_type:unit")
