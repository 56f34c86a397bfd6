"""What Dagster loads: every definition under `defs/`. Loads with an empty environment."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """All assets, checks, jobs, schedules and resources of the loop."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
