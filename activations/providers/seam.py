"""The seam between the outbox and the message providers: types that both sides speak.

Belongs here: what a message is on its way out (Item), what one request carries (Batch), what came
back (ItemResult), what a webhook tells (InboundEvent), the protocol every provider fulfils, and
how a vendor introduces itself to the registry (Vendor).
Keep out: any vendor's field name, any I/O. Providers are pure; the sender calls `http.send`.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Literal, Protocol

from activations.http import Answer, Request, Response, TransportError
from activations.versions import ApiVersion

Channel = Literal["email", "sms", "push", "whatsapp"]
E164 = re.compile(r"\+[1-9]\d{6,14}")
# A number of seconds beyond any sense would leave the calendar.
LONGEST_WAIT_SECONDS = 10 * 365 * 86_400
Partial = Literal["none", "rows", "all_or_nothing"]

# What a provider event may be called after normalising; raw.provider_events.type holds these.
EventType = Literal[
    "processed", "delivered", "deferred", "bounce", "soft_bounce", "dropped", "open",
    "machine_open", "click", "complaint", "unsubscribe", "resubscribe", "sent", "failed",
    "undelivered", "reply",
]  # fmt: skip

# Progress of a message. Events arrive late and out of order: a status never moves to a lower rank.
EVENT_RANK: Mapping[str, int] = {
    "processed": 1, "deferred": 2, "sent": 3, "soft_bounce": 4, "undelivered": 5, "failed": 5,
    "dropped": 5, "bounce": 5, "delivered": 6, "machine_open": 7, "open": 8, "click": 9,
    "unsubscribe": 10, "complaint": 11,
}  # fmt: skip

# Statuses by which a request is refused for what is in it, and not for where or how it was sent.
CONTENT_CODES = frozenset({"400", "413", "422"})


class Outcome(StrEnum):
    """What is known of one item after one request."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # the provider had it already: as good as accepted
    RETRY = "retry"  # certainly not processed; the same item may go again
    PERMANENT = "permanent"  # refused for good
    AMBIGUOUS = "ambiguous"  # may have been processed; never re-sent blindly
    AUTH = "auth"  # credentials or permissions: stop and alert, the item stays due
    BLOCKED = "blocked"  # consent, suppression or a window of the provider forbids it


@dataclass(frozen=True)
class Limits:
    """What one request of a provider may carry, and what its answers promise.

    `dedup` is how long a repeated key is recognised: within it an ambiguous batch may go again
    unchanged; None means it never may.
    """

    max_items: int
    max_bytes: int
    requests_per_second: float
    concurrency: int
    partial: Partial
    has_key: bool
    dedup: timedelta | None = None
    max_age: timedelta | None = None


@dataclass(frozen=True)
class Item:
    """One rendered message to one address. Addresses and copy are kept out of `repr`."""

    message_key: str
    address: str = field(repr=False)
    program: str
    arm: str
    sender: str
    text: str = field(repr=False)
    subject: str | None = field(repr=False, default=None)
    html: str | None = field(repr=False, default=None)
    sender_name: str | None = None
    headers: tuple[tuple[str, str], ...] = field(repr=False, default=())
    status_callback: str | None = field(repr=False, default=None)


@dataclass(frozen=True)
class Batch:
    """One request before it is aimed at a host: no credentials, the same bytes for the same items.

    `key` is frozen with membership and content: another item or another word is another key.
    """

    key: str
    items: tuple[Item, ...]
    method: str
    path: str
    content_type: str
    content: bytes = field(repr=False)
    sha256: str


@dataclass(frozen=True)
class ItemResult:
    """What became of one item. `detail` is a provider's field name or code, never its prose."""

    message_key: str
    outcome: Outcome
    provider_ref: str | None = None
    code: str | None = None
    detail: str | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True)
class RateState:
    """How many more requests the provider takes now, and when it takes some again."""

    remaining: int | None = None
    resume_at: datetime | None = None


@dataclass(frozen=True)
class InboundEvent:
    """One webhook event. (provider, event_id) is unique; payload is the vendor's own object."""

    provider: str
    event_id: str
    message_key: str | None
    type: EventType
    occurred_at: datetime | None
    payload: Mapping[str, Any] = field(repr=False)
    detail: str | None = None


class MessageProvider(Protocol):
    """A provider of one channel. All methods are pure; `now` is the sender's clock."""

    @property
    def name(self) -> str: ...
    @property
    def channel(self) -> Channel: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def version(self) -> ApiVersion: ...

    def admit(self, item: Item) -> ItemResult | None:
        """Return why an item can never be sent by this provider, or None when it can."""
        ...

    def plan(self, items: Iterable[Item]) -> list[Batch]:
        """Cut items into requests; every admitted item in exactly one batch."""
        ...

    def request(self, batch: Batch) -> Request:
        """Aim a batch at the provider's host, with credentials."""
        ...

    def parse(self, batch: Batch, answer: Answer, now: datetime) -> list[ItemResult]:
        """Read an answer by the provider's error table: one result per item, in their order."""
        ...

    def rate(self, response: Response, now: datetime) -> RateState: ...

    def split(self, batch: Batch, results: Sequence[ItemResult]) -> list[Batch]:
        """Return smaller batches in place of one that was refused whole for nobody's sake.

        Empty where the results stand as they are.
        """
        ...

    def verify(
        self,
        url: str,
        headers: Mapping[str, str],
        raw: bytes,
        secrets: Sequence[str],
        now: datetime,
    ) -> bool:
        """Tell whether a webhook is the provider's own, by any of several secrets (rotation)."""
        ...

    def events(self, url: str, headers: Mapping[str, str], raw: bytes) -> list[InboundEvent]:
        """Read a webhook body; `url` is where it was posted, query included."""
        ...


