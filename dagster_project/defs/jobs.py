"""Jobs, their rhythm, and the resources that every asset takes.

Belongs here: selections and schedules. Keep out: what the assets do.
"""

from datetime import datetime, timedelta

import dagster as dg

from dagster_project.resources import Workspace
from warehouse import business_time, load_settings, open_warehouse

IN_PROCESS = dg.in_process_executor

daily_loop = dg.define_asset_job(
    "daily_loop", selection=dg.AssetSelection.all(), executor_def=IN_PROCESS
)
listen = dg.define_asset_job(
    "listen",
    selection=dg.AssetSelection.groups("raw", "settle", "staging", "identity", "marts"),
    executor_def=IN_PROCESS,
)
send_due = dg.define_asset_job(
    "send_due", selection=dg.AssetSelection.groups("send"), executor_def=IN_PROCESS
)
spend_sync = dg.define_asset_job(
    "spend_sync",
    selection=dg.AssetSelection.assets(["raw", "workspace"], ["raw", "ad_spend"]),
    executor_def=IN_PROCESS,
)
rebalance_budgets = dg.define_asset_job(
    "rebalance_budgets", selection=dg.AssetSelection.groups("budget"), executor_def=IN_PROCESS
)
retrain = dg.define_asset_job(
    "retrain", selection=dg.AssetSelection.groups("ml"), executor_def=IN_PROCESS
)


@dg.schedule(job=daily_loop, cron_schedule="0 6 * * *", execution_timezone="Europe/London")
def daily_loop_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Each day at 06:00. In a simulated workspace one tick is the next simulated day."""
    settings = load_settings()
    tick = context.scheduled_execution_time
    if settings.simulation is None:
        as_of = tick
    else:
        last = business_time.current(open_warehouse(settings))
        if last is None:
            return dg.SkipReason("nothing to continue yet; start with `loopdrive run`")
        as_of = last + timedelta(days=1)
    return dg.RunRequest(run_key=as_of.isoformat(), run_config=day_config(as_of))


def day_config(as_of: datetime) -> dict[str, object]:
    """Run configuration for one day of business time."""
    return {"ops": {"raw__workspace": {"config": {"as_of": as_of.isoformat()}}}}


@dg.definitions
def resources() -> dg.Definitions:
    """The workspace, which every asset takes, and the schedules."""
    return dg.Definitions(resources={"workspace": Workspace()})
