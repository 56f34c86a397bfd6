"""dbt inside Dagster: the manifest, the names, and an invocation in this process.

Belongs here: everything that knows both dbt and Dagster. Keep out: SQL and what models mean.

A `dbt` process costs about four seconds of imports and parsing, three times a day, so dbt runs in
this process on a manifest that is parsed once; dagster-dbt still names the assets and turns dbt's
events into Dagster's (docs/decisions/0001-dbt-in-process.md).
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import dagster as dg
import yaml
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings
from dagster_dbt.asset_utils import get_subset_selection_for_context
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

from dagster_project import standing
from dagster_project.resources import Workspace

PROJECT = Path(__file__).resolve().parent.parent / "dbt_project"
TARGET = PROJECT / "target"
PARSED = "partial_parse.msgpack"
BEFORE_TRANSFORMING = dg.AssetKey(["settle", "messages"])
THREADS = 4


class Translator(DagsterDbtTranslator):
    """Asset key = schema/table = group, for models, seeds and sources alike.

    Dagster splits one `@dbt_assets` wherever its graph leaves it. Staging views of one schema
    therefore wait for the whole schema, so that a day needs three dbt steps, not nine.
    """

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        return dg.AssetKey([dbt_resource_props["schema"], dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        return dbt_resource_props["schema"]

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: Any
    ) -> dg.AssetSpec:
        spec = super().get_asset_spec(manifest, unique_id, project)
        props = self.get_resource_props(manifest, unique_id)
        if props["resource_type"] == "source":
            return spec
        parents = props.get("depends_on", {}).get("nodes", [])
        extra = set()
        if all(parent.startswith("source.") for parent in parents):
            extra.add(BEFORE_TRANSFORMING)
        if any(_is_learned(manifest, parent) for parent in parents):
            extra |= {
                self.get_asset_key(source)
                for source_id, source in manifest["sources"].items()
                if _is_learned(manifest, source_id) and source["name"] in LEARNED_DAILY
            }
        known = {dep.asset_key for dep in spec.deps}
        return spec.replace_attributes(
            deps=[*spec.deps, *(dg.AssetDep(key) for key in sorted(extra - known))]
        )


# The ml tables that assets write every day; the others have no writer yet.
LEARNED_DAILY = (
    "channel_coalitions",
    "channel_removal_effects",
    "churn_scores",
    "lifetime_values",
    "person_personas",
    "personas",
    "send_time_priors",
    "send_times",
)


def _is_learned(manifest: Mapping[str, Any], unique_id: str) -> bool:
    source = manifest["sources"].get(unique_id)
    if source is None or source["schema"] != "ml":
        return False
    return not source["name"].startswith("identity_")


TRANSLATOR = Translator(
    settings=DagsterDbtTranslatorSettings(
        enable_asset_checks=True, enable_source_tests_as_checks=False
    )
)


def manifest_path() -> Path:
    """The parsed project; parsed anew when a file of the project is younger than it."""
    path = TARGET / "manifest.json"
    is_parsed = path.exists() and (TARGET / PARSED).exists()
    if not is_parsed or path.stat().st_mtime < _newest_source():
        _runner_invoke(["parse", "--profiles-dir", str(PROJECT), "--no-partial-parse"])
    return path


def _newest_source() -> float:
    return max(path.stat().st_mtime for path in _sources())


def _sources() -> list[Path]:
    folders = ("models", "macros", "seeds", "tests")
    files = [f for folder in folders for f in (PROJECT / folder).rglob("*") if f.is_file()]
    return [*files, PROJECT / "dbt_project.yml"]


def build(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[Any]:
    """`dbt build` of the step's models and tests; yields Dagster's outputs and check results.

    Raises dg.Failure naming the models that failed, each with the first line of its error.
    """
    manifest = _manifest_dict(manifest_path().stat().st_mtime_ns)
    selection, indirect = get_subset_selection_for_context(
        context=context,
        manifest=manifest,
        select="fqn:*",
        exclude=None,
        selector=None,
        dagster_dbt_translator=TRANSLATOR,
        current_dbt_indirect_selection_env=None,
    )
    warehouse = workspace.warehouse
    warehouse.analyse_filled()
    project = standing.project_digest(_sources())
    selected = {".".join(key.path) for key in context.selected_asset_keys}
    may_stand = standing.candidates(manifest) & selected
    stands = standing.standing(warehouse, project, may_stand)
    left_out = [f"fqn:{name.split('.')[1]}" for name in sorted(stands)]
    events: list[dict[str, Any]] = []
    arguments = [
        # Writing the manifest anew after each invocation takes dbt seconds.
        "--no-write-json",
        "build",
        *selection,
        *(["--exclude", *left_out] if left_out else []),
        "--exclude-resource-type",
        "unit_test",
        "--profiles-dir",
        str(write_profile(workspace)),
        # A test of two models runs with the later one, when everything it reads is there.
        *("--indirect-selection", indirect or "buildable"),
    ]
    result = _runner_invoke(arguments, events, workspace)
    if result.exception is not None and not isinstance(result.exception, Exception):
        raise result.exception  # Ctrl-C; dbt hands it over as if it were an error
    by_node = {event["data"]["node_info"]["unique_id"]: event for event in events}
    for unique_id in _in_order(manifest):
        if unique_id in by_node:
            message = DbtCoreCliEventMessage(by_node[unique_id], event_history_metadata={})
            yield from message.to_default_asset_events(manifest, TRANSLATOR, context)
        elif (name := standing.relation_name(manifest["nodes"][unique_id])) in stands:
            key = dg.AssetKey(name.split("."))
            yield dg.MaterializeResult(asset_key=key, metadata={"stands": "as the project has it"})
    if not result.success:
        raise dg.Failure(_failure_text(result))
    standing.mark(warehouse, project, may_stand - stands)


def _in_order(manifest: Mapping[str, Any]) -> list[str]:
    """Unique ids of nodes, parents first: the order in which Dagster wants to hear of them."""
    order = TopologicalSorter(manifest["parent_map"]).static_order()
    return [unique_id for unique_id in order if unique_id in manifest["nodes"]]


def write_profile(workspace: Workspace) -> Path:
    """The dbt profile of this workspace, mode 0600; returns its folder."""
    folder = workspace.settings.workspace_home / "dbt"
    folder.mkdir(parents=True, exist_ok=True)
    url = urlsplit(workspace.warehouse.url)
    query = parse_qs(url.query)
    output = {
        "type": "postgres",
        "host": url.hostname or query["host"][0],
        "port": int(url.port or query.get("port", ["5432"])[0]),
        "user": unquote(url.username or "postgres"),
        "password": unquote(url.password or ""),
        "dbname": url.path.lstrip("/"),
        "schema": "public",
        "threads": THREADS,
    }
    text = yaml.safe_dump({"loopdrive": {"target": "warehouse", "outputs": {"warehouse": output}}})
    path = folder / "profiles.yml"
    if not path.exists() or path.read_text() != text:
        path.touch(mode=0o600)
        path.write_text(text)
    return folder


@cache
def _manifest_dict(_version: int) -> dict[str, Any]:
    return json.loads((TARGET / "manifest.json").read_text())


@cache
def _parsed(_version: int, database: str) -> Any:
    """The parsed project as dbt's own object, its relations in one workspace's database.

    Of the profile only the database's name goes into it, so one parsing, made when the project
    was installed or changed, serves all workspaces: each would take dbt four seconds.
    """
    from dbt.contracts.graph.manifest import Manifest

    manifest = Manifest.from_msgpack((TARGET / PARSED).read_bytes())
    for node in [*manifest.nodes.values(), *manifest.sources.values()]:
        if node.relation_name:
            here = node.relation_name.replace(f'"{node.database}"', f'"{database}"', 1)
            node.relation_name = here
        node.database = database
    return manifest


def _runner_invoke(
    arguments: list[str],
    events: list[dict[str, Any]] | None = None,
    workspace: Workspace | None = None,
) -> Any:
    """One dbt command in this process; result events are appended to `events` as dicts."""
    from dbt.cli.main import dbtRunner
    from google.protobuf.json_format import MessageToDict

    def keep(event: Any) -> None:
        if events is not None and event.info.name in RESULT_EVENTS:
            events.append(MessageToDict(event, preserving_proto_field_name=True))

    manifest = None
    if workspace is not None:
        home = workspace.settings.workspace_home / "dbt"
        database = urlsplit(workspace.warehouse.url).path.lstrip("/")
        manifest = _parsed((TARGET / "manifest.json").stat().st_mtime_ns, database)
        arguments = [*arguments, "--target-path", str(home / "target"), "--log-path", str(home)]
    runner = dbtRunner(manifest=manifest, callbacks=[keep])
    return runner.invoke(["--log-level", "none", *arguments, "--project-dir", str(PROJECT)])


RESULT_EVENTS = frozenset({"LogSeedResult", "LogModelResult", "LogSnapshotResult", "LogTestResult"})


def _failure_text(result: Any) -> str:
    if result.result is None:
        return "dbt stopped: " + " ".join(str(result.exception).split())
    failed = [
        f"{item.node.name}: {str(item.message).strip().splitlines()[0]}"
        for item in result.result.results
        if item.status in ("error", "fail")
    ]
    return "dbt: " + ("; ".join(failed) or str(result.exception))
