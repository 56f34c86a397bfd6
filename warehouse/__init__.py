"""The one door to Postgres and to the settings.

Belongs here: connection, embedded server, settings, bulk Arrow in and out, migrations, roles.
Keep out: Dagster, business rules, any decision about a person.
"""

from warehouse.settings import ConfigError, Settings, SimulationSettings, SourceSettings
from warehouse.settings import adopt as adopt_settings
from warehouse.settings import load as load_settings
from warehouse.warehouse import Warehouse, WorkspaceBusyError, open_warehouse

__all__ = [
    "ConfigError",
    "Settings",
    "SimulationSettings",
    "SourceSettings",
    "Warehouse",
    "WorkspaceBusyError",
    "adopt_settings",
    "load_settings",
    "open_warehouse",
]
