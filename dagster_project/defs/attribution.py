"""ml/channel_*: what a closed month says about its channels, written once a month.

Keep out: the arithmetic (`ml.attribution`), sharing conversions out (dbt).
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa

from dagster_project import learning
from dagster_project.resources import Workspace
from ml import attribution, plots

EFFECTS, COALITIONS = "ml.channel_removal_effects", "ml.channel_coalitions"
SPECS = {
    EFFECTS: "What conversions of a closed month would be lost without a channel; never restated.",
    COALITIONS: "How often each set of channels converted in a closed month; never restated.",
}


@dg.multi_asset(
    name="channel_effects",
    specs=[
        dg.AssetSpec(
            table.split("."),
            group_name="ml",
            kinds={"python", "postgres"},
            deps=[["marts", "int_paths_counted"]],
            description=text,
        )
        for table, text in SPECS.items()
    ],
)
def channel_effects(workspace: Workspace) -> Iterator[dg.MaterializeResult]:
    """Estimate the months that have closed since the last ones."""
    latest = workspace.warehouse.rows(f"select max(month) as month from {EFFECTS}")[0]["month"]
    months = attribution.due(workspace.as_of, workspace.settings.time_zone, latest)
    if months is not None:
        paths = workspace.warehouse.read(
            "select * from marts.int_paths_counted"
            " where month > %(after)s and month < %(before)s order by month, path",
            after=months[0],
            before=months[1],
        ).to_pandas()
        _append(workspace, dict(zip(SPECS, attribution.estimate(paths), strict=True)))
    effects = learning.frame(workspace, EFFECTS)
    shown: dict[str, Any] = {"months": effects["month"].nunique()}
    if len(effects):
        shown["removal_effects"] = learning.picture(plots.removal_effects(effects))
    yield dg.MaterializeResult(asset_key=EFFECTS.split("."), metadata=shown)
    yield dg.MaterializeResult(asset_key=COALITIONS.split("."))


def _append(workspace: Workspace, frames: dict[str, pd.DataFrame]) -> None:
    with workspace.warehouse.transaction() as connection:
        for table, frame in frames.items():
            if len(frame):
                rows = pa.Table.from_pandas(frame, preserve_index=False)
                workspace.warehouse.append(table, rows, connection)
