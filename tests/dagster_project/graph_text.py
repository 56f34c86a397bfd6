"""The asset graph as text, one line a thing; run it to renew the snapshot.

Belongs here: spelling out definitions. Keep out: judging them.

    python -m tests.dagster_project.graph_text > tests/dagster_project/graph.txt
"""

from collections.abc import Iterator

import dagster as dg

from dagster_project import loop


def lines(definitions: dg.Definitions) -> Iterator[str]:
    """Assets by group with how many parents, then checks, jobs with their assets, schedules."""
    graph = definitions.resolve_asset_graph()
    for key in sorted(graph.get_all_asset_keys(), key=_name):
        node = graph.get(key)
        kind = "asset   " if node.is_materializable else "external"
        yield f"{kind} {node.group_name:<10} {_name(key)}"
    for check in sorted(graph.asset_check_keys, key=lambda key: (_name(key.asset_key), key.name)):
        weight = "blocking" if graph.get(check).blocking else "warning "
        yield f"check    {weight:<10} {_name(check.asset_key)} {check.name}"
    repository = definitions.get_repository_def()
    for job in sorted(repository.get_all_jobs(), key=lambda job: job.name):
        if job.name != "__ASSET_JOB":
            count = len(job.asset_layer.executable_asset_keys)
            yield f"job      {count:>3} assets {job.name}"
    for schedule in sorted(repository.schedule_defs, key=lambda schedule: schedule.name):
        yield f"schedule {schedule.cron_schedule:<12} {schedule.job_name} {schedule.name}"
    for sensor in sorted(repository.sensor_defs, key=lambda sensor: sensor.name):
        yield f"sensor   {sensor.name}"


def _name(key: dg.AssetKey) -> str:
    return key.to_user_string()


if __name__ == "__main__":
    print("\n".join(lines(loop.definitions())))
