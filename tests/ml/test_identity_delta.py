"""A day's delta gives the graph that resolving everything gives, row for row."""

import random
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project import person_graph
from ml.identity_rules import PAIR
from tests.ml.observed_graph import Tables, observe

START = datetime(2026, 3, 1, tzinfo=UTC)
KEY = b"a key of the tests"
TYPES = pd.DataFrame(
    [
        ("user_id", 1, True, None, True),
        ("email", 3, False, 2, True),
        ("device_id", 5, False, 3, True),
        ("anonymous_id", 6, False, None, False),
        ("*", 1000, False, 7, True),
    ],
    columns=["identifier_type", "priority", "is_unique", "max_per_person", "counts_in_size"],
)
NAMES = [f"{kind}:{n}" for kind in ("user_id", "email", "device_id", "anonymous_id")
         for n in (*range(7), "null")]  # fmt: skip
COMPARED = ("ml.identity_clusters", "ml.identity_verdicts", "identity.person_id_ledger",
            "identity.merges")  # fmt: skip


class Twice:
    """The same days on two sets of tables: one follows them, one resolves everything."""

    def __init__(self) -> None:
        self.followed, self.whole = Tables(TYPES), Tables(TYPES)
        self.evidence: dict[tuple[str, str], tuple[int, pd.Timestamp]] = {}
        self.days = 0

    def live(self, rows: list[tuple[str, str, int]], rule: tuple[str, str, str] | None) -> None:
        """Evidence as (one, other, minute), late, repeated or new; and an operator's word."""
        for one, other, minute in rows:
            at = pd.Timestamp(START + timedelta(minutes=minute))
            for pair in ((one, one), (other, other), tuple(sorted((one, other)))):
                count, first = self.evidence.get(pair, (0, at))
                self.evidence[pair] = (count + 1, min(first, at))
        self.days += 1
        for tables in (self.followed, self.whole):
            observe(tables, self.evidence, shared_from=3, revision=self.days)
            if rule is not None:
                action, one, other = rule
                row = (action, *one.split(":"), *other.split(":"))
                held = tables.held["identity.link_rules"]
                held.loc[len(held)] = row
        state = self.whole.held["ml.identity_resolved"]
        state["rules_digest"] = "another"  # so that everything is resolved
        for tables in (self.followed, self.whole):
            person_graph.resolve(tables, KEY, START + timedelta(days=self.days))

    def differing(self) -> dict[str, list]:
        return {
            name: sorted(_rows(self.followed, name) ^ _rows(self.whole, name), key=str)
            for name in COMPARED
            if _rows(self.followed, name) != _rows(self.whole, name)
        }


def _rows(tables: Tables, name: str) -> set[tuple]:
    frame = tables.table(name).to_pandas().drop(columns="resolution", errors="ignore")
    return set(frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None))


evidence = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(0, 50))
rules = st.tuples(
    st.sampled_from(["include", "exclude"]), st.sampled_from(NAMES), st.sampled_from(NAMES)
).filter(lambda rule: rule[1] != rule[2])
days = st.tuples(st.lists(evidence, max_size=12), st.none() | st.none() | rules)


@settings(max_examples=8, deadline=None)
@given(st.lists(days, min_size=2, max_size=6))
def test_following_the_days_equals_resolving_everything(history):
    both = Twice()
    for rows, rule in history:
        both.live(rows, rule)
        assert both.differing() == {}


@pytest.mark.verify
@settings(max_examples=40, deadline=None)
@given(st.lists(days, min_size=2, max_size=8))
def test_following_many_days_equals_resolving_everything(history):
    test_following_the_days_equals_resolving_everything.hypothesis.inner_test(history)


def test_a_day_without_news_writes_nothing():
    both = Twice()
    both.live([("user_id:1", "email:1", 0), ("email:1", "device_id:1", 3)], None)
    before = {name: frame.copy() for name, frame in both.followed.held.items()}
    person_graph.resolve(both.followed, KEY, START + timedelta(days=9))
    for name, frame in both.followed.held.items():
        after, then = (f.astype(str).reset_index(drop=True) for f in (frame, before[name]))
        pd.testing.assert_frame_equal(after, then)


def test_only_what_the_day_touches_is_read_again():
    both = Twice()
    draw = random.Random(7)
    both.live([(f"user_id:{n % 7}", f"anonymous_id:{n % 7}", n) for n in range(7)], None)
    read = []
    whole = both.followed.matching

    def watched(name, keys):
        rows = whole(name, keys)
        read.append((name, rows.num_rows))
        return rows

    both.followed.matching = watched
    both.live([("user_id:3", "anonymous_id:null", draw.randrange(9)), ("email:1", "user_id:2", 1)],
              None)  # fmt: skip
    assert sum(count for name, count in read if name == person_graph.EDGES) == 0
    assert sum(count for name, count in read if name == person_graph.CLUSTERS) < 7
    assert both.differing() == {}


@settings(max_examples=5, deadline=None)
@given(st.lists(evidence, min_size=4, max_size=30), st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_the_days_they_come_on_matter(rows, random_):
    """Same partition and verdicts; ids may differ, since who came first is another."""
    one, other = Twice(), Twice()
    one.live(rows, None)
    shuffled = random_.sample(rows, len(rows))
    cut = random_.randrange(len(rows))
    other.live(shuffled[:cut], None)
    other.live(shuffled[cut:], None)
    assert _verdicts(one) == _verdicts(other)
    assert _partition(one) == _partition(other)


def _verdicts(graph: Twice) -> set[tuple]:
    return {
        (frozenset([row[:2], row[2:4]]), *row[4:])
        for row in _rows(graph.followed, "ml.identity_verdicts")
    }


def _partition(graph: Twice) -> set[frozenset]:
    rows = graph.followed.held["ml.identity_clusters"].dropna(subset="cluster_id")
    return {
        frozenset(zip(part["identifier_type"], part["identifier_value"], strict=True))
        for _, part in rows.groupby("cluster_id")
    }


def test_the_pairs_of_a_verdict_are_those_of_the_edge():
    both = Twice()
    both.live([("user_id:1", "email:1", 0), ("user_id:2", "email:1", 1)], None)
    (row,) = both.followed.held["ml.identity_verdicts"].to_dict("records")
    assert [row[name] for name in PAIR] == ["email", "1", "user_id", "2"]
    assert (row["verdict"], row["reason"]) == ("rejected", "second_user_id")
