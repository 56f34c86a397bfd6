"""dbt inside Dagster: the manifest, the names, and an invocation in this process.

Belongs here: everything that knows both dbt and Dagster. Keep out: SQL and what models mean.

A `dbt` process costs about four seconds of imports and parsing, three times a day, so dbt runs in
this process on a manifest that is parsed once; dagster-dbt still names the assets and turns dbt's
events into Dagster's (docs/decisions/0001-dbt-in-process.md).
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import dagster as dg
import yaml
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings
from dagster_dbt.asset_utils import get_subset_selection_for_context
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

from dagster_project.resources import Workspace

PROJECT = Path(__file__).resolve().parent.parent / "dbt_project"
TARGET = PROJECT / "target"
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
    if not path.exists() or path.stat().st_mtime < _newest_source():
        _runner_invoke(["parse", "--profiles-dir", str(PROJECT), "--no-partial-parse"])
    return path


def _newest_source() -> float:
    folders = ("models", "macros", "seeds", "tests")
    files = [f for folder in folders for f in (PROJECT / folder).rglob("*") if f.is_file()]
    return max(f.stat().st_mtime for f in [*files, PROJECT / "dbt_project.yml"])


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
    events: list[dict[str, Any]] = []
    arguments = [
        # Writing the manifest anew after each invocation takes dbt seconds.
        "--no-write-json",
        "build",
        *selection,
        "--exclude-resource-type",
        "unit_test",
        "--profiles-dir",
        str(write_profile(workspace)),
        # A test of two models runs with the later one, when everything it reads is there.
        *("--indirect-selection", indirect or "buildable"),
    ]
    result = _runner_invoke(arguments, events, workspace.settings.workspace_home / "dbt")
    if result.exception is not None and not isinstance(result.exception, Exception):
        raise result.exception  # Ctrl-C; dbt hands it over as if it were an error
    for event in events:
        message = DbtCoreCliEventMessage(raw_event=event, event_history_metadata={})
        yield from message.to_default_asset_events(manifest, TRANSLATOR, context)
    if not result.success:
        raise dg.Failure(_failure_text(result))


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
def _parsed(_version: int, folder: str) -> Any:
    # Kept beside the profile: a later process of the workspace parses only what changed.
    from dbt.cli.main import dbtRunner

    arguments = ["--log-level", "none", "parse", "--project-dir", str(PROJECT)]
    arguments += ["--profiles-dir", folder, "--target-path", str(Path(folder) / "target")]
    return dbtRunner().invoke(arguments).result


def _runner_invoke(
    arguments: list[str], events: list[dict[str, Any]] | None = None, target: Path | None = None
) -> Any:
    """One dbt command in this process; result events are appended to `events` as dicts."""
    from dbt.cli.main import dbtRunner
    from google.protobuf.json_format import MessageToDict

    def keep(event: Any) -> None:
        if events is not None and event.info.name in RESULT_EVENTS:
            events.append(MessageToDict(event, preserving_proto_field_name=True))

    manifest = None
    if target is not None:
        version = (TARGET / "manifest.json").stat().st_mtime_ns
        manifest = _parsed(version, str(target))
        arguments = [*arguments, "--target-path", str(target / "target")]
        arguments += ["--log-path", str(target)]
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
