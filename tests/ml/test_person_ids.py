"""A person's id outlives growth, merges, splits and rebuilds."""

import json
from datetime import UTC, datetime, timedelta

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.person_ids import Assigned, assign_ids, person_id

KEY = b"a workspace's key"
DAY = datetime(2026, 3, 1, 6, tzinfo=UTC)
FIRST_SEEN = {name: pd.Timestamp(DAY) - timedelta(days=90 - k) for k, name in enumerate("abcdef")}


class Memory:
    """What the tables remember between runs."""

    def __init__(self) -> None:
        self.ledger = pd.DataFrame(
            columns=["identifier_type", "identifier_value", "person_id", "founded_at"]
        )
        self.merges = pd.DataFrame(
            columns=["merge_id", "survivor_person_id", "absorbed_person_id", "merged_at",
                     "evidence", "undone_at", "undone_by"]
        )  # fmt: skip

    def run(self, *parts: str, day: int = 0) -> Assigned:
        """Resolve the clusters `parts` (each letter an e-mail) and remember the result."""
        frame = clusters(*parts)
        result = assign_ids(frame, self.ledger, self.merges, KEY, DAY + timedelta(days=day),
                            chain_of_links(*parts))  # fmt: skip
        self.ledger = pd.concat([self.ledger, result.ledger], ignore_index=True)
        undone = result.undone.set_index("merge_id")
        kept = self.merges.set_index("merge_id")
        kept.update(undone)
        new = result.merges.assign(undone_at=None, undone_by=None)
        self.merges = pd.concat([kept.reset_index(), new], ignore_index=True)
        assert self.merges["merge_id"].is_unique
        standing = self.merges[self.merges["undone_at"].isna()]
        assert standing["absorbed_person_id"].is_unique
        return result


def clusters(*parts: str) -> pd.DataFrame:
    rows = [
        (f"cluster {part}", "email", name, FIRST_SEEN[name], rank)
        for part in parts
        for rank, name in enumerate(sorted(part))
    ]
    return pd.DataFrame(rows, columns=["cluster_id", "identifier_type", "identifier_value",
                                       "first_seen_at", "founding_rank"])  # fmt: skip


def chain_of_links(*parts: str) -> pd.DataFrame:
    rows = [
        ("email", one, "email", two, "accepted")
        for part in parts
        for one, two in zip(sorted(part), sorted(part)[1:], strict=False)
    ]
    return pd.DataFrame(
        rows, columns=["left_type", "left_value", "right_type", "right_value", "verdict"]
    )


def ids(result: Assigned) -> dict[str, str]:
    pairs = zip(result.clusters["identifier_value"], result.clusters["person_id"], strict=True)
    return dict(pairs)


def founded_by(name: str) -> str:
    return person_id(KEY, "email", name)


def test_the_id_is_a_keyed_hash_of_the_founder():
    assert founded_by("a") == "6b8179866dcadfec39bee8c719b84c7f"
    assert founded_by("a") != person_id(b"another key", "email", "a")
    assert founded_by("a") != person_id(KEY, "phone", "a")


def test_growth_keeps_the_id_even_when_an_older_identifier_joins():
    memory = Memory()
    assert ids(memory.run("bc")) == dict.fromkeys("bc", founded_by("b"))
    grown = memory.run("abcd", day=1)
    assert ids(grown) == dict.fromkeys("abcd", founded_by("b"))
    assert len(grown.ledger) == len(grown.merges) == 0


def test_the_older_survives_a_merge_and_the_path_is_the_evidence():
    memory = Memory()
    memory.run("ab", "cd")
    merged = memory.run("abcd", day=1)
    assert set(ids(merged).values()) == {founded_by("a")}
    (row,) = merged.merges.to_dict("records")
    assert row["survivor_person_id"] == founded_by("a")
    assert row["absorbed_person_id"] == founded_by("c")
    assert row["merged_at"] == DAY + timedelta(days=1)
    evidence = json.loads(row["evidence"])
    assert evidence["path"] == [["email", "a"], ["email", "b"], ["email", "c"]]


def test_a_split_gives_each_part_its_founders_id_back():
    memory = Memory()
    memory.run("ab", "cd")
    memory.run("abcd", day=1)
    split = memory.run("ab", "cd", day=2)
    assert ids(split) == {**dict.fromkeys("ab", founded_by("a")),
                          **dict.fromkeys("cd", founded_by("c"))}  # fmt: skip
    assert split.undone["undone_by"].tolist() == ["split"]
    again = memory.run("abcd", day=3)
    assert set(ids(again).values()) == {founded_by("a")}
    assert len(again.merges) == 1
    assert len(memory.merges) == 2


def test_a_part_without_a_founder_becomes_a_new_person():
    memory = Memory()
    memory.run("abcd")
    split = memory.run("ab", "cd", day=1)
    assert ids(split)["c"] == founded_by("c")
    assert ids(split)["a"] == founded_by("a")
    assert split.ledger["identifier_value"].tolist() == ["c"]


def test_a_survivor_absorbed_in_its_turn_hands_its_own_on():
    memory = Memory()
    memory.run("a", "b", "c")
    memory.run("a", "bc", day=1)
    last = memory.run("abc", day=2)
    assert set(last.merges["absorbed_person_id"]) == {founded_by("b"), founded_by("c")}
    assert set(last.merges["survivor_person_id"]) == {founded_by("a")}
    assert last.undone["undone_by"].tolist() == ["superseded"]


def test_a_second_run_of_the_day_finds_nothing_new():
    memory = Memory()
    memory.run("ab", "cd", "e")
    first = memory.run("abcd", "ef", day=1)
    second = memory.run("abcd", "ef", day=1)
    assert ids(first) == ids(second)
    assert len(second.ledger) == len(second.merges) == len(second.undone) == 0


def test_only_touched_clusters_may_be_given():
    memory = Memory()
    memory.run("ab", "cd", "ef")
    memory.run("abcd", day=1)
    touched = memory.run("ef", day=2)
    assert ids(touched)["e"] == founded_by("e")
    assert len(touched.undone) == 0


partitions = st.lists(st.integers(0, 3), min_size=6, max_size=6).map(
    lambda marks: tuple(
        "".join(n for n, m in zip("abcdef", marks, strict=True) if m == k) for k in set(marks)
    )
)


@settings(max_examples=10, deadline=None)
@given(st.lists(partitions, min_size=1, max_size=4))
def test_ids_follow_founders_through_any_history(history):
    memory = Memory()
    for day, parts in enumerate(history):
        result = memory.run(*parts, day=day)
        rebuilt = assign_ids(clusters(*parts[::-1]), memory.ledger, memory.merges, KEY, DAY)
        assert ids(rebuilt) == ids(result)
        assert result.clusters.groupby("cluster_id")["person_id"].nunique().eq(1).all()
        assert result.clusters.groupby("person_id")["cluster_id"].nunique().eq(1).all()
        founders = memory.ledger.set_index("person_id")["identifier_value"]
        for name, person in ids(result).items():
            assert name in next(p for p in parts if founders[person] in p)
