"""Look-ups: what became of requests whose answer was lost, by the provider's own list.

Belongs here: which unknown messages are looked up, and what is written of those that are found.
Keep out: wire formats (`providers/`), the same request again (`unanswered.py`).

A message that is on the list went out. One that is not stays unknown all the same: the list may
be late, and marketing that a person may have got is not sent again for the lack of a line.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from activations import outcomes, wallet
from activations.exchange import Sender, items
from activations.http import Answer, Request, Response
from activations.providers.seam import Item, ItemResult
from warehouse import Warehouse

# Not before a list can know of it, and not for what is older than a list is worth reading.
SETTLED, FORGOTTEN = timedelta(minutes=15), timedelta(days=2)
MESSAGES, PAGES = 1000, 10
NOT_FOUND = "not_found"


@runtime_checkable
class Listing(Protocol):
    """A provider that lists what it was asked to send. Pure; no address goes into a URL."""

    def inquiry(self, items: Sequence[Item], since: datetime) -> Request:
        """Ask for what was sent since a moment."""
        ...

    def found(
        self, items: Sequence[Item], answer: Response
    ) -> tuple[list[ItemResult], Request | None]:
        """Those of the items that are on this page of the list, and the request for the next."""
        ...


def look_up(warehouse: Warehouse, provider: Any, sender: Sender, now: datetime) -> int:
    """Settle unknown messages of a provider by its list; returns how many were found.

    Nothing where the provider keeps no list, or does not answer: a later run looks again. What
    the whole list does not show is marked `not_found` and not looked up again.
    """
    if not isinstance(provider, Listing):
        return 0
    with warehouse.connect() as connection:
        connection.autocommit = True
        lost, since = _lost(connection, provider.name, now)  # type: ignore[attr-defined]
        if not lost:
            return 0
        waiting = items(connection, lost)
        known, is_whole = _read(provider, waiting, sender, since)
        outcomes.finish(connection, known, now)
        if is_whole:
            _give_up(connection, lost)
        with connection.transaction():
            for transaction in wallet.settlements(connection, now):
                wallet.post(warehouse, connection, transaction)
    return len(known)


def _lost(connection: Any, provider: str, now: datetime) -> tuple[list[str], datetime]:
    """Messages to look up, and when the first of them was sent."""
    rows = connection.execute(
        "select message_key, sent_at from delivery.messages where status = 'unknown'"
        " and provider = %s and next_attempt_at is null and sent_at between %s and %s"
        " and reason is distinct from %s order by sent_at, message_key limit %s",
        [provider, now - FORGOTTEN, now - SETTLED, NOT_FOUND, MESSAGES],
    ).fetchall()
    return [row["message_key"] for row in rows], min((row["sent_at"] for row in rows), default=now)


def _read(
    provider: Listing, waiting: Sequence[Item], sender: Sender, since: datetime
) -> tuple[list[ItemResult], bool]:
    """What the list shows of the items, and whether it was read to its end."""
    known: dict[str, ItemResult] = {}
    following: Request | None = provider.inquiry(waiting, since)
    for _ in range(PAGES):
        if following is None:
            break
        answer: Answer = sender(following)
        if not isinstance(answer, Response) or answer.status != 200:
            break
        page, following = provider.found(waiting, answer)
        known |= {result.message_key: result for result in page}
    return list(known.values()), following is None


def _give_up(connection: Any, keys: Sequence[str]) -> None:
    connection.execute(
        "update delivery.messages set reason = %s where message_key = any(%s)"
        " and status = 'unknown' and next_attempt_at is null",
        [NOT_FOUND, list(keys)],
    )
