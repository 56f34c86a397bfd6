"""Verbs of the tests about sending: plan, list what is due, let a provider tell something.

Belongs here: what several of those files do to a world. Keep out: assertions about the product.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from activations import outbox
from tests.activations.world import World, adapter

MORNING = datetime(2026, 3, 2, 8, tzinfo=UTC)
SENDGRID, TWILIO = adapter("sendgrid"), adapter("twilio")


class CrashError(RuntimeError):
    """The process is gone."""


def planned(world: World, audience, count: int, arm: str = "email_none_news") -> list[str]:
    people = audience(count, sms=arm.startswith("sms"))
    assert world.decide(world.program("win_back"), arm=arm).sends == count
    return people


def due_times(
    world: World, after: datetime, until: datetime, provider: Any = SENDGRID
) -> list[datetime]:
    with world.warehouse.connect() as connection:
        return outbox.due_times(connection, after, until, provider.name)


def event(world: World, kind: str, key: str | None, number: int = 1, **payload: str) -> None:
    world.warehouse.execute(
        "insert into raw.provider_events"
        " values (%(v)s, %(i)s, %(k)s, %(t)s, %(o)s, %(p)s, %(o)s, 1)",
        v=payload.pop("provider", "sendgrid"), i=f"{kind}-{key}-{number}", k=key, t=kind,
        o=MORNING + timedelta(minutes=number),
        p="{" + ",".join(f'"{name}": "{value}"' for name, value in payload.items()) + "}",
    )  # fmt: skip


def keys(world: World) -> list[str]:
    rows = world.warehouse.rows("select message_key from delivery.messages order by message_key")
    return [row["message_key"] for row in rows]
