"""Runs of the loop's jobs in this process: the command line's and the rehearsal's engine.

Belongs here: executing a job for one day with a progress callback. Keep out: what a day does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

Progress = Callable[[str, bool], None]
"""Called with an asset's key and whether it has finished."""


class LoopError(RuntimeError):
    """A step failed; the text names it, the cause and where to look."""


@dataclass(frozen=True)
class Day:
    """One executed day."""

    as_of: datetime
    run_id: str
    warnings: tuple[str, ...]


def definitions() -> dg.Definitions:
    """The project's definitions, loaded once for each process."""
    from dagster_project.definitions import defs

    return defs() if callable(defs) else defs


def execute(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    as_of: datetime,
    progress: Progress,
    selection: Sequence[dg.AssetKey] | None = None,
) -> Day:
    """Execute a job, or the selected assets of it, for one day.

    Raises LoopError when a step or a blocking check fails, KeyboardInterrupt after Ctrl-C.
    """
    run_id = dg._core.utils.make_new_run_id()
    warnings: list[str] = []

    def listen(entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None:
            return
        if event.is_step_start:
            progress(_step_name(event.step_key), False)
        elif event.is_step_success:
            progress(_step_name(event.step_key), True)
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed:
                warnings.append(f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name}")

    instance.add_event_listener(run_id, listen)
    result = job.execute_in_process(
        run_config=_run_config(job, as_of),
        instance=instance,
        run_id=run_id,
        raise_on_error=False,
        tags={"as_of": as_of.isoformat()},
        asset_selection=selection,
    )
    if _is_interrupted(result):
        raise KeyboardInterrupt
    if not result.success:
        raise LoopError(_failure(result))
    return Day(as_of=as_of, run_id=run_id, warnings=tuple(warnings))


def _run_config(job: dg.JobDefinition, as_of: datetime) -> dict[str, object]:
    ops = {}
    if any(node.name == "raw__workspace" for node in job.all_node_defs):
        ops = {"raw__workspace": {"config": {"as_of": as_of.isoformat()}}}
    return {
        "ops": ops,
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }


def _step_name(step_key: str | None) -> str:
    return (step_key or "").replace("__", "/")


def _is_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Dagster turns Ctrl-C inside a step into that step's failure."""
    return any(
        event.step_failure_data.error is not None
        and "DagsterExecutionInterruptedError" in event.step_failure_data.error.to_string()
        for event in result.all_events
        if event.is_step_failure
    )


def _failure(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            text = error.message.strip().splitlines()[0] if error else "unknown cause"
            return f"{_step_name(event.step_key)}: {text}"
    return "the run did not succeed; `make dev` shows its log"
