"""The door to Postgres: bulk writes keep values, keyed writes are idempotent, the wall holds."""

from datetime import UTC, date, datetime
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from warehouse import (
    Warehouse,
    WorkspaceBusyError,
    load_settings,
    migrations,
    open_warehouse,
    server,
)

AWKWARD = ['quote " comma , newline \n', "", "backslash \\N", None, "ünïcode ✓"]


def test_copy_keeps_awkward_text_nulls_floats_and_arrays(warehouse: Warehouse) -> None:
    warehouse.execute("create table public.t (a text, b float8, c real[], d timestamptz, e jsonb)")
    moment = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    rows = pa.table(
        {
            "a": AWKWARD,
            "b": [1.5, float("nan"), None, 1e-300, -0.1],
            "c": [[0.5, 0.25], [], None, [1.0], [2.0]],
            "d": pa.array([moment] * 5, pa.timestamp("us", tz="UTC")),
            "e": ['{"k": "v\\""}', "[]", None, "1", '"x"'],
        }
    )
    assert warehouse.append("public.t", rows) == 5
    back = warehouse.read("select * from public.t")
    assert back["a"].to_pylist() == AWKWARD
    assert back["b"].to_pylist() == [1.5, None, None, 1e-300, -0.1]
    assert back["c"].to_pylist() == [[0.5, 0.25], [], None, [1.0], [2.0]]
    assert back["d"].to_pylist() == [moment] * 5
    assert warehouse.rows("select e from public.t")[0]["e"] == {"k": 'v"'}


def test_upsert_changes_only_what_differs(warehouse: Warehouse) -> None:
    warehouse.execute("create table public.t (k int primary key, v text)")
    rows = pa.table({"k": [1, 2, 3], "v": ["a", None, "c"]})
    assert warehouse.upsert("public.t", rows, ["k"]) == 3
    assert warehouse.upsert("public.t", rows, ["k"]) == 0
    assert warehouse.upsert("public.t", pa.table({"k": [2], "v": ["b"]}), ["k"]) == 1
    assert (
        warehouse.insert_missing("public.t", pa.table({"k": [2, 4], "v": ["x", "d"]}), ["k"]) == 1
    )
    held = warehouse.rows("select v from public.t order by k")
    assert [row["v"] for row in held] == ["a", "b", "c", "d"]


def test_parameters_are_quoted_not_pasted(warehouse: Warehouse) -> None:
    name = "x'; drop table raw.events; --"
    assert warehouse.read("select %(name)s::text as name", name=name)["name"].to_pylist() == [name]


def test_a_failed_replace_leaves_the_old_rows(warehouse: Warehouse) -> None:
    warehouse.execute("create table public.t (k int primary key)")
    warehouse.append("public.t", pa.table({"k": [1, 2]}))
    with pytest.raises(psycopg.errors.UniqueViolation):
        warehouse.replace("public.t", pa.table({"k": [7, 7]}))
    assert len(warehouse.rows("select * from public.t")) == 2


def test_two_runs_cannot_hold_one_workspace(warehouse: Warehouse) -> None:
    with (
        warehouse.locked(),
        pytest.raises(WorkspaceBusyError, match="another run"),
        warehouse.locked(),
    ):
        pass
    with warehouse.locked():
        pass


def test_migrations_apply_once_and_refuse_a_changed_file(warehouse: Warehouse) -> None:
    assert migrations.apply(warehouse.url) == []
    warehouse.execute("update public.migrations set digest = 'other' where name like '0001%%'")
    with pytest.raises(migrations.MigrationError, match="0001_raw"):
        migrations.apply(warehouse.url)


def test_the_analyst_reads_marts_and_nothing_behind_the_wall(warehouse: Warehouse) -> None:
    role = migrations.grant_analyst(warehouse.url, "test_analyst", None)
    warehouse.execute("create table marts.later as select 1 as x")
    analyst = Warehouse(
        url=warehouse.url,
        analyst_url=warehouse.url.replace("postgres@", f"{role}@"),
    )
    assert analyst.query_as_analyst("select x from marts.later") == (["x"], [(1,)])
    endless = "select 'infinity'::timestamptz, '-infinity'::date, date '2026-03-01'"
    assert analyst.query_as_analyst(endless)[1] == [("infinity", "-infinity", date(2026, 3, 1))]
    behind = [
        "select * from raw.events",
        "select * from identity.person_id_ledger",
        "select * from ml.identity_clusters",
        "select * from delivery.payloads",
        "select query_to_xml('select * from raw.events', true, true, '')",
    ]
    for query in behind:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            analyst.query_as_analyst(query)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        analyst.query_as_analyst("create temp table t as select 1")
    warehouse.execute("drop owned by test_analyst")


def test_a_filled_table_is_analysed_once(warehouse: Warehouse) -> None:
    warehouse.analyse_filled()
    warehouse.execute("create table ml.filled (number bigint)")
    assert warehouse.analyse_filled() == []
    warehouse.execute("insert into ml.filled select generate_series(1, 5000)")
    # Building an index counts the rows, but says nothing of their values.
    warehouse.execute("create index on ml.filled (number)")
    assert warehouse.analyse_filled() == ["ml.filled"]
    assert warehouse.rows("select 1 from pg_stats where tablename = 'filled'")
    assert warehouse.analyse_filled() == []
    warehouse.execute("insert into ml.filled select generate_series(1, 900)")
    assert warehouse.analyse_filled() == []
    warehouse.execute("insert into ml.filled select generate_series(1, 9000)")
    assert warehouse.analyse_filled() == ["ml.filled"]


def test_text_is_in_the_order_of_its_code_points(postgres: server.Server, tmp_path: Path) -> None:
    settings = load_settings(
        None,
        environ={
            "LOOPDRIVE_DATABASE_URL": postgres.url("postgres"),
            "LOOPDRIVE_HOME": str(tmp_path),
        },
    )
    opened = open_warehouse(settings)
    rows = opened.rows("select w from unnest(array['b', 'B', 'a', 'é', 'Z']) as w order by w")
    assert [row["w"] for row in rows] == ["B", "Z", "a", "b", "é"]
    assert opened.rows("select upper('é') as w") == [{"w": "É"}]
