"""The seam between budgets, conversions and the ad platforms: types that both sides speak.

Belongs here: what a budget change and a conversion are on their way out, what came back, and
the protocol every platform fulfils.
Keep out: any vendor's field name, any I/O.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Literal, Protocol

from activations.http import Answer, Request
from activations.providers.seam import Limits, Outcome
from activations.versions import ApiVersion

# The only I/O of a platform goes through one of these: a request in, an answer out.
Sender = Callable[[Request], Answer]
Consent = Literal["granted", "denied", "unspecified"]

# Currencies whose budgets are whole units (Meta's table of currency offsets, offset 1). Whole
# units are multiples of every smaller unit, so the same table serves all platforms.
WHOLE_UNIT_CURRENCIES = frozenset({
    "CLP", "COP", "CRC", "HUF", "IDR", "ISK", "JPY", "KRW", "PYG", "TWD", "VND",
})  # fmt: skip


class NoOwnBudgetError(ValueError):
    """A campaign has no daily budget of its own that could be set."""


@dataclass(frozen=True)
class BudgetChange:
    """One campaign's new daily budget: an absolute amount, never a difference."""

    plan_id: str
    campaign_id: str
    amount: Decimal
    currency: str


@dataclass(frozen=True)
class BudgetReading:
    """What the platform says the daily budget is; None where the campaign has none of its own."""

    amount: Decimal | None
    resource: str | None = None


@dataclass(frozen=True)
class BudgetResult:
    """What became of a budget change. ACCEPTED means that the read-back showed the amount."""

    plan_id: str
    outcome: Outcome
    previous_amount: Decimal | None = None
    confirmed_amount: Decimal | None = None
    code: str | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True)
class Conversion:
    """One conversion and what may identify its person. Nothing personal is in `repr`.

    `person` holds raw values under email, phone, first_name, last_name, city, region,
    postal_code, country, external_id; each platform derives its own match keys.
    """

    conversion_id: str
    event_name: str
    occurred_at: datetime
    value: Decimal
    currency: str
    action_source: str
    consent: Consent
    person: Mapping[str, str | None] = field(repr=False, default_factory=dict)
    click_id_type: str | None = None
    click_id: str | None = field(repr=False, default=None)
    clicked_at: datetime | None = None
    client_user_agent: str | None = field(repr=False, default=None)
    event_source_url: str | None = field(repr=False, default=None)


@dataclass(frozen=True)
class ConversionBatch:
    """One upload before it is aimed at a host; same conversions, same bytes, same key."""

    key: str
    items: tuple[Conversion, ...]
    method: str
    path: str
    content: bytes = field(repr=False)
    sha256: str


@dataclass(frozen=True)
class ConversionResult:
    """What became of one conversion on one platform."""

    conversion_id: str
    outcome: Outcome
    provider_ref: str | None = None
    code: str | None = None
    detail: str | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True)
class Verdict:
    """One answer read by a platform's error table."""

    outcome: Outcome
    code: str | None = None
    detail: str | None = None
    retry_at: datetime | None = None


class AdPlatform(Protocol):
    """A platform that takes daily budgets and conversions. All methods are pure."""

    @property
    def name(self) -> str: ...
    @property
    def versions(self) -> tuple[ApiVersion, ...]: ...
    @property
    def limits(self) -> Limits: ...

    def read_budget(self, campaign_id: str) -> Request: ...
    def budget_of(self, answer: Answer, currency: str) -> BudgetReading: ...
    def write_budget(self, change: BudgetChange, reading: BudgetReading) -> Request: ...
    def budget_verdict(self, answer: Answer, now: datetime) -> Verdict: ...

    def admit(self, conversion: Conversion, now: datetime) -> ConversionResult | None:
        """Return why a conversion cannot be uploaded, or None when it can."""
        ...

    def plan(self, conversions: Iterable[Conversion]) -> list[ConversionBatch]:
        """Cut conversions into uploads; every one in exactly one batch."""
        ...

    def request(self, batch: ConversionBatch) -> Request: ...

    def parse(
        self, batch: ConversionBatch, answer: Answer, now: datetime
    ) -> list[ConversionResult]:
        """Read an answer by the error table: one result per conversion, in their order."""
        ...

    def split(
        self, batch: ConversionBatch, results: Sequence[ConversionResult]
    ) -> list[ConversionBatch]:
        """Return the uploads to try instead of a refused one; empty where the results stand."""
        ...


def budget_amount(amount: Decimal, currency: str) -> Decimal:
    """Round down to what a budget of this currency can be: never above what was approved."""
    unit = Decimal(1) if currency in WHOLE_UNIT_CURRENCIES else Decimal("0.01")
    return amount.quantize(unit, rounding=ROUND_DOWN)


def make_batch(
    platform: str, path: str, items: Iterable[Conversion], content: bytes
) -> ConversionBatch:
    """Freeze an upload: its key covers membership, order and content."""
    key = hashlib.sha256(f"{platform} POST {path}\n".encode() + content).hexdigest()[:32]
    sha256 = hashlib.sha256(content).hexdigest()
    return ConversionBatch(key, tuple(items), "POST", path, content, sha256)


def all_of(
    batch: ConversionBatch, verdict: Verdict, provider_ref: str | None = None
) -> list[ConversionResult]:
    """Give every conversion of a batch the same result."""
    return [
        ConversionResult(
            item.conversion_id, verdict.outcome, provider_ref, verdict.code, verdict.detail,
            verdict.retry_at,
        )
        for item in batch.items
    ]  # fmt: skip


def halves(items: Sequence[Conversion]) -> tuple[Sequence[Conversion], Sequence[Conversion]]:
    """Part a refused batch in two, to find the conversion that spoils it."""
    middle = len(items) // 2
    return items[:middle], items[middle:]
