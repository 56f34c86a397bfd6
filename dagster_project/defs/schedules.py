"""Schedules, and the workspace that every asset takes.

Schedules that push to the outside exist in live mode only: a toggle in a web page is not the
safety. Keep out: what jobs select (`jobs.py`).
"""

from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from dagster_project.defs import jobs
from dagster_project.resources import Workspace
from warehouse import Settings, business_time, load_settings, open_warehouse


def _daily(settings: Settings) -> dg.ScheduleDefinition:
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """Each day at 06:00. In a simulated workspace one tick is the next simulated day."""
        as_of = context.scheduled_execution_time
        if settings.simulation is not None:
            last = business_time.current(open_warehouse(settings))
            if last is None:
                return dg.SkipReason("nothing to continue yet; start with `loopdrive run`")
            as_of = last + timedelta(days=1)
        return dg.RunRequest(run_key=as_of.isoformat(), run_config=_day(as_of))

    return dg.ScheduleDefinition(
        name="daily_loop_schedule",
        job=jobs.daily_loop,
        cron_schedule="0 6 * * *",
        execution_timezone=settings.time_zone,
        execution_fn=tick,
    )


def _rhythm(job: Any, cron: str, settings: Settings, dispatches: bool) -> dg.ScheduleDefinition:
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        now = context.scheduled_execution_time.isoformat()
        names = [f"send__{name}" for name in ("sendgrid", "twilio")] if dispatches else []
        config = {"ops": {name: {"config": {"until": now}} for name in names}}
        return dg.RunRequest(run_key=now, run_config=config)

    return dg.ScheduleDefinition(
        name=f"{job.name}_schedule",
        job=job,
        cron_schedule=cron,
        execution_timezone=settings.time_zone,
        execution_fn=tick,
    )


def _day(as_of: datetime) -> dict[str, Any]:
    return {"ops": {"raw__workspace": {"config": {"as_of": as_of.isoformat()}}}}


@dg.definitions
def rhythm() -> dg.Definitions:
    """Resources and schedules of the configured workspace."""
    settings = load_settings()
    schedules = [
        _daily(settings),
        _rhythm(jobs.retrain, "0 3 * * 0", settings, dispatches=False),
    ]
    if settings.mode == "live":
        schedules += [
            _rhythm(jobs.listen, "*/5 * * * *", settings, dispatches=False),
            _rhythm(jobs.send_due, "*/5 * * * *", settings, dispatches=True),
            _rhythm(jobs.spend_sync, "*/15 * * * *", settings, dispatches=False),
            _rhythm(jobs.rebalance_budgets, "0 * * * *", settings, dispatches=False),
        ]
    return dg.Definitions(resources={"workspace": Workspace()}, schedules=schedules)
