"""dbt's documentation describes every model, seed, source and column there is.

Belongs here: that something is said. Keep out: what is said.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.dbt_project import core_history as history
from tests.dbt_project.dbt_building import PROJECT, run_dbt, set_business_time
from warehouse import Warehouse

KINDS = {"model", "seed", "snapshot"}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The project as dbt understands it; no server is asked."""
    from dbt.cli.main import dbtRunner

    folder = str(tmp_path_factory.mktemp("parsed"))
    where = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    where += ["--target-path", folder, "--log-path", folder]
    result = dbtRunner().invoke(["--quiet", "parse", *where])
    assert result.success, result.exception
    return result.result


def _nodes(manifest: Any) -> list[Any]:
    return [node for node in manifest.nodes.values() if node.resource_type in KINDS]


def test_every_model_and_source_says_what_it_is(manifest: Any) -> None:
    named = [*_nodes(manifest), *manifest.sources.values()]
    assert len(named) > 100
    assert [node.name for node in named if not node.description.strip()] == []


def test_every_declared_column_says_what_it_is(manifest: Any) -> None:
    silent = [
        f"{node.name}.{column.name}"
        for node in _nodes(manifest)
        for column in node.columns.values()
        if not column.description.strip()
    ]
    assert silent == []


@pytest.mark.verify
def test_every_column_there_is_is_declared(
    manifest: Any, warehouse: Warehouse, tmp_path: Path
) -> None:
    set_business_time(warehouse, history.START)
    run_dbt(warehouse, tmp_path, "seed")
    run_dbt(warehouse, tmp_path, "run")
    declared = {
        (node.schema, node.name, column) for node in _nodes(manifest) for column in node.columns
    }
    built = {(node.schema, node.name) for node in _nodes(manifest)}
    silent = [
        f"{row['table_schema']}.{row['table_name']}.{row['column_name']}"
        for row in warehouse.rows(
            "select table_schema, table_name, column_name from information_schema.columns"
            " order by 1, 2, 3"
        )
        if (row["table_schema"], row["table_name"]) in built
        and (row["table_schema"], row["table_name"], row["column_name"]) not in declared
    ]
    assert silent == []
