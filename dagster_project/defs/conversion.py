"""conversion/*: what happened after a click, told to the platform it came from, with consent.

Keep out: which conversions there are (dbt), match keys and uploads (`activations`).
"""

import dagster as dg

from activations import conversions, platforms
from dagster_project import learning, providers
from dagster_project.resources import Workspace


def _upload(name: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["conversion", name],
        group_name="conversion",
        kinds={"python"},
        deps=[["activation", "conversion_candidates"]],
        description=f"Conversions after clicks on {name}, uploaded once, skipped with a reason.",
    )
    def upload(workspace: Workspace) -> dg.MaterializeResult:
        as_of = workspace.as_of
        with providers.platform_line(workspace.settings, name) as (platform, line):
            line.set_clock(as_of)
            planned = conversions.plan(workspace.warehouse, as_of, platform)
            sent = conversions.upload(workspace.warehouse, platform, line.sender, as_of)
        shown = {"planned": planned.by_status, "skipped": planned.by_reason}
        return dg.MaterializeResult(metadata=learning.figures(shown | {"sent": sent.by_status}))

    return upload


uploads = [_upload(name) for name in platforms.NAMES]
