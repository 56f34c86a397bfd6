"""The books of `make chaos` find what they are for: each promise broken once, on purpose."""

import pytest

from activations.dispatch import send_due
from tests.activations.sending import MORNING, SENDGRID, keys, planned
from tests.activations.world import Vendor, World
from tests.chaos.books import close
from tests.chaos.turmoil import Diary

NOON, NIGHT = "2026-03-27T12:00:00Z", "2026-03-27T23:30:00Z"


def row(key: str, at: str = NOON) -> dict[str, object]:
    return {
        "provider": "sendgrid", "message_key": key, "address": "c0000000@example.com",
        "accepted_at": at, "moment": 1,
    }  # fmt: skip


@pytest.fixture
def sent(world: World, audience) -> list[str]:
    planned(world, audience, 2)
    send_due(world.warehouse, MORNING, SENDGRID, Vendor())
    return keys(world)


def broken(world: World, diary: Diary, count: int = 2) -> list[str]:
    books = close(world.warehouse, diary, count)
    return [name.split(":")[0] for name, found in books.broken.items() if found]


def test_books_that_are_right_say_so(world: World, sent: list[str]) -> None:
    assert broken(world, Diary(taken=[row(key) for key in sent])) == []


@pytest.mark.parametrize(
    ("name", "diary"),
    [
        ("lost", lambda a, _b: Diary(taken=[row(a)])),
        (
            "blind re-sends at providers without keys",
            lambda a, b: Diary(taken=[row(a), row(a), row(b)]),
        ),
        (
            "requests outside the allowed hours",
            lambda a, b: Diary(taken=[row(a), row(b, NIGHT)]),
        ),
        (
            "requests started after a revoke was committed",
            lambda a, b: Diary(taken=[row(a), row(b)], revoked={a: 1.0}, arrived={a: 2.0}),
        ),
        (
            "second messages to persons who were merged before",
            lambda a, b: Diary(taken=[row(a), row(b)], merged=[("p000", "p001", 0)]),
        ),
    ],
)
def test_a_broken_promise_is_found(world: World, sent: list[str], name: str, diary) -> None:
    assert broken(world, diary(*sent)) == [name]


def test_what_the_tables_say_wrongly_is_found(world: World, sent: list[str]) -> None:
    diary = Diary(taken=[row(key) for key in sent])
    assert broken(world, diary, 3)[0].startswith("missing from the books")
    world.warehouse.execute(
        "update delivery.messages set status = 'skipped' where message_key = %(k)s", k=sent[0]
    )
    assert broken(world, diary) == ["hidden"]
    world.warehouse.execute("update delivery.send_attempts set code = 'other'")
    assert "breaks in the audit chain" in broken(world, diary)
