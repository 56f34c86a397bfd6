"""A day of the person graph: what changed is read, resolved, given ids, and written.

Belongs here: which rows are read for which step, and what is written in one transaction.
Keep out: the algorithm (`ml.identity`, `ml.identity_delta`, `ml.person_ids`), Dagster's assets.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml import identity, identity_delta, person_ids
from ml.identity_graph import IDENTIFIER
from ml.identity_rules import PAIR, Rules, rules_from_frames
from warehouse import Warehouse

EDGES = "identity.int_edges_observed"
IDENTIFIERS = "identity.int_identifiers_observed"
TYPES = "identity.int_identifier_rules"
VERDICTS = "ml.identity_verdicts"
CLUSTERS = "ml.identity_clusters"
STATE = "ml.identity_resolved"
MOVES = "ml.identity_moves"
LEDGER = "identity.person_id_ledger"
MERGES = "identity.merges"
# With more identifiers new on a day than this share of all, reading everything is faster.
LARGEST_DAY = 0.25


@dataclass(frozen=True)
class _State:
    evidence_revision: int = -1
    resolution: int = 0
    rules_digest: str = ""


@dataclass(frozen=True)
class _Changes:
    """Rows to write. clusters: identifier, cluster_id, component_id, with the id held before."""

    clusters: pd.DataFrame
    verdicts: pd.DataFrame
    dropped_verdicts: pd.DataFrame
    assigned: person_ids.Assigned


def resolve(warehouse: Warehouse, key: bytes, as_of: datetime) -> dict[str, int]:
    """Bring verdicts, clusters, ledger and merges up to the observed evidence.

    Only components with new or changed evidence are looked at, and only rows that differ are
    written; under other rules, or from nothing, all. Either way the tables hold what resolving
    everything gives. Returns counts for people to look at.
    """
    rules = read_rules(warehouse)
    state = _state(warehouse)
    if state.rules_digest != rules.digest:
        return _resolve_all(warehouse, key, as_of, rules, state)
    edges = warehouse.since(EDGES, "revision", state.evidence_revision)
    identifiers = warehouse.since(IDENTIFIERS, "revision", state.evidence_revision)
    known = warehouse.row_count(CLUSTERS)
    if identifiers.num_rows > LARGEST_DAY * known:
        return _resolve_all(warehouse, key, as_of, rules, state)
    return _resolve_day(warehouse, key, as_of, rules, state, edges, identifiers)


def read_rules(warehouse: Warehouse) -> Rules:
    """The rules as the seed, the configuration and the operators have them."""
    types = warehouse.table(TYPES).to_pandas()
    return rules_from_frames(types, warehouse.table("identity.link_rules").to_pandas())


def _state(warehouse: Warehouse) -> _State:
    rows = warehouse.table(STATE).drop_columns("is_only").to_pylist()
    return _State(**rows[0]) if rows else _State()


def _resolve_all(
    warehouse: Warehouse, key: bytes, as_of: datetime, rules: Rules, state: _State
) -> dict[str, int]:
    edges, identifiers = warehouse.table(EDGES), warehouse.table(IDENTIFIERS)
    revision = _latest(edges, identifiers, state)
    judged = identifiers.select([*IDENTIFIER, "first_seen_at"])
    judged = judged.append_column("is_blocked", identifiers["reason"].is_valid())
    resolved = identity.resolve(edges, judged, rules)
    ledger, merges = warehouse.table(LEDGER).to_pandas(), warehouse.table(MERGES).to_pandas()
    path = resolved.verdicts if len(ledger) else None
    assigned = person_ids.assign_ids(resolved.clusters, ledger, merges, key, as_of, path)
    rows = _cluster_rows(assigned.clusters, resolved.outside.to_pandas())
    held = warehouse.table(CLUSTERS).to_pandas()
    exceptions = resolved.exceptions.to_pandas()
    before = warehouse.table(VERDICTS).to_pandas()
    changes = _Changes(
        clusters=_differing(rows, held, IDENTIFIER, ["cluster_id", "component_id"]),
        verdicts=_differing(exceptions, before, PAIR, ["verdict", "reason"]),
        dropped_verdicts=_gone(before, exceptions),
        assigned=assigned,
    )
    _write(warehouse, changes, _State(revision, state.resolution, rules.digest), as_of)
    return {**resolved.summary(), "rows_changed": len(changes.clusters)}


def _resolve_day(
    warehouse: Warehouse,
    key: bytes,
    as_of: datetime,
    rules: Rules,
    state: _State,
    edges: pa.Table,
    identifiers: pa.Table,
) -> dict[str, int]:
    revision = _latest(edges, identifiers, state)
    news, changed = identifiers.to_pandas(), edges.to_pandas()
    held = _matching(warehouse, CLUSTERS, identity_delta.named(changed, news, rules))
    changed, held = _with_judged(warehouse, changed, news, held, rules)
    drawn = identity_delta.sketch(changed, news, held, rules)
    grown = _any_of(warehouse, CLUSTERS, "cluster_id", drawn.grown)
    growth = identity_delta.grow(drawn, news, grown, rules)
    again = growth.sketch.again
    members = pd.concat(
        [
            _any_of(warehouse, CLUSTERS, "cluster_id", again.clusters),
            _any_of(warehouse, CLUSTERS, "component_id", again.components),
        ]
    )
    whole = pd.concat([members[IDENTIFIER], again.loose]).drop_duplicates()
    known = _matching(warehouse, IDENTIFIERS, whole)
    inner = _matching(warehouse, EDGES, whole.set_axis(PAIR[:2], axis=1))
    outcome = identity_delta.settle(growth, members, known, inner, rules)
    ledger = _matching(warehouse, LEDGER, outcome.clusters[IDENTIFIER])
    merges = _any_of(warehouse, MERGES, "absorbed_person_id", sorted(ledger["person_id"]))
    assigned = person_ids.assign_ids(outcome.clusters, ledger, merges, key, as_of, outcome.verdicts)
    rows = _cluster_rows(assigned.clusters, outcome.grown, outcome.outside)
    before = _matching(warehouse, VERDICTS, outcome.considered)
    changes = _Changes(
        clusters=_differing(
            rows, pd.concat([held, members]), IDENTIFIER, ["cluster_id", "component_id"]
        ),
        verdicts=_differing(outcome.exceptions, before, PAIR, ["verdict", "reason"]),
        dropped_verdicts=_gone(before, outcome.exceptions),
        assigned=assigned,
    )
    _write(warehouse, changes, _State(revision, state.resolution, rules.digest), as_of)
    return {
        "edges_changed": len(changed),
        "identifiers_new": len(news),
        "identifiers_resolved_again": len(whole),
        "components_cut": outcome.cut_count,
        "rows_changed": len(changes.clusters),
    }


def _with_judged(
    warehouse: Warehouse, edges: pd.DataFrame, news: pd.DataFrame, held: pd.DataFrame, rules: Rules
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """With all edges of the identifiers whose reason changed: each of them changes with it."""
    judged = news.merge(held[IDENTIFIER], on=IDENTIFIER)[IDENTIFIER]
    if judged.empty:
        return edges, held
    ends = [
        _matching(warehouse, EDGES, judged.set_axis(end, axis=1)) for end in (PAIR[:2], PAIR[2:])
    ]
    whole = pd.concat([edges, *ends]).drop_duplicates(PAIR, ignore_index=True)
    return whole, _matching(warehouse, CLUSTERS, identity_delta.named(whole, news, rules))


def _matching(warehouse: Warehouse, table: str, keys: pd.DataFrame) -> pd.DataFrame:
    once = pa.Table.from_pandas(keys.drop_duplicates(), preserve_index=False)
    return warehouse.matching(table, once).to_pandas()


def _any_of(warehouse: Warehouse, table: str, column: str, values: list[str]) -> pd.DataFrame:
    return _matching(warehouse, table, pd.DataFrame({column: pd.Series(values, dtype="str")}))


def _latest(edges: pa.Table, identifiers: pa.Table, state: _State) -> int:
    found = [pc.max(table["revision"]).as_py() for table in (edges, identifiers)]
    return max(state.evidence_revision, *(value for value in found if value is not None), -1)


def _cluster_rows(assigned: pd.DataFrame, *rest: pd.DataFrame) -> pd.DataFrame:
    """identifier, cluster_id (the person, null for nobody), component_id."""
    named = assigned.drop(columns="cluster_id").rename(columns={"person_id": "cluster_id"})
    rows = pd.concat([named, *rest], ignore_index=True) if rest else named
    return rows.reindex(columns=[*IDENTIFIER, "cluster_id", "component_id"])


def _differing(
    rows: pd.DataFrame, held: pd.DataFrame, key: list[str], columns: list[str]
) -> pd.DataFrame:
    """The rows that are new or say something else, with what was held as `held_…`."""
    if held.empty:
        return rows.assign(**{f"held_{name}": None for name in columns})
    once = held[[*key, *columns]].drop_duplicates(key)
    both = rows.merge(
        once.rename(columns={name: f"held_{name}" for name in columns}),
        on=key,
        how="left",
        indicator="is_held",
    )
    same = both["is_held"] == "both"
    for name in columns:
        mine, theirs = both[name], both[f"held_{name}"]
        same &= (mine == theirs).fillna(False) | (mine.isna() & theirs.isna())
    return both[~same].drop(columns="is_held")


def _gone(held: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Keys of the verdicts held that are no exception any more."""
    if held.empty:
        return held[PAIR]
    both = held[PAIR].merge(rows[PAIR], on=PAIR, how="left", indicator="still")
    return both.loc[both["still"] == "left_only", PAIR]


