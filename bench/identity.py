"""The person graph from observed edges to persons: everything, then a day that adds one per cent.

Belongs here: the measurement, and the graph it takes. Keep out: anything the graph needs.

The graph has the shape of an anonymous shop's: households around a phone or a device, browsers
that come and go, twenty kiosks that hundreds of people used, fifty chains as long as their weakest
link lets them be. A fifth of the observations repeat an edge.
"""

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bench.ingestion import peak_memory
from dagster_project import person_graph
from warehouse import Warehouse

OBSERVATIONS = 5_000_000
DAY_SHARE = 0.01
SEED = 7
KIOSKS, KIOSK_GUESTS = 20, 300
CHAINS, CHAIN_LENGTH = 50, 400
PER_PERSON = 10.5
# Sizes of households, street by street of twelve persons.
HOUSEHOLDS = np.array([1, 1, 1, 1, 1, 1, 2, 2, 3, 4])
KEY = b"a key of the benchmark"
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
FIRST_SECOND = 1_700_000_000
MODELS = Path(__file__).resolve().parents[1] / "dbt_project" / "models" / "identity"
KINDS = ("anonymous_id", "device_id", "email", "phone")
PAIR = ("left_type", "left_value", "right_type", "right_value")

WarehouseFactory = Callable[[], AbstractContextManager[Warehouse]]
Ints = NDArray[np.int64]


def run(warehouse_factory: WarehouseFactory, observations: int = OBSERVATIONS) -> dict[str, Any]:
    """Measure; each call of the factory gives an empty, migrated warehouse.

    Seconds from and to Postgres tables: all edges into no person; then a day of one per cent more
    observations, an eighth of them about new people. This process' peak memory in MiB.
    """
    left, right = _observed(observations)
    is_new_day = np.random.default_rng(SEED + 1).random(len(left)) < DAY_SHARE
    with warehouse_factory() as warehouse:
        _create(warehouse)
        edges = _land(warehouse, left[~is_new_day], right[~is_new_day], revision=1)
        with peak_memory() as peak:
            whole, counts = _timed(warehouse)
        added = _land(warehouse, left[is_new_day], right[is_new_day], revision=2)
        day, changed = _timed(warehouse)
    return {
        "observations": observations,
        "edges": edges,
        "identifiers": counts["identifiers"],
        "persons": counts["clusters"],
        "components_cut": counts["components_cut"],
        "full_seconds": round(whole, 2),
        "peak_mebibytes": round(peak[0]),
        "day_edges": added,
        "day_rows_changed": changed["rows_changed"],
        "day_seconds": round(day, 2),
    }


