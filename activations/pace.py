"""Pace: one token bucket per provider account, shared by every dispatcher of a workspace.

Belongs here: tokens, and waiting for one.
Keep out: limits that a provider tells (`pauses.py`).

A token is an advisory lock of the session that asks: there are as many as requests may be on
their way at once, and each is kept for tokens ÷ rate seconds. So no more than `rate` requests
start in a second after a first burst of as many as there are tokens, however many processes
send; a process that dies gives its tokens back. No table, and no clock but the process's own.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from activations.keys import stable_id
from activations.providers.seam import Limits

# How long to wait before looking again whether another dispatcher gave a token back.
LOOK_AGAIN_SECONDS = 0.01


@dataclass
class Pace:
    """The bucket of one account. One object for one connection; `clock` is monotonic."""

    account: str
    limits: Limits
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _held: dict[int, float] = field(default_factory=dict)

    def take(self, connection: Any) -> None:
        """Wait until a request may start."""
        while not self._take(connection):
            cooling = min(self._held.values(), default=self.clock() + LOOK_AGAIN_SECONDS)
            self.sleep(min(max(cooling - self.clock(), 0.0), LOOK_AGAIN_SECONDS))

    def give_back(self, connection: Any) -> None:
        """Wait until the tokens that are held may be used by others, and let go of them."""
        while self._held:
            self.sleep(max(max(self._held.values()) - self.clock(), 0.0))
            self._let_go(connection)

    def _take(self, connection: Any) -> bool:
        self._let_go(connection)
        row = connection.execute(
            # `case`, for the planner may look at the cheaper condition first, and a session
            # that holds a lock is given it again.
            "select token from generate_series(0, %s) as token where case"
            " when token <> all(%s::int[]) then pg_try_advisory_lock(%s, token) end limit 1",
            [self.limits.concurrency - 1, list(self._held), self._room],
        ).fetchone()
        if row is None:
            return False
        kept = self.limits.concurrency / self.limits.requests_per_second
        self._held[row["token"]] = self.clock() + kept
        return True

    def _let_go(self, connection: Any) -> None:
        now = self.clock()
        over = [token for token, until in self._held.items() if until <= now]
        if over:
            connection.execute(
                "select pg_advisory_unlock(%s, token) from unnest(%s::int[]) as token",
                [self._room, over],
            )
        for token in over:
            del self._held[token]

    @property
    def _room(self) -> int:
        """The first half of the locks' names: 31 bits of a hash of the account."""
        return int(stable_id("pace", self.account)[:8], 16) >> 1
