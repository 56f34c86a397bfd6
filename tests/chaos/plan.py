"""The people and the messages of a rehearsal of sending, planned by the product itself.

Belongs here: persons in bulk, two programs, three providers. Keep out: sending (`turmoil.py`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg

from activations import decisions
from activations.programs import Program
from activations.providers import DEFAULT_BY_CHANNEL
from tests.activations.world import LINK_KEY, TABLES, World
from warehouse import Warehouse

# Friday morning; on Sunday at 01:00 UTC the clocks of Europe go forward.
AS_OF = datetime(2026, 3, 27, 6, tzinfo=UTC)
# Where people live: two zones change their clocks during the rehearsal, two do not, and some
# people's zone is unknown, so their country's counts (the United Kingdom has one).
ZONES = ("Europe/London", "Europe/Berlin", "America/New_York", "Asia/Kolkata", None)
PEOPLE = """
    insert into identity.profiles (person_id, first_name, time_zone, country, locale)
    select 'c' || lpad(n::text, 7, '0'), 'Ada', (%(zones)s::text[])[1 + n %% %(kinds)s], 'GB',
        'en-GB'
    from generate_series(0, %(count)s - 1) as n;
    """
POINTS = """
    insert into identity.contact_points (person_id, channel, address, is_primary)
    select person_id, 'email', person_id || '@example.com', true from identity.profiles
    union all
    select person_id, 'sms', '+4470' || right(person_id, 8), true from identity.profiles
    """
NUMBERS = """
    update identity.contact_points set address = '+447' || lpad(substr(person_id, 2), 9, '0')
    where channel = 'sms'
    """
CONSENTS = """
    insert into marts.consents
    select
        person_id, channel, encode(sha256(convert_to(address, 'UTF8')), 'hex'), 'marketing',
        'granted', 'GDPR', %(at)s::timestamptz - interval '30 days'
    from identity.contact_points
    """
# As dbt builds them.
INDEXES = """
    create index on identity.contact_points (person_id);
    create index on identity.profiles (person_id);
    create index on marts.consents (address_hash);
    """
OCCASIONS = """
    insert into activation.act_{program}
    select
        person_id, '{program}-' || person_id, 1, 'test', '{{"items": ["Blue mug"]}}', 10,
        %(at)s::timestamptz - interval '3 hours', null
    from identity.profiles where right(person_id, 1)::int %% 2 = %(odd)s
    """
ASSIGNED = """
    insert into delivery.assignments
    select person_id, %(program)s, 'policy', %(at)s::timestamptz - interval '40 days', null
    from identity.profiles where right(person_id, 1)::int %% 2 = %(odd)s
    """


@dataclass(frozen=True)
class Part:
    """One program's share: its people by their last digit, its arms by weight, its e-mail."""

    program: str
    odd: int
    arms: tuple[tuple[str, float], ...]
    email: str


PARTS = (
    # No keys: a lost answer is never sent again.
    Part("win_back", 0, (
        ("email_none_news", 0.7), ("email_20_discount", 0.04), ("sms_none_news", 0.26),
    ), "sendgrid"),
    # Keys that are kept for a day.
    Part("welcome", 1, (("email_none_greeting", 0.6), ("email_none_bestsellers", 0.4)), "resend"),
)  # fmt: skip


def plan(house: Warehouse, count: int, random: np.random.Generator) -> int:
    """People and their messages in an empty database; returns how many messages there are."""
    with house.connect() as connection:
        connection.autocommit = True
        connection.execute(TABLES)
        connection.execute(
            "insert into raw.workspace (workspace, as_of, currency, time_zone, country)"
            " values ('chaos', %s, 'GBP', 'Europe/London', 'GB')",
            [AS_OF],
        )
        connection.execute(PEOPLE, {"zones": list(ZONES), "kinds": len(ZONES), "count": count})
        connection.execute(POINTS)
        connection.execute(NUMBERS)
        connection.execute(CONSENTS, {"at": AS_OF})
        connection.execute(INDEXES)
        connection.execute("analyze")
        world = World(house, connection)
        made = sum(_planned(world, part, random) for part in PARTS)
        connection.execute("analyze")
    return made


def _planned(world: World, part: Part, random: np.random.Generator) -> int:
    program = _generous(world.program(part.program))
    values: dict[str, Any] = {"at": AS_OF, "odd": part.odd, "program": part.program}
    world.connection.execute(OCCASIONS.format(program=part.program), values)
    world.connection.execute(ASSIGNED, values)
    held = decisions.candidates(world.warehouse, program, AS_OF)
    n = held.frame.num_rows
    names = [program.arm_names.index(name) for name, _ in part.arms]
    chosen = random.choice(names, size=n, p=[weight for _, weight in part.arms])
    assert held.eligible[np.arange(n), chosen].all(), "an arm of the rehearsal is forbidden"
    shares = np.zeros(held.eligible.shape)
    shares[np.arange(n), chosen] = 1
    return decisions.record(
        world.warehouse, held, arm_indices=chosen, propensities=shares, brand=world.brand,
        link_key=LINK_KEY, model_versions={"policy": "chaos"},
        send_hours=_hours(n, random), carriers={**DEFAULT_BY_CHANNEL, "email": part.email},
    ).sends  # fmt: skip


def _generous(program: Program) -> Program:
    """Money for everybody; offers of twenty percent wait for a person."""
    return program.model_copy(
        update={
            "budget": program.budget.model_copy(update={"monthly_amount": 10_000_000}),
            "approval": program.approval.model_copy(update={"offer_percent_over": 15}),
        }
    )


def _hours(n: int, random: np.random.Generator) -> Any:
    """Local hours of the week, Friday and the Sunday of the change, at the night's edges too."""
    hours = random.choice([8, 13, 20], size=n)
    return random.choice([4, 6], size=n, p=[0.7, 0.3]) * 24 + hours


def empty(url: str, name: str) -> None:
    """Make a database of this name."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create database {name} template template0")
