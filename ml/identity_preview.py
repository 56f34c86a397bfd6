"""Other rules, before they bite: the person graph that they would give from the same evidence.

Here: judging identifiers and edges under changed rules, the ids that would result, what would
move. Not here: the algorithm (`ml.identity`), comparing partitions (`ml.identity_changes`),
reading tables.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from ml import identity, person_ids
from ml.identity_changes import Changes
from ml.identity_rules import PAIR, Rules

IDENTIFIER = ["identifier_type", "identifier_value"]
SIDES = ("left_reason", "right_reason")
# Of the identifiers that an event or order came with, the first known one says whose it is.
BEST_FIRST = (
    *("user_id", "crm_contact_id", "email", "phone", "device_id", "anonymous_id"),
    *("previous_anonymous_id", "ad_click_id"),
)


@dataclass(frozen=True)
class Wording:
    """What the changed rules say about values: patterns that name nobody, mailboxes that link.

    blocked: (identifier_type or *, regular expression), beside those in force.
    linking: local parts and domains whose mailboxes link although a list names them.
    """

    blocked: Sequence[tuple[str, str]] = ()
    linking: Collection[str] = ()


def judged(
    edges: pd.DataFrame, identifiers: pd.DataFrame, types: pd.DataFrame, wording: Wording
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Edges and identifiers with the `reason` that these rules give them (null: they link).

    edges: identity.int_edges_observed. identifiers: identity.int_identifiers_observed. types:
    identifier_type, is_strong, max_strong_neighbours of each type.
    """
    value = identifiers["reason"].where(identifiers["reason"] != "shared_identifier")
    value = value.mask(_is_named(identifiers, wording.linking) & (value != "blocked_value"))
    value = value.mask(_is_blocked(identifiers, wording.blocked), "blocked_value")
    nodes = identifiers[IDENTIFIER].assign(reason=value)
    crowded = _crowded(edges, nodes, types)
    both = nodes.merge(crowded.assign(is_crowded=True), on=IDENTIFIER, how="left")
    is_shared = both["is_crowded"].notna() & both["reason"].isna()
    nodes["reason"] = both["reason"].mask(is_shared, "shared_identifier").to_numpy()
    marked = nodes.dropna(subset="reason")
    out = edges.drop(columns="reason")
    for side, ends in zip(SIDES, (PAIR[:2], PAIR[2:]), strict=True):
        named = marked.set_axis([*ends, side], axis=1)
        out = out.merge(named, on=ends, how="left")
    first, last = (out[one].fillna(out[two]) for one, two in (SIDES, SIDES[::-1]))
    out["reason"] = first.where(first.isna() | (first <= last), last)
    known = identifiers.assign(reason=nodes["reason"], is_blocked=nodes["reason"].notna())
    return out.drop(columns=list(SIDES)), known


def _is_blocked(identifiers: pd.DataFrame, patterns: Sequence[tuple[str, str]]) -> pd.Series:
    found = pd.Series(False, index=identifiers.index)
    for kind, pattern in patterns:
        matches = identifiers["identifier_value"].str.contains(
            re.compile(pattern, re.IGNORECASE), regex=True
        )
        found |= matches & ((identifiers["identifier_type"] == kind) | (kind == "*"))
    return found


def _is_named(identifiers: pd.DataFrame, names: Collection[str]) -> pd.Series:
    parts = identifiers["identifier_value"].str.lower().str.partition("@")
    local = parts[0].str.partition("+")[0]
    is_email = identifiers["identifier_type"] == "email"
    return is_email & (local.isin(list(names)) | parts[2].isin(list(names)))


