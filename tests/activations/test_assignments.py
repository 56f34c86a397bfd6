"""Assignments: shares as declared, sticky, and kept through a merge."""

from collections import Counter
from datetime import timedelta

from activations import assignments, persons, programs
from activations.assignments import Assignment
from tests.activations.world import AS_OF, World

PROGRAM = programs.load("win_back")


def test_shares_are_as_declared_and_programs_are_independent() -> None:
    people = [f"person-{number}" for number in range(20_000)]
    drawn = [assignments.draw(PROGRAM, person) for person in people]
    counts = Counter(drawn)
    expected = {"policy": 0.80, "random": 0.05, "bau": 0.10, "holdout": 0.05}
    for name, share in expected.items():
        assert abs(counts[name] / len(people) - share) < 0.01
    welcome = programs.load("welcome")
    other = [assignments.draw(welcome, person) for person in people]
    both = sum(a == b == "holdout" for a, b in zip(drawn, other, strict=True))
    assert both < 0.006 * len(people)  # 0.25 % by chance, 5 % if the salts were one


def test_a_stored_assignment_stays_whatever_the_shares_become() -> None:
    held = [Assignment("a", "holdout", AS_OF - timedelta(days=9))]
    assert assignments.assign(PROGRAM, ["a"], held, {}, AS_OF)["a"] == held[0]


def test_a_merge_keeps_the_earlier_assignment_and_reports_the_other() -> None:
    early = Assignment("gone", "holdout", AS_OF - timedelta(days=20))
    late = Assignment("stays", "policy", AS_OF - timedelta(days=5))
    merged = assignments.assign(PROGRAM, ["stays"], [early, late], {"gone": "stays"}, AS_OF)
    assert merged["stays"] == Assignment("stays", "holdout", early.assigned_at, "gone")
    # The day after, the survivor's row carries it; nothing changes any more.
    again = assignments.assign(
        PROGRAM, ["stays"], [early, merged["stays"]], {"gone": "stays"}, AS_OF
    )
    assert again == merged


def test_a_merge_of_equal_groups_is_no_contamination() -> None:
    pair = [
        Assignment("gone", "policy", AS_OF - timedelta(days=20)),
        Assignment("stays", "policy", AS_OF - timedelta(days=5)),
    ]
    merged = assignments.assign(PROGRAM, ["stays"], pair, {"gone": "stays"}, AS_OF)
    assert merged["stays"].contaminated_by is None


def test_merges_are_followed_to_the_last_survivor(world: World) -> None:
    world.warehouse.execute(
        "insert into identity.merges values ('1', 'b', 'a', %(t)s, '{}', null, null),"
        " ('2', 'c', 'b', %(t)s, '{}', null, null), ('3', 'z', 'y', %(t)s, '{}', %(t)s, 'me')",
        t=AS_OF,
    )
    with world.warehouse.transaction() as connection:
        assert persons.survivors(connection) == {"a": "c", "b": "c"}