Build = Callable[[Mapping[str, str], str, Mapping[str, str], ApiVersion], MessageProvider]


@dataclass(frozen=True)
class Vendor:
    """A provider before it has an account: what it is called, carries, needs, and how it is made.

    `credentials` are names of `warehouse.credentials`, `accounts` those keys of
    `providers.<name>.options` without which it cannot send; an empty `base_url` has to be
    configured. `build` takes credentials, base URL, options and the version. `opt_out_codes` are
    answers by which the vendor says that a person wants no more messages, `gone_codes` those by
    which it says that an address leads nowhere for good.
    """

    name: str
    channels: tuple[Channel, ...]
    base_url: str
    hosts: frozenset[str]
    version: ApiVersion
    credentials: tuple[str, ...]
    build: Build
    accounts: tuple[str, ...] = ()
    opt_out_codes: frozenset[str] = frozenset()
    gone_codes: frozenset[str] = frozenset()


def digest(content: bytes) -> str:
    """Return the SHA-256 of a request body as lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def batch_key(provider: str, method: str, path: str, content: bytes) -> str:
    """Derive a batch's key from everything that reaches the wire but the credentials."""
    head = f"{provider} {method} {path}\n".encode()
    return hashlib.sha256(head + content).hexdigest()[:32]


def each(
    batch: Batch,
    outcome: Outcome,
    code: str | None = None,
    detail: str | None = None,
    retry_at: datetime | None = None,
    provider_ref: str | None = None,
) -> list[ItemResult]:
    """Give every item of a batch the same result."""
    return [
        ItemResult(item.message_key, outcome, provider_ref, code, detail, retry_at)
        for item in batch.items
    ]


def chunks(pieces: Iterable[tuple[Item, bytes]], limits: Limits) -> Iterator[list[Item]]:
    """Cut items, each with its part of a body, into requests within the limits, in their order."""
    held: list[Item] = []
    size = 0
    for item, piece in pieces:
        if held and (len(held) == limits.max_items or size + len(piece) > limits.max_bytes):
            yield held
            held, size = [], 0
        held.append(item)
        size += len(piece) + 1
    if held:
        yield held


def lost(batch: Batch, error: TransportError) -> list[ItemResult]:
    """Say of every item what is known when no answer came."""
    outcome = Outcome.AMBIGUOUS if error.kind == "ambiguous" else Outcome.RETRY
    return each(batch, outcome, error.reason)


def blamed(
    batch: Batch, positions: Mapping[int, str], code: str, retry_at: datetime | None = None
) -> list[ItemResult]:
    """Part a batch that was refused whole for the sake of some items, by their positions.

    Those are refused for good, with what was wrong as detail; the rest was not processed.
    """
    return [
        ItemResult(item.message_key, Outcome.PERMANENT, None, code, positions[at])
        if at in positions
        else ItemResult(
            item.message_key, Outcome.RETRY, None, code, "refused_with_others", retry_at
        )
        for at, item in enumerate(batch.items)
    ]


def halves(
    batch: Batch, results: Sequence[ItemResult], codes: frozenset[str] = CONTENT_CODES
) -> tuple[Sequence[Item], ...]:
    """Return the two halves of a batch that was refused whole with nobody named, else nothing.

    `codes` are those refusals that one message can bring upon the others.
    """
    is_refused = all(
        result.outcome is Outcome.PERMANENT and result.code in codes for result in results
    )
    is_blamed = any(result.detail for result in results)
    middle = len(batch.items) // 2
    if len(batch.items) < 2 or is_blamed or not is_refused:
        return ()
    return batch.items[:middle], batch.items[middle:]


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers by their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def whole_number(text: str, most: int = LONGEST_WAIT_SECONDS) -> int | None:
    """Read a header's number, at most `most`: None where it is none, never an error."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()):
        return None
    return min(int(digits), most) if len(digits) <= len(str(most)) else most


def retry_after(response: Response, now: datetime) -> datetime | None:
    """Read `Retry-After`, in seconds or as a date (RFC 9110 section 10.2.3)."""
    value = response.headers.get("retry-after", "")
    seconds = whole_number(value)
    if seconds is not None:
        return now + timedelta(seconds=seconds)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    return until if until.tzinfo is not None else until.replace(tzinfo=UTC)