def _crowded(edges: pd.DataFrame, nodes: pd.DataFrame, types: pd.DataFrame) -> pd.DataFrame:
    """Identifiers with more neighbours of one strong type than one person can have."""
    pairs = edges[PAIR]
    sides = [*IDENTIFIER, "neighbour_type", "neighbour_value"]
    both = [pairs.set_axis(sides, axis=1), pairs[[*PAIR[2:], *PAIR[:2]]].set_axis(sides, axis=1)]
    seen = pd.concat(both, ignore_index=True)
    strong = set(types.loc[types["is_strong"].fillna(False).astype(bool), "identifier_type"])
    seen = seen[seen["neighbour_type"].isin(strong)]
    seen = seen[seen["identifier_type"] != seen["neighbour_type"]]
    nobodies = nodes.loc[nodes["reason"] == "blocked_value", IDENTIFIER]
    gone = nobodies.set_axis(sides[2:], axis=1).assign(is_nobody=True)
    seen = seen.merge(gone, on=sides[2:], how="left")
    seen = seen[seen["is_nobody"].isna()]
    counts = seen.groupby(sides[:3], as_index=False).size()
    most = types.set_index("identifier_type")["max_strong_neighbours"].astype(float)
    limit = counts["identifier_type"].map(most)
    return counts.loc[counts["size"] > limit, IDENTIFIER].drop_duplicates()


def partition(
    edges: pd.DataFrame,
    identifiers: pd.DataFrame,
    rules: Rules,
    ledger: pd.DataFrame,
    merges: pd.DataFrame,
    key: bytes,
    as_of: datetime,
) -> pd.DataFrame:
    """person_id, identifier_type, identifier_value as the next build would have them."""
    resolved = identity.resolve(edges, identifiers, rules)
    assigned = person_ids.assign_ids(resolved.clusters, ledger, merges, key, as_of)
    return assigned.clusters[["person_id", *IDENTIFIER]]


def owners(sets: pd.DataFrame, persons: pd.DataFrame) -> pd.Series:
    """person_id per row of `sets` (identifiers by the names of BEST_FIRST), null for nobody."""
    found = pd.Series(None, index=sets.index, dtype=object)
    for name in BEST_FIRST:
        kind = name.removeprefix("previous_")
        own = persons[persons["identifier_type"] == kind]
        by_value = own.set_index("identifier_value")["person_id"]
        found = found.where(found.notna(), sets[name].map(by_value))
    return found


def moved_orders(orders: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """The orders that change person: order_id, net_revenue_amount, before, after.

    orders: order_id, person_id, net_revenue_amount and the identifiers each came with.
    """
    told = orders[["order_id", "net_revenue_amount"]].assign(
        before=orders["person_id"], after=owners(orders, after)
    )
    same = (told["before"] == told["after"]) | (told["before"].isna() & told["after"].isna())
    return told[~same].sort_values("order_id", ignore_index=True)


def contradictions(assignments: pd.DataFrame, changes: Changes) -> int:
    """Persons and programs whose group would be in doubt: those that merge disagree.

    assignments: person_id, program, assignment.
    """
    into = changes.merging.rename(columns={"before": "person_id"})
    both = assignments.merge(into, on="person_id")
    groups = both.groupby(["after", "program"])["assignment"].nunique()
    return int((groups > 1).sum())


def figures(
    changes: Changes, orders: pd.DataFrame, delivery: Mapping[str, pd.DataFrame]
) -> dict[str, Any]:
    """What the change amounts to, for people and for JSON.

    delivery: `decisions` (person_id of decisions whose reward is still open), `messages`
    (person_id of messages not sent yet), `assignments` (person_id, program, assignment).
    """
    merging, splitting = set(changes.merging["before"]), set(changes.splitting["before"])
    counted = {
        f"{name}_of_{side}": int(frame["person_id"].isin(persons).sum())
        for name, frame in delivery.items()
        for side, persons in (("merging", merging), ("splitting", splitting))
    }
    return {
        "persons_merging": len(merging),
        "persons_merged_into": changes.merging["after"].nunique(),
        "persons_splitting": len(splitting),
        "persons_split_into": changes.splitting["after"].nunique(),
        "identifiers_moving": len(changes.moved),
        "identifiers_left_alone": int(changes.moved["after"].isna().sum()),
        "orders_moving": len(orders),
        "revenue_moving": round(float(orders["net_revenue_amount"].sum()), 2),
        **counted,
        "assignments_contradicting": contradictions(delivery["assignments"], changes),
    }
