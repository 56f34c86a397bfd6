"""Changes of the person graph: what parts a merge again, and what other rules would move.

Here: the exclude rules that part a merge, two partitions compared, and which links by likeness
the guards allow. Not here: the partition itself (`ml.identity`), ids
(`ml.person_ids`), reading tables and writing rules.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import pandas as pd

from ml.identity_rules import PAIR

IDENTIFIER = ["identifier_type", "identifier_value"]
# An edge rejected for these reasons links nobody, whatever the rules about persons say.
NEVER_LINKS = frozenset(
    {"blocked_value", "shared_identifier", "role_mailbox", "disposable_mailbox"}
)

Node = tuple[str, str]
Pair = tuple[Node, Node]


@dataclass(frozen=True)
class Changes:
    """What turns one partition into another.

    merging: before, after; persons that end in one person together with others.
    splitting: before, after; persons whose identifiers end in more than one.
    moved: identifier_type, identifier_value, before, after; identifiers that change person
        (`after` null: the identifier belongs to nobody any more).
    """

    merging: pd.DataFrame
    splitting: pd.DataFrame
    moved: pd.DataFrame

    @property
    def persons(self) -> set[str]:
        """Every person concerned, by the id of before."""
        return {*self.merging["before"], *self.splitting["before"], *self.moved["before"]}


def compare(before: pd.DataFrame, after: pd.DataFrame) -> Changes:
    """Two partitions of nearly the same identifiers (person_id, identifier_type,
    identifier_value), persons named by the ids they keep."""
    names = ["person_id", *IDENTIFIER]
    both = before[names].merge(after[names], on=IDENTIFIER, how="left", suffixes=("_0", "_1"))
    both = both.rename(columns={"person_id_0": "before", "person_id_1": "after"})
    steps = both[["before", "after"]].dropna().drop_duplicates()
    into = steps["after"].map(steps["after"].value_counts())
    out_of = steps["before"].map(steps["before"].value_counts())
    order = ["before", "after"]
    return Changes(
        merging=steps[into > 1].sort_values(order, ignore_index=True),
        splitting=steps[out_of > 1].sort_values(order, ignore_index=True),
        moved=both[both["before"] != both["after"]].sort_values(IDENTIFIER, ignore_index=True),
    )


def parting(
    founders: Pair, sides: tuple[AbstractSet[Node], AbstractSet[Node]], edges: pd.DataFrame
) -> list[Pair]:
    """The pairs to exclude so that the two persons of a merge are what they were.

    founders: of the survivor and of the absorbed person. sides: what each of them held when they
    merged. edges: of the merged person (identity.edges: the pair and its reason). Kept apart are
    the founders, and every two identifiers of the two sides between which evidence runs, directly
    or over identifiers that neither side held: cutting between the founders alone would leave it
    to the strength of edges where the person breaks.
    """
    absorbed = sides[1] | {founders[1]}
    survivor = (sides[0] | {founders[0]}) - absorbed
    near = _neighbours(edges)
    pairs = {_ordered(*founders)}
    for node in sorted(survivor):
        pairs |= {_ordered(node, other) for other in near.get(node, ()) if other in absorbed}
    for group in _groups(sorted(near.keys() - survivor - absorbed), near):
        touched = {node for member in group for node in near[member]}
        pairs |= {_ordered(a, b) for a in touched & survivor for b in touched & absorbed}
    return sorted(pairs)


def _ordered(one: Node, other: Node) -> Pair:
    return (one, other) if one <= other else (other, one)


def _neighbours(edges: pd.DataFrame) -> dict[Node, set[Node]]:
    near: dict[Node, set[Node]] = {}
    links = edges[~edges["reason"].isin(NEVER_LINKS)]
    for left_type, left, right_type, right in links[PAIR].itertuples(index=False, name=None):
        one, other = (left_type, left), (right_type, right)
        near.setdefault(one, set()).add(other)
        near.setdefault(other, set()).add(one)
    return near


def _groups(nodes: Sequence[Node], near: Mapping[Node, AbstractSet[Node]]) -> list[set[Node]]:
    """Connected parts of the graph that only these nodes make."""
    waiting, groups = set(nodes), []
    for start in nodes:
        if start not in waiting:
            continue
        waiting.discard(start)
        group, open_ends = {start}, [start]
        while open_ends:
            fresh = {node for node in near[open_ends.pop()] if node in waiting}
            waiting -= fresh
            group |= fresh
            open_ends += sorted(fresh)
        groups.append(group)
    return groups


def allowed(
    links: pd.DataFrame, accounts: Mapping[str, AbstractSet[str]], apart: Iterable[tuple[str, str]]
) -> pd.Series:
    """bool per link: whether the guards let two contacts be one person.

    links: left_contact_id, right_contact_id, most likely first. accounts: user_ids of a contact's
    person, as evidence has it. apart: contacts that an exclude rule keeps apart. A link is refused
    when the persons that the links before it made hold different user_ids, or two contacts that
    must stay apart.
    """
    group: dict[str, frozenset[str]] = {}
    foes: dict[str, set[str]] = {}
    for one, other in apart:
        foes.setdefault(one, set()).add(other)
        foes.setdefault(other, set()).add(one)
    verdicts = []
    for left, right in links[["left_contact_id", "right_contact_id"]].itertuples(index=False):
        sides = [group.get(end, frozenset({end})) for end in (left, right)]
        users = [{user for end in side for user in accounts.get(end, ())} for side in sides]
        is_contrary = bool(users[0] and users[1] and not users[0] & users[1])
        is_banned = any(foes.get(end, set()) & sides[1] for end in sides[0])
        verdicts.append(not is_contrary and not is_banned)
        if verdicts[-1]:
            joined = sides[0] | sides[1]
            group |= dict.fromkeys(joined, joined)
    return pd.Series(verdicts, index=links.index, dtype=bool)
