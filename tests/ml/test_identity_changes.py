"""What parts a merge again, what other rules move, and which links the guards allow."""

import pandas as pd

from ml.identity import resolve
from ml.identity_changes import allowed, compare, parting
from ml.identity_rules import LinkRule, Rules, TypeRule
from tests.ml.test_identity import frame_of_edges, frame_of_identifiers, groups, run

TYPES = {
    "user_id": TypeRule(1, is_unique=True),
    "email": TypeRule(3, max_per_person=5),
    "anonymous_id": TypeRule(6, counts_in_size=False),
}
# A reader known by cookie and newsletter address; a customer; on day 2 one visit names both.
READER = [("email:r", "anonymous_id:1", 3, 0), ("anonymous_id:1", "anonymous_id:2", 1, 5)]
CUSTOMER = [("user_id:c", "email:c", 2, 3), ("user_id:c", "anonymous_id:9", 4, 3)]


def node(name: str) -> tuple[str, str]:
    kind, value = name.split(":")
    return kind, value


def parted(bridges: list[tuple], held: tuple[set[str], set[str]]) -> set[frozenset[str]]:
    """The persons after the merge that `bridges` made was undone."""
    rows = [*READER, *CUSTOMER, *bridges]
    edges = frame_of_edges(rows)
    resolved = resolve(edges, frame_of_identifiers(edges), Rules(TYPES))
    assert len(groups(resolved)) == 1, "nothing was merged"
    sides = tuple({node(name) for name in side} for side in held)
    pairs = parting((node("email:r"), node("user_id:c")), (sides[0], sides[1]), resolved.verdicts)
    links = tuple(LinkRule("exclude", *one, *other) for one, other in pairs)
    return groups(run(rows, Rules(TYPES, links)))


HELD = (
    {"email:r", "anonymous_id:1", "anonymous_id:2"},
    {"user_id:c", "email:c", "anonymous_id:9"},
)


def test_parting_gives_both_what_they_held_however_strong_the_bridge() -> None:
    for bridge in ("user_id:c", "email:c", "anonymous_id:9"):
        for end in HELD[0]:
            found = parted([(end, bridge, 99, 9)], HELD)
            assert found == {frozenset(side) for side in HELD}, (end, bridge)


def test_an_identifier_of_neither_goes_where_its_evidence_is_stronger() -> None:
    new = [("anonymous_id:7", "user_id:c", 5, 9), ("anonymous_id:7", "email:r", 1, 9)]
    assert parted(new, HELD) == {frozenset(HELD[0]), frozenset({*HELD[1], "anonymous_id:7"})}


def test_without_memory_the_founders_are_parted_all_the_same() -> None:
    found = parted([("email:r", "user_id:c", 1, 9)], (set(), set()))
    assert len(found) == 2


def persons(text: str) -> pd.DataFrame:
    rows = [(who, "email", value) for part in text.split() for who, value in [part.split("=")]]
    return pd.DataFrame(rows, columns=["person_id", "identifier_type", "identifier_value"])


def test_two_partitions_compared() -> None:
    changes = compare(persons("A=1 A=2 B=3 C=4 C=5 D=6"), persons("A=1 A=2 A=3 C=4 E=5"))
    assert changes.merging["before"].tolist() == ["A", "B"]
    assert changes.splitting.to_numpy().tolist() == [["C", "C"], ["C", "E"]]
    moved = changes.moved.fillna("nobody")[["identifier_value", "before", "after"]]
    assert moved.to_numpy().tolist() == [["3", "B", "A"], ["5", "C", "E"], ["6", "D", "nobody"]]
    assert changes.persons == {"A", "B", "C", "D"}


def test_links_that_would_join_two_accounts_or_excluded_contacts_are_refused() -> None:
    pairs = [("a", "b"), ("b", "c"), ("c", "d"), ("e", "f"), ("f", "g")]
    links = pd.DataFrame(pairs, columns=["left_contact_id", "right_contact_id"])
    accounts = {"a": {"u1"}, "c": {"u2"}, "d": {"u2"}}
    assert allowed(links, accounts, [("g", "e")]).tolist() == [True, False, True, True, False]
