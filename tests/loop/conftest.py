"""One small market, played once for all tests of the loop.

Belongs here: the shared fixture. Keep out: how it is played (`playing.py`), assertions.
"""

from collections.abc import Iterator

import pytest

from tests.loop.playing import Home, new_home

SMALL = {"workspace": "small", "simulation": {"people": 300, "days": 120, "seed": 7}}
DAYS = 3


@pytest.fixture(scope="session")
def market() -> Iterator[Home]:
    """Three days of a market of 300 people with 120 days of history before the first."""
    with new_home(SMALL) as home:
        home.play(*home.planned(DAYS))
        yield home
