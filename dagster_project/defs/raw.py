"""raw/*: business time, and one asset for each table that ingestion fills, with its checks.

Keep out: parsing and validation (`ingestion/`), the market itself (`sandbox/`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

import ingestion
from dagster_project import providers
from dagster_project.resources import Workspace
from ingestion import expectations
from warehouse import business_time

TABLES = {
    "segment": "events",
    "order_lines": "order_lines",
    "crm_contacts": "crm_contacts",
    "crm_consents": "crm_consents",
    "crm_deals": "crm_deals",
    "products": "products",
    "ad_spend": "ad_spend",
    "currency_rates": "currency_rates",
    "provider_events": "provider_events",
}


class Day(dg.Config):
    """Business time of the run, ISO 8601 with a zone. Empty: the workspace's last one."""

    as_of: str = ""


@dg.asset(key=["raw", "workspace"], group_name="raw", kinds={"postgres"})
def raw_workspace(config: Day, workspace: Workspace) -> dg.MaterializeResult:
    """One row: business time and the settings that SQL may read.

    In a sandbox the simulated world lives up to this moment first.
    """
    wanted = datetime.fromisoformat(config.as_of) if config.as_of else None
    as_of = business_time.advance(workspace.warehouse, workspace.settings, wanted)
    lived = providers.live(workspace.settings, as_of, expectations.prepare)
    return dg.MaterializeResult(metadata={"as_of": as_of.isoformat(), "simulated": lived})


def _table(kind: str, table: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["raw", table],
        group_name="raw",
        deps=[raw_workspace],
        kinds={"duckdb", "postgres"},
        description=f"Rows of the `{kind}` sources, each file exactly once.",
    )
    def load(workspace: Workspace) -> dg.MaterializeResult:
        # raw.batches is the one table that tells wall time.
        results = ingestion.ingest(
            workspace.warehouse, workspace.settings, [kind], now=datetime.now(UTC)
        )
        return dg.MaterializeResult(metadata=_counts(results))

    return load


def _counts(results: list[ingestion.BatchResult]) -> dict[str, int | str]:
    counts: dict[str, int | str] = {
        "files": len(results),
        "rows_read": sum(result.rows_read for result in results),
        "dagster/row_count": sum(result.rows_loaded for result in results),
        "rows_duplicate": sum(result.rows_duplicate for result in results),
        "rows_rejected": sum(result.rows_rejected for result in results),
    }
    trouble = [f"{r.location}: {r.reason}" for r in results if r.status in ("held", "failed")]
    if trouble:
        counts["not_loaded"] = "\n".join(trouble)
    return counts


def _checks(kind: str, table: str) -> dg.AssetChecksDefinition:
    promises = expectations.promises(kind)
    specs = [
        dg.AssetCheckSpec(name=promise.name, asset=["raw", table], blocking=promise.is_severe)
        for promise in promises
    ]

    @dg.multi_asset_check(specs=specs, name=f"expectations_of_{table}")
    def check(workspace: Workspace) -> Iterator[dg.AssetCheckResult]:
        names = {source.name for source in workspace.settings.sources if source.kind == kind}
        if not names:
            yield from (_not_configured(table, promise.name) for promise in promises)
            return
        for found in ingestion.check(workspace.warehouse, kind, workspace.as_of, names=names):
            severity = dg.AssetCheckSeverity.ERROR if found.severe else dg.AssetCheckSeverity.WARN
            yield dg.AssetCheckResult(
                asset_key=["raw", table],
                check_name=found.name,
                passed=found.passed,
                severity=severity,
                metadata={name: str(value) for name, value in found.observed.items()},
            )

    return check


def _not_configured(table: str, name: str) -> dg.AssetCheckResult:
    text = "no source of this kind is configured"
    return dg.AssetCheckResult(
        asset_key=["raw", table], check_name=name, passed=True, description=text
    )


tables = [_table(kind, table) for kind, table in TABLES.items()]
checks = [_checks(kind, table) for kind, table in TABLES.items()]
records = [
    dg.AssetSpec(["raw", name], group_name="raw", kinds={"postgres"}, description=text)
    for name, text in {
        "batches": "Every file that was seen: rows read, loaded, duplicate, rejected.",
        "rejects": "Every row that was refused, with its reason.",
    }.items()
]
