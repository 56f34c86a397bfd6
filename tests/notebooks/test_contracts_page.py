"""docs/contracts.md against what is built: every table, column and command it promises.

Keep out: what columns mean (the models' own tests).
"""

import re
from pathlib import Path

import pytest
import typer

from dagster_project.cli import (
    gateway,
    guardrails,
    identity,
    inspect,
    operate,
    review,
    run,
    stages,
)
from dagster_project.cli.app import app
from sandbox import scorecard
from warehouse import Settings, open_warehouse

PAGE = Path(__file__).resolve().parents[2] / "docs" / "contracts.md"
SCHEMAS = ("raw", "identity", "marts", "features", "ml", "activation", "delivery")
FAMILIES = (
    gateway,
    guardrails,
    identity,
    inspect,
    operate,
    review,
    run,
    stages,
)  # imported for the commands they register


@pytest.fixture(scope="module")
def sections() -> dict[str, str]:
    """Title -> text of each second-level section."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def tables_in(text: str, schema: str) -> dict[str, list[str]]:
    """`table(column, column)` in back-ticks, as {schema.table: columns}."""
    found = re.findall(r"`(?:(\w+)\.)?(\w+)\(([a-z0-9_, ]+)\)`", text)
    return {f"{named or schema}.{table}": columns.split(", ") for named, table, columns in found}


def promised(sections: dict[str, str]) -> dict[str, list[str]]:
    own = {}
    for schema in SCHEMAS:
        own |= tables_in(sections[schema], schema)
    return own | tables_in(sections["Later"], "")


def test_the_page_promises_tables_of_every_schema(sections: dict[str, str]) -> None:
    """Guards the other tests: a page whose format changed would promise nothing."""
    found = promised(sections)
    assert {name.split(".")[0] for name in found} == set(SCHEMAS)
    assert len(found) > 60


def test_every_command_on_the_page_exists(sections: dict[str, str]) -> None:
    root = typer.main.get_command(app)
    named = set(re.findall(r"`loopdrive ([a-z]+)(?: ([a-z]+))?", sections["Command line"]))
    assert {first for first, _ in named} == set(root.commands)  # type: ignore[attr-defined]
    for first, second in named:
        group = root.commands[first]  # type: ignore[attr-defined]
        assert not hasattr(group, "commands") or second in group.commands, f"{first} {second}"


def test_later_names_no_command_that_exists(sections: dict[str, str]) -> None:
    root = typer.main.get_command(app)
    for command in re.findall(r"`([a-z]+)(?: [^`]*)?`", sections["Later"]):
        assert command not in root.commands, command  # type: ignore[attr-defined]


def test_the_scorecard_on_the_page_is_the_scorecard(sections: dict[str, str]) -> None:
    for key in scorecard.KEYS:
        assert f"`{key}`" in sections["Command line"], key


@pytest.mark.verify
@pytest.mark.timeout(900)
def test_every_column_on_the_page_exists(sections: dict[str, str], played: Settings) -> None:
    """An analyst's query, written from the page, must run."""
    there: dict[str, set[str]] = {}
    for row in open_warehouse(played).rows("""
        select attrelid::regclass::text as name, attname as column_name
        from pg_attribute
        inner join pg_class on pg_attribute.attrelid = pg_class.oid
        where attnum > 0 and not attisdropped and relkind in ('r', 'p', 'v')
    """):
        there.setdefault(row["name"], set()).add(row["column_name"])
    missing = {
        name: sorted(set(columns) - there.get(name, set()))
        for name, columns in promised(sections).items()
        if set(columns) - there.get(name, set())
    }
    assert not missing


@pytest.mark.verify
@pytest.mark.timeout(900)
def test_no_published_table_is_missing_from_the_page(
    sections: dict[str, str], played: Settings
) -> None:
    """A table that analysts can see and nobody promises is a table somebody will rely on."""
    seen = open_warehouse(played).rows("""
        select table_schema || '.' || table_name as name from information_schema.tables
        where table_schema in ('marts', 'features', 'ml', 'activation', 'delivery')
            and table_name not like 'int\\_%'
    """)
    page = PAGE.read_text(encoding="utf-8")
    unnamed = [row["name"] for row in seen if row["name"].split(".")[1] not in page]
    assert not unnamed
