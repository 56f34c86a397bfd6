"""staging, identity, marts, features, activation: every dbt model, test and seed, as one asset set.

Keep out: SQL (`dbt_project/`), how dbt runs (`dagster_project/transform.py`).
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster_dbt import dbt_assets

from dagster_project import transform
from dagster_project.resources import Workspace


@dbt_assets(
    manifest=transform.manifest_path(),
    dagster_dbt_translator=transform.TRANSLATOR,
    name="transform",
)
def transform_models(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[Any]:
    """Build the selected models and run their tests."""
    yield from transform.build(context, workspace)