def _observed(count: int) -> tuple[Ints, Ints]:
    """Pairs of identifiers as numbers: kind + 4 * place."""
    draw = np.random.default_rng(SEED)
    people = int(count / PER_PERSON)
    special = [_kiosks(draw, people), _chains()]
    rest = count - sum(len(pairs) for pairs in special)
    person = draw.integers(0, people, rest)
    household = person - person % HOUSEHOLDS[person // 12 % len(HOUSEHOLDS)]
    # Browsers are made anew again and again; devices, mails and telephones stay.
    browser = 0 + 4 * (person * 12 + draw.integers(0, 9, rest))
    device = 1 + 4 * (np.where(draw.random(rest) < 0.02, household, person) * 2)
    device += 4 * draw.integers(0, 2, rest)
    mail, phone = 2 + 4 * person, 3 + 4 * household
    pairs = np.stack([browser, device], axis=1)
    fate = draw.random(rest)
    pairs[fate < 0.45] = np.stack([browser, mail], axis=1)[fate < 0.45]
    pairs[fate < 0.15] = np.stack([device, mail], axis=1)[fate < 0.15]
    pairs[fate < 0.06] = np.stack([mail, phone], axis=1)[fate < 0.06]
    whole = np.concatenate([pairs, *special])
    whole = whole[draw.permutation(len(whole))]
    return whole[:, 0], whole[:, 1]


def _kiosks(draw: np.random.Generator, people: int) -> Ints:
    kiosk = np.repeat(np.arange(KIOSKS), KIOSK_GUESTS) + 40 * people
    return np.stack([1 + 4 * kiosk, 2 + 4 * draw.integers(0, people, len(kiosk))], axis=1)


def _chains() -> Ints:
    """Browsers and devices in turn, each seen with the next."""
    place = 10**9 + np.arange(CHAINS * CHAIN_LENGTH).reshape(CHAINS, CHAIN_LENGTH)
    links = 4 * place + np.arange(CHAIN_LENGTH) % 2
    return np.stack([links[:, :-1].ravel(), links[:, 1:].ravel()], axis=1)


def _create(warehouse: Warehouse) -> None:
    """Tables and views as dbt makes them; the marks are made by the models' own SQL elsewhere."""
    key = "left_value, right_value, left_type, right_type"
    for statement in (
        "create table identity.int_identifier_pairs_counted (left_type text, left_value text,"
        " right_type text, right_value text, evidence_count bigint, first_seen_at timestamptz,"
        " last_seen_at timestamptz, batch_id bigint, revision bigint)",
        "create table identity.int_identifiers_observed (identifier_type text,"
        " identifier_value text, first_seen_at timestamptz, reason text, revision bigint)",
        "create table identity.int_identifier_rules as select * from (values"
        " ('email', 3, false, 5, true, 'd'), ('phone', 4, false, 5, true, 'd'),"
        " ('device_id', 5, false, 20, true, 'd'), ('anonymous_id', 6, false, null, false, 'd'),"
        " ('*', 1000, false, 50, true, 'd')) as rules (identifier_type, priority, is_unique,"
        " max_per_person, counts_in_size, rules_digest)",
        f"create unique index on identity.int_identifier_pairs_counted ({key})",
        "create index on identity.int_identifier_pairs_counted (right_value)",
        "create index on identity.int_identifier_pairs_counted (revision)",
        "create unique index on identity.int_identifiers_observed"
        " (identifier_value, identifier_type)",
        "create index on identity.int_identifiers_observed (revision)",
        "create index on identity.int_identifiers_observed (reason)",
        f"create view identity.int_edges_observed as {_model('int_edges_observed')}",
    ):
        warehouse.execute(statement.replace("%", "%%"))


def _model(name: str) -> str:
    text = (MODELS / f"{name}.sql").read_text()
    text = re.sub(r"\{\{ config\(.*?\) \}\}", "", text, flags=re.DOTALL)
    return re.sub(r"\{\{ ref\('(\w+)'\) \}\}", r"identity.\1", text)


def _land(warehouse: Warehouse, left: Ints, right: Ints, revision: int) -> int:
    """What dbt's models hold after these observations; returns the number of their edges."""
    pairs, counts = np.unique(np.stack([left, right]), axis=1, return_counts=True)
    edges = _named(pairs[0], "left") | _named(pairs[1], "right")
    table = pa.table(edges | _evidence(pairs[0] + pairs[1], counts, revision))
    names = np.unique(pairs)
    people = _beside(pairs, names)
    shared = (people > 3) & (names % 4 != 2)
    identifiers = pa.table(
        {
            **_named(names, "identifier"),
            "first_seen_at": _moments(names),
            "reason": pc.if_else(pa.array(shared), "shared_identifier", pa.scalar(None, "string")),
            "revision": np.full(len(names), revision),
        }
    )
    keys = ["identifier_type", "identifier_value"]
    warehouse.insert_missing("identity.int_identifiers_observed", identifiers, keys[::-1])
    warehouse.upsert(
        "identity.int_identifier_pairs_counted", table, [PAIR[k] for k in (1, 3, 0, 2)]
    )
    for name in ("int_identifiers_observed", "int_identifier_pairs_counted"):
        warehouse.execute(f"analyze identity.{name}")
    return table.num_rows


def _named(codes: Ints, end: str) -> dict[str, Any]:
    kinds = pa.array(KINDS).take(pa.array(codes % 4))
    return {
        f"{end}_type": kinds,
        f"{end}_value": pc.binary_join_element_wise(
            pc.utf8_slice_codeunits(kinds, 0, 2), pa.array(codes // 4 * 7919).cast("string"), "-"
        ),
    }


def _moments(codes: Ints) -> pa.Array:
    seconds = FIRST_SECOND + codes * 7919 % 31_000_000
    return pa.array(seconds * 1_000_000).cast(pa.timestamp("us", tz="UTC"))


def _evidence(codes: Ints, counts: Ints, revision: int) -> dict[str, Any]:
    return {
        "evidence_count": counts,
        "first_seen_at": _moments(codes),
        "last_seen_at": _moments(codes),
        "batch_id": np.full(len(codes), revision),
        "revision": np.full(len(codes), revision),
    }


def _beside(pairs: Ints, names: Ints) -> Ints:
    """With how many mails each identifier was seen."""
    count = np.zeros(len(names), dtype=np.int64)
    for own, other in (pairs, pairs[::-1]):
        count += np.bincount(np.searchsorted(names, own[other % 4 == 2]), minlength=len(names))
    return count


def _timed(warehouse: Warehouse) -> tuple[float, dict[str, int]]:
    begun = time.perf_counter()
    counts = person_graph.resolve(warehouse, KEY, AS_OF)
    return time.perf_counter() - begun, counts
