"""The workspace as a Dagster resource: settings, warehouse, where fitted models lie.

Belongs here: turning a configuration path into the objects that assets call.
Keep out: defaults and validation (`warehouse.settings`), sending (`providers.py`).
"""

from datetime import datetime
from functools import cached_property
from pathlib import Path

import dagster as dg

from warehouse import Settings, Warehouse, load_settings, open_warehouse


class Workspace(dg.ConfigurableResource):
    """One workspace. `config` is a path; empty means the command line's default."""

    config: str = ""

    @cached_property
    def settings(self) -> Settings:
        """Settings, read once for each run."""
        return load_settings(Path(self.config) if self.config else None)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The migrated database, opened on first use."""
        return open_warehouse(self.settings)

    @property
    def as_of(self) -> datetime:
        """Business time of this run, as `raw/workspace` recorded it."""
        rows = self.warehouse.rows("select as_of from raw.workspace")
        if not rows or rows[0]["as_of"] is None:
            raise dg.Failure("no as_of yet: materialise raw/workspace first, or `loopdrive run`")
        return rows[0]["as_of"]

    @property
    def models(self) -> Path:
        """Where fitted models, their cards and plots lie."""
        return self.settings.workspace_home / "models"
