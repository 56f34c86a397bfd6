"""What stands is left out of the daily dbt build, and nothing else is."""

from pathlib import Path
from typing import Any

import pytest

from dagster_project import standing
from warehouse import Warehouse

NAMES = {"staging.greeting", "marts.words"}


@pytest.fixture
def made(warehouse: Warehouse) -> Warehouse:
    """A seed and a view on it, made and marked by project `first`."""
    for statement in (
        "create schema if not exists staging",
        "create schema if not exists marts",
        "create table marts.words (word text, number int)",
        "insert into marts.words values ('good', 1), ('day', 2), (null, 3)",
        "create view staging.greeting as select word from marts.words",
    ):
        warehouse.execute(statement)
    standing.mark(warehouse, "first", NAMES)
    return warehouse


def test_what_a_project_made_stands(made: Warehouse) -> None:
    assert standing.standing(made, "first", NAMES) == NAMES
    assert standing.standing(made, "first", {"staging.greeting"}) == {"staging.greeting"}


def test_nothing_stands_for_another_project(made: Warehouse) -> None:
    assert standing.standing(made, "second", NAMES) == set()


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("update marts.words set number = 4 where word = 'day'", {"staging.greeting"}),
        ("delete from marts.words", {"staging.greeting"}),
        (
            "create or replace view staging.greeting as select upper(word) as word"
            " from marts.words",
            {"marts.words"},
        ),
        ("drop view staging.greeting", {"marts.words"}),
        ("drop table marts.words cascade", set()),
    ],
)
def test_what_was_changed_by_hand_does_not_stand(
    made: Warehouse, change: str, left: set[str]
) -> None:
    made.execute(change)
    assert standing.standing(made, "first", NAMES) == left


def test_an_empty_seed_stands_too(made: Warehouse) -> None:
    made.execute("delete from marts.words")
    standing.mark(made, "first", NAMES)
    assert standing.standing(made, "first", NAMES) == NAMES


def _node(kind: str, *parents: str, materialized: str | None = None) -> dict[str, Any]:
    return {
        "resource_type": kind,
        "schema": "marts",
        "name": "",
        "config": {"materialized": materialized or kind},
        "depends_on": {"nodes": list(parents)},
    }


def test_candidates_are_untested_seeds_and_views_that_keep_their_parents() -> None:
    nodes = {
        "rules": _node("seed"),
        "tested_rules": _node("seed"),
        "facts": _node("model", materialized="incremental"),
        "made_anew": _node("model", materialized="table"),
        "on_facts": _node("model", "facts", "rules", "source.raw", materialized="view"),
        "on_view": _node("model", "on_facts", materialized="view"),
        "on_table": _node("model", "facts", "made_anew", materialized="view"),
        "on_table_by_view": _node("model", "on_table", materialized="view"),
        "tested": _node("model", "facts", materialized="view"),
        "test": _node("test", "tested", "tested_rules"),
    }
    for name, node in nodes.items():
        node["name"] = name
    assert standing.candidates({"nodes": nodes}) == {
        "marts.rules",
        "marts.on_facts",
        "marts.on_view",
    }


def test_the_digest_tells_contents_and_names(tmp_path: Path) -> None:
    first, second = tmp_path / "a.sql", tmp_path / "b.sql"
    first.write_text("select 1")
    second.write_text("select 2")
    digest = standing.project_digest([first, second])
    assert standing.project_digest([second, first]) == digest
    second.write_text("select 3")
    assert standing.project_digest([first, second]) != digest
    second.write_text("select 2")
    renamed = second.rename(tmp_path / "c.sql")
    assert standing.project_digest([first, renamed]) != digest