def _write(warehouse: Warehouse, changes: _Changes, state: _State, as_of: datetime) -> None:
    clusters, assigned = changes.clusters, changes.assigned
    number = state.resolution
    if len(clusters):
        number = max(state.evidence_revision, state.resolution + 1)
    rows = clusters[[*IDENTIFIER, "cluster_id", "component_id"]].assign(resolution=number)
    moved = clusters[clusters["held_cluster_id"].notna()]
    moved = moved[moved["cluster_id"].fillna("") != moved["held_cluster_id"]]
    moves = moved[[*IDENTIFIER, "held_cluster_id", "cluster_id"]].set_axis(
        [*IDENTIFIER, "from_person_id", "to_person_id"], axis=1
    )
    verdicts = changes.verdicts[[*PAIR, "verdict", "reason"]]
    with warehouse.transaction() as connection:
        _put(warehouse, CLUSTERS, rows, IDENTIFIER, connection)
        _put(warehouse, VERDICTS, verdicts, PAIR, connection)
        warehouse.remove(VERDICTS, _table(changes.dropped_verdicts), connection)
        warehouse.append(MOVES, _table(moves.assign(resolution=number, moved_at=as_of)), connection)
        _put(warehouse, LEDGER, assigned.ledger, IDENTIFIER, connection)
        warehouse.insert_missing(MERGES, _table(assigned.merges), ["merge_id"], connection)
        warehouse.update(MERGES, _table(assigned.undone), ["merge_id"], connection)
        held = {**vars(state), "resolution": number, "is_only": True}
        warehouse.upsert(STATE, pa.Table.from_pylist([held]), ["is_only"], connection)


def _put(
    warehouse: Warehouse, table: str, rows: pd.DataFrame, keys: list[str], connection: Any
) -> None:
    """Rows by key; all at once where the table is empty. The ledger's are new, never others."""
    if warehouse.row_count(table, connection) == 0:
        warehouse.fill(table, _table(rows), connection)
    else:
        warehouse.upsert(table, _table(rows), keys, connection)


def _table(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(rows, preserve_index=False)
