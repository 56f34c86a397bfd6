"""Dagster's own storage: one home folder for each workspace, runs and events in Postgres.

Belongs here: the instance that the command line and the UI share. Keep out: assets.
"""

from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg

from warehouse import Settings
from warehouse.warehouse import dagster_url

# On the embedded default all jobs run in one process: a process for each step costs seconds of
# imports on two cores. The commented settings are for a machine or cluster with room.
DAGSTER_YAML = """\
telemetry:
  enabled: false

nux:
  enabled: false

storage:
  postgres:
    postgres_url: "{url}"

local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config:
    base_dir: "{home}"

concurrency:
  runs:
    max_concurrent_runs: 1

# Many processes on one machine: remove the executor from dagster_project/defs/jobs.py and set
#   run_launcher: {{module: dagster.core.launcher, class: DefaultRunLauncher}}
# Kubernetes: install dagster-k8s and set
#   run_launcher:
#     {{module: dagster_k8s, class: K8sRunLauncher, config: {{job_namespace: loopdrive}}}}
"""


def home(settings: Settings) -> Path:
    """The DAGSTER_HOME of a workspace, with an up-to-date dagster.yaml."""
    folder = settings.workspace_home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    text = DAGSTER_YAML.format(url=dagster_url(settings), home=folder)
    path = folder / "dagster.yaml"
    if not path.exists() or path.read_text() != text:
        path.touch(mode=0o600)
        path.write_text(text)
    return folder


def instance(settings: Settings) -> dg.DagsterInstance:
    """The instance whose runs the UI shows.

    It keeps its connections, as the webserver's does: a run stores some hundred events, and
    Dagster would open a connection or more for each.
    """
    held = dg.DagsterInstance.from_config(str(home(settings)))
    held.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=20)
    _remember_schema(held.event_log_storage)
    return held


def _remember_schema(events: Any) -> None:
    """Ask the catalogue once for each column and table of Dagster's own, not for each asset."""
    columns: dict[str, bool] = {}
    ask = events._has_asset_key_col_on_connection

    def has_column(connection: Any, name: str) -> bool:
        if name not in columns:
            columns[name] = ask(connection, name)
        return columns[name]

    events._has_asset_key_col_on_connection = has_column
    events.has_table = cache(events.has_table)
