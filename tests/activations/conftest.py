"""What the activations' tests share: a world on a real database.

Belongs here: fixtures. Keep out: assertions, and the world itself (`world.py`).
"""

from collections.abc import Callable, Iterator

import pytest

from tests.activations.world import AS_OF, TABLES, World
from warehouse import Warehouse


@pytest.fixture
def world(warehouse: Warehouse) -> Iterator[World]:
    """An empty world with a workspace in London."""
    with warehouse.connect() as connection:
        connection.autocommit = True
        connection.execute(TABLES)
        connection.execute(
            "insert into raw.workspace (workspace, as_of, currency, time_zone, country)"
            " values ('test', %s, 'GBP', 'Europe/London', 'GB')",
            [AS_OF],
        )
        yield World(warehouse, connection)


@pytest.fixture
def audience(world: World) -> Callable[[int], list[str]]:
    """Make n persons, all in the policy group, with an occasion to be won back."""

    def make(count: int, sms: bool = False) -> list[str]:
        world.program("win_back")
        people = [f"p{number:03d}" for number in range(count)]
        for person in people:
            world.person(person, sms=sms)
            world.occasion("win_back", person)
        world.assign("win_back", "policy", people)
        return people

    return make
