"""Tables of the person graph in memory, and days that change them.

Belongs here: what stands in for the warehouse, how evidence becomes marks and edges.
Keep out: expectations.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pyarrow as pa

from ml.identity_graph import IDENTIFIER
from ml.identity_rules import PAIR

CLUSTERS = [*IDENTIFIER, "cluster_id", "component_id", "resolution"]
COLUMNS = {
    "ml.identity_clusters": CLUSTERS,
    "ml.identity_verdicts": [*PAIR, "verdict", "reason"],
    "ml.identity_resolved": ["evidence_revision", "resolution", "rules_digest", "is_only"],
    "ml.identity_moves": [*IDENTIFIER, "from_person_id", "to_person_id", "resolution", "moved_at"],
    "identity.person_id_ledger": [*IDENTIFIER, "person_id", "founded_at"],
    "identity.merges": [
        *("merge_id", "survivor_person_id", "absorbed_person_id", "merged_at", "evidence"),
        *("undone_at", "undone_by"),
    ],
    "identity.link_rules": ["action", *PAIR],
}


class Tables:
    """The part of `Warehouse` that the person graph uses, over pandas frames."""

    def __init__(self, types: pd.DataFrame) -> None:
        self.held = {name: pd.DataFrame(columns=columns) for name, columns in COLUMNS.items()}
        self.held["identity.int_identifier_rules"] = types

    def table(self, name: str) -> pa.Table:
        return _arrow(self.held[name])

    def since(self, name: str, column: str, value: int) -> pa.Table:
        rows = self.held[name]
        return _arrow(rows[rows[column] > value])

    def matching(self, name: str, keys: pa.Table) -> pa.Table:
        wanted = keys.to_pandas().astype(object)
        return _arrow(self.held[name].merge(wanted, on=list(wanted.columns)))

    def row_count(self, name: str, connection: Any = None) -> int:
        return len(self.held[name])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield None

    def fill(self, name: str, rows: pa.Table, connection: Any) -> None:
        self.held[name] = rows.to_pandas().astype(object)

    def append(self, name: str, rows: pa.Table, connection: Any) -> None:
        self.held[name] = _both(self.held[name], rows)

    def upsert(self, name: str, rows: pa.Table, keys: Sequence[str], connection: Any) -> None:
        self.held[name] = _both(self.held[name], rows).drop_duplicates(keys, keep="last")

    def insert_missing(
        self, name: str, rows: pa.Table, keys: Sequence[str], connection: Any
    ) -> None:
        self.held[name] = _both(self.held[name], rows).drop_duplicates(keys, keep="first")

    def remove(self, name: str, keys: pa.Table, connection: Any) -> None:
        gone = keys.to_pandas().astype(object)
        both = self.held[name].merge(gone, on=list(gone.columns), how="left", indicator="gone")
        self.held[name] = both[both["gone"] == "left_only"].drop(columns="gone")

    def update(self, name: str, rows: pa.Table, keys: Sequence[str], connection: Any) -> None:
        held = self.held[name].set_index(list(keys))
        for row in rows.to_pylist():
            for column in set(row) - set(keys):
                held.loc[row[keys[0]], column] = row[column]
        self.held[name] = held.reset_index()


def _both(held: pd.DataFrame, rows: pa.Table) -> pd.DataFrame:
    more = rows.to_pandas().astype(object)
    both = pd.concat([held, more], ignore_index=True).reindex(columns=held.columns)
    return both.astype(object).where(both.notna(), None)


def _arrow(rows: pd.DataFrame) -> pa.Table:
    times = [name for name in rows.columns if name.endswith("_at")]
    numbers = ("revision", "resolution", "evidence_revision", "evidence_count", "priority")
    fields = {
        name: pa.timestamp("us", tz="UTC")
        if name in times
        else pa.int64()
        if name in (*numbers, "max_per_person")
        else pa.bool_()
        if name.startswith(("is_", "counts_"))
        else pa.string()
        for name in rows.columns
    }
    clean = rows.astype(object).where(rows.notna(), None)
    return pa.table({n: pa.array(clean[n].tolist(), kind) for n, kind in fields.items()})


def observe(
    tables: Tables,
    evidence: Mapping[tuple[str, str], tuple[int, pd.Timestamp]],
    shared_from: int,
    revision: int,
) -> None:
    """What dbt makes of all evidence so far: pairs of 'type:value' -> (count, first seen).

    A pair of an identifier with itself is the identifier. An identifier with `shared_from` or
    more user ids beside it is shared; the value `null` is blocked.
    """
    beside: dict[str, set[str]] = {}
    for one, other in evidence:
        for name, neighbour in ((one, other), (other, one)):
            if neighbour.startswith("user_id:") and neighbour != name:
                beside.setdefault(name, set()).add(neighbour)
    names = sorted({name for pair in evidence for name in pair})
    reason = {name: _reason(name, beside, shared_from) for name in names}
    seen = {
        name: min(first for pair, (_, first) in evidence.items() if name in pair) for name in names
    }
    identifiers = pd.DataFrame(
        [(*name.split(":"), seen[name], reason[name]) for name in names],
        columns=[*IDENTIFIER, "first_seen_at", "reason"],
    )
    edges = pd.DataFrame(
        [
            (*a.split(":"), *b.split(":"), count, first, min_of(reason[a], reason[b]))
            for (a, b), (count, first) in evidence.items()
            if a != b
        ],
        columns=[*PAIR, "evidence_count", "first_seen_at", "reason"],
    )
    _renew(
        tables, "identity.int_identifiers_observed", identifiers, IDENTIFIER, ["reason"], revision
    )
    _renew(
        tables,
        "identity.int_edges_observed",
        edges,
        PAIR,
        ["evidence_count", "first_seen_at"],
        revision,
    )


def _reason(name: str, beside: Mapping[str, set[str]], shared_from: int) -> str | None:
    if name.endswith(":null"):
        return "blocked_value"
    if not name.startswith("user_id:") and len(beside.get(name, ())) >= shared_from:
        return "shared_identifier"
    return None


def min_of(one: str | None, other: str | None) -> str | None:
    """As `least` in SQL: null only when both are."""
    return min((reason for reason in (one, other) if reason is not None), default=None)


def _renew(
    tables: Tables,
    name: str,
    rows: pd.DataFrame,
    keys: list[str],
    watched: list[str],
    revision: int,
) -> None:
    before = tables.held.get(name)
    if before is None:
        tables.held[name] = rows.assign(revision=revision)
        return
    both = rows.merge(before[[*keys, *watched, "revision"]], on=keys, how="left",
                      suffixes=("", "_before"))  # fmt: skip
    same = both["revision"].notna()
    for column in watched:
        mine, theirs = both[column], both[f"{column}_before"]
        same &= (mine == theirs) | (mine.isna() & theirs.isna())
    both["revision"] = both["revision"].where(same, revision).astype(int)
    tables.held[name] = both[[*rows.columns, "revision"]]
