"""A day's delta gives the tables that a full rebuild gives, on small random histories.

Belongs here: incremental equals full refresh, a second run changes nothing, rows before their
time. Keep out: what single models mean (test_core_models.py and dbt's unit tests).
"""

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.dbt_project import core_history as history
from warehouse import Warehouse

# What tells how a row came to be, not what it says.
BOOKKEEPING = {
    *("batch_id", "written_as_of", "change_number", "spend_batch_id"),
    *("revision", "set_revision", "resolution", "former_person_id"),
}
# A log of what was published, which a rebuild must not rewrite; and rows that keep old windows.
MEMORY = {
    "int_days_published",
    "restatements",
    "int_person_features_built",
    "int_person_personas_dated",
}
# Rows that only say that something was there.
GRAVES = {
    "int_persons_touched": " where fingerprint is not null",
    "int_person_facts_traced": " where not is_gone",
}
DAYS = 12
BUILT_ON = (4.0, 4.5, 12.0)


@pytest.mark.parametrize("seed", [3, *(pytest.param(n, marks=pytest.mark.verify) for n in (11,))])
def test_incremental_equals_full_refresh(warehouse: Warehouse, tmp_path: Path, seed: int) -> None:
    """Days with late, repeated and restated rows, in another rhythm for each seed but the first."""
    draw = random.Random(seed)
    built_on = BUILT_ON if seed == 3 else _rhythm(draw)
    story = history.events(draw, 260, DAYS)
    late = [event for event in story if draw.random() < 0.12]
    lines, cards = history.order_lines(draw, DAYS), history.contacts(draw, DAYS)
    consents = history.consents(draw, DAYS)
    before = history.START - timedelta(days=1)
    # Landed at once, though most of it is yet to happen.
    history.land_batch(warehouse, "raw.order_lines", lines)
    for place, day in enumerate(built_on):
        as_of = history.START + timedelta(days=day)
        fresh = [event for event in story if event not in late]
        history.land_known(warehouse, "raw.events", "occurred_at", fresh, before, as_of)
        history.land_known(warehouse, "raw.crm_contacts", "updated_at", cards, before, as_of)
        history.land_known(warehouse, "raw.crm_consents", "recorded_at", consents, before, as_of)
        _interfere(warehouse, draw, place, len(built_on) - 1, as_of, late, cards)
        history.build(warehouse, tmp_path, as_of)
        before = as_of
    incremental, remembered = _content(warehouse), _content(warehouse, only=MEMORY)
    assert {row["cause"] for row in warehouse.rows("select cause from marts.restatements")} >= {
        "landed_late",
        "spend_restated",
    }
    history.build(warehouse, tmp_path, before)
    assert _differing(_content(warehouse), incremental) == [], "a second run changed a table"
    assert _differing(_content(warehouse, only=MEMORY), remembered) == []
    history.build(warehouse, tmp_path, before, "--full-refresh")
    assert _differing(_content(warehouse), incremental) == []
    assert [name for name, rows in incremental.items() if not rows and _must_have(name)] == []


def _rhythm(draw: random.Random) -> tuple[float, ...]:
    """Five moments to build at, the last at the end, two of them perhaps on one day."""
    halves = sorted(draw.sample(range(4, 2 * DAYS), 4))
    return tuple(half / 2 for half in (*halves, 2 * DAYS))


def _interfere(
    warehouse: Warehouse,
    draw: random.Random,
    place: int,
    last: int,
    as_of: datetime,
    late: list[dict[str, Any]],
    cards: list[dict[str, Any]],
) -> None:
    """What no day should have to bear: corrections, repetitions and late comers."""
    # All spend with other figures, every time; and cards that came before, unchanged.
    history.land_batch(warehouse, "raw.ad_spend", history.spend(draw, DAYS))
    if place == 1:
        known = [card for card in cards if card["updated_at"] <= as_of]
        history.land_batch(warehouse, "raw.crm_contacts", known)
        history.land_batch(warehouse, "raw.currency_rates", history.rates())
        _split(warehouse)
    if place == last - 1:
        history.land_batch(warehouse, "raw.events", late)
        history.land_answers(warehouse, _somebody(warehouse), as_of - timedelta(days=2))
    if place == last:
        history.land_batch(warehouse, "raw.currency_rates", history.rates(1.1))


def _split(warehouse: Warehouse) -> None:
    """An operator parts two identifiers that events joined."""
    warehouse.execute(
        "insert into identity.link_rules values"
        " ('r1', 'exclude', 'anonymous_id', 'a1-0', 'user_id', 'u1', 'test', 'not the same')"
    )


def _somebody(warehouse: Warehouse) -> str:
    query = "select person_id from identity.contact_points order by address limit 1"
    return str(warehouse.rows(query)[0]["person_id"])


def _must_have(name: str) -> bool:
    """Twelve days are too few for a label, and nobody proposes links or merges here."""
    empty = {
        "identity.link_proposals",
        "identity.merges",
        "features.churn_labels",
        "marts.int_months_closed",
        "marts.int_paths_counted",
        "marts.int_program_lifts_estimated",
    }
    return name not in empty


def _content(warehouse: Warehouse, only: set[str] | None = None) -> dict[str, list[str]]:
    """Rows of every relation of the core as text, sorted, without bookkeeping.

    Memories are left out unless `only` names them.
    """
    columns: dict[str, list[str]] = {}
    for row in warehouse.rows(
        "select table_schema, table_name, column_name from information_schema.columns"
        " where table_schema in ('identity', 'marts', 'features')"
        " order by table_schema, table_name, ordinal_position"
    ):
        is_asked = row["table_name"] in (only or ()) or not (only or row["table_name"] in MEMORY)
        if is_asked and row["column_name"] not in BOOKKEEPING:
            name = f"{row['table_schema']}.{row['table_name']}"
            columns.setdefault(name, []).append(row["column_name"])
    return {name: _rows(warehouse, name, listed) for name, listed in columns.items()}


def _rows(warehouse: Warehouse, name: str, columns: list[str]) -> list[str]:
    listed = ", ".join(f'"{column}"' for column in columns)
    condition = GRAVES.get(name.split(".")[1], "")
    query = f"select row({listed})::text as said from {name}{condition} order by 1"
    return [row["said"] for row in warehouse.rows(query)]


def _differing(one: dict[str, list[str]], other: dict[str, list[str]]) -> list[Any]:
    """Relations that differ, with the first rows that only one of the two has."""
    return [
        (name, sorted(set(one.get(name, [])) ^ set(other.get(name, [])))[:4])
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]
