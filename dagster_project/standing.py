"""Views and seeds that stand in the warehouse exactly as the project has them.

Belongs here: telling which they are, and marking those just made. Keep out: running dbt.

A view has no rows of its own and a seed's rows are in the project, so making one again each day
changes nothing, and costs dbt more than many a table does (docs/decisions/0005-standing-views.md).
The mark is the relation's comment: it goes when the relation goes, and says which project made it
and what then stood there, so that a view or a seed changed by hand is made again.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from warehouse import Warehouse

Connection = psycopg.Connection[dict[str, Any]]

RELATIONS = """
    select relnamespace::regnamespace || '.' || relname as name,
           relkind = 'v' as is_view,
           obj_description(oid, 'pg_class') as mark,
           case when relkind = 'v' then md5(pg_get_viewdef(oid)) end as content
    from pg_class
    where
        relkind in ('v', 'r')
        and relnamespace::regnamespace || '.' || relname = any(%(names)s)
"""
SEED_CONTENT = """
    select coalesce(md5(string_agg(seed::text, chr(10) order by seed::text)), '') as content
    from {} as seed
"""


def project_digest(files: Iterable[Path]) -> str:
    """A short digest of a dbt project: of the names and the content of all its files."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def candidates(manifest: Mapping[str, Any]) -> set[str]:
    """The views and seeds that may stand (schema.name).

    Not those with tests, which dbt would leave out with them, nor views of a model that is made
    anew each time: they go with its predecessor.
    """
    nodes = manifest["nodes"]
    tested = {
        parent
        for node in nodes.values()
        if node["resource_type"] in ("test", "unit_test")
        for parent in node["depends_on"]["nodes"]
    }
    return {
        relation_name(node)
        for unique_id, node in nodes.items()
        if unique_id not in tested
        and (_kind(node) == "seed" or (_kind(node) == "view" and _may_stay(nodes, node)))
    }


def relation_name(node: Mapping[str, Any]) -> str:
    """schema.name of a node of the manifest."""
    return f"{node['schema']}.{node['name']}"


def _kind(node: Mapping[str, Any]) -> str:
    of_model = node["resource_type"] == "model"
    return str(node["config"]["materialized"] if of_model else node["resource_type"])


def _may_stay(nodes: Mapping[str, Any], view: Mapping[str, Any]) -> bool:
    parents = [nodes[parent] for parent in view["depends_on"]["nodes"] if parent in nodes]
    return all(
        _kind(parent) != "table" and (_kind(parent) != "view" or _may_stay(nodes, parent))
        for parent in parents
    )


def standing(warehouse: Warehouse, project: str, names: Iterable[str]) -> set[str]:
    """Those of `names` (schema.name) that stand as this project made them."""
    with warehouse.transaction() as connection:
        return {
            row["name"]
            for row in _relations(connection, names)
            if row["mark"] == _mark(project, row["content"])
        }


def mark(warehouse: Warehouse, project: str, names: Iterable[str]) -> None:
    """Mark relations (schema.name) that dbt has just made."""
    with warehouse.transaction() as connection:
        for row in _relations(connection, names):
            connection.execute(
                sql.SQL("comment on {} {} is {}").format(
                    sql.SQL("view" if row["is_view"] else "table"),
                    _identifier(row["name"]),
                    _mark(project, row["content"]),
                )
            )


def _relations(connection: Connection, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """name, is_view, mark, content of the relations that there are."""
    for row in connection.execute(RELATIONS, {"names": sorted(names)}).fetchall():
        if not row["is_view"]:
            seed = sql.SQL(SEED_CONTENT).format(_identifier(row["name"]))
            row |= connection.execute(seed).fetchone() or {}
        yield row


def _mark(project: str, content: str) -> str:
    return f"loopdrive {project} {content}"


def _identifier(name: str) -> sql.Identifier:
    return sql.Identifier(*name.split(".", 1))
