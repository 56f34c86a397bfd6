"""Meta: daily budgets by the Marketing API, conversions by the Conversions API.

Belongs here: the two request bodies and the one error table of the Graph API.
Keep out: how much a budget should be, which conversions count.

Sources: Meta's published api_specs and business SDK; developers.facebook.com/docs/marketing-api
(currencies, rate limiting), …/conversions-api (using-the-api, parameters, deduplication,
data-processing-options). Credentials go into a header: the SDK's query string ends in logs.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from activations.http import Answer, Request, Response, TransportError
from activations.match_keys import match_keys
from activations.platforms.seam import (
    WHOLE_UNIT_CURRENCIES,
    BudgetChange,
    BudgetReading,
    Conversion,
    ConversionBatch,
    ConversionResult,
    Verdict,
    all_of,
    budget_amount,
    halves,
    make_batch,
)
from activations.providers.seam import Limits, Outcome
from activations.versions import ApiVersion

HOSTS = frozenset({"graph.facebook.com"})
BASE_URL = "https://graph.facebook.com"
GRAPH = ApiVersion("Meta Graph API", "v26.0", None, date(2026, 11, 20))  # since 2026-07-29

LIMITS = Limits(
    max_items=1000, max_bytes=10_000_000, requests_per_second=5.0, concurrency=2,
    partial="all_or_nothing", has_key=True, dedup=timedelta(hours=48),
    max_age=timedelta(days=7),
)  # fmt: skip
STORE_MAX_AGE = timedelta(days=62)
# An ad set's budget may change four times an hour and is then blocked for an hour.
MAX_BUDGET_CHANGES_PER_HOUR = 4

ACTION_SOURCES = frozenset({
    "email", "website", "app", "phone_call", "chat", "physical_store", "system_generated",
    "business_messaging", "other",
})  # fmt: skip
EVENT_NAMES: Mapping[str, str] = {
    "order_completed": "Purchase", "checkout_started": "InitiateCheckout",
    "product_added": "AddToCart", "product_viewed": "ViewContent", "lead": "Lead",
}  # fmt: skip
MATCH_KEY_NAMES: Mapping[str, str] = {
    "email": "em", "phone": "ph", "first_name": "fn", "last_name": "ln", "city": "ct",
    "region": "st", "postal_code": "zp", "country": "country", "external_id": "external_id",
}  # fmt: skip

RETRY_CODES = frozenset({1, 2, 4, 17, 32, 341, 613, *range(80000, 80015)})
AUTH_CODES = frozenset({3, 10, 102, 190, *range(200, 300)})
GRAPH_ID = re.compile(r"[A-Za-z0-9_\-]+")


@dataclass(frozen=True)
class Meta:
    """One ad account's dataset (`pixel_id`) and campaigns. Event ids dedup for 48 hours."""

    access_token: str = field(repr=False)
    pixel_id: str
    base_url: str = BASE_URL
    version: ApiVersion = GRAPH
    name: str = "meta"
    limits: Limits = LIMITS

    @property
    def versions(self) -> tuple[ApiVersion, ...]:
        return (self.version,)

    def _aimed(self, method: str, path: str, content: bytes = b"") -> Request:
        headers = {"Authorization": f"Bearer {self.access_token}"}
        if content:
            headers["Content-Type"] = "application/json"
        return Request(method, f"{self.base_url}/{self.version.version}{path}", headers, content)

    def read_budget(self, campaign_id: str) -> Request:
        """Ask for a campaign's (or ad set's) daily budget."""
        return self._aimed("GET", f"/{_graph_id(campaign_id)}?fields=daily_budget")

    def budget_of(self, answer: Answer, currency: str) -> BudgetReading:
        """Read the daily budget, told in minor units as a string."""
        body = _body(answer)
        told = body.get("daily_budget")
        if told is None:
            return BudgetReading(None, body.get("id"))
        return BudgetReading(Decimal(str(told)) / _offset(currency), body.get("id"))

    def write_budget(self, change: BudgetChange, reading: BudgetReading) -> Request:
        """Set the absolute daily budget in minor units (Meta's offset of the currency)."""
        amount = budget_amount(change.amount, change.currency) * _offset(change.currency)
        content = json.dumps({"daily_budget": int(amount)}).encode()
        return self._aimed("POST", f"/{_graph_id(change.campaign_id)}", content)

    def budget_verdict(self, answer: Answer, now: datetime) -> Verdict:
        """Read the error table for a budget call."""
        return verdict(answer, now)

    def admit(self, conversion: Conversion, now: datetime) -> ConversionResult | None:
        """Refuse what would fail the whole upload: age, source, missing keys; and no consent."""
        code, outcome = _refusal(conversion, now), Outcome.PERMANENT
        if conversion.consent == "denied":
            code, outcome = "consent_denied", Outcome.BLOCKED
        elif code is None and not user_data(conversion):
            code = "no_match_key"
        return ConversionResult(conversion.conversion_id, outcome, code=code) if code else None

    def plan(self, conversions: Iterable[Conversion]) -> list[ConversionBatch]:
        """Cut into uploads of at most 1,000 events, ordered by conversion id."""
        ordered = sorted(conversions, key=lambda item: item.conversion_id)
        size = self.limits.max_items
        return [self._batch(ordered[at : at + size]) for at in range(0, len(ordered), size)]

    def _batch(self, items: Sequence[Conversion]) -> ConversionBatch:
        body = {"data": [_event(item) for item in items]}
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return make_batch(self.name, f"/{_graph_id(self.pixel_id)}/events", items, content)

    def request(self, batch: ConversionBatch) -> Request:
        """Aim an upload at the dataset."""
        return self._aimed(batch.method, batch.path, batch.content)

    def parse(
        self, batch: ConversionBatch, answer: Answer, now: datetime
    ) -> list[ConversionResult]:
        """Read an upload's answer: `events_received` must be all of them."""
        found = verdict(answer, now)
        body = _body(answer)
        if found.outcome is Outcome.ACCEPTED and body.get("events_received") != len(batch.items):
            found = Verdict(Outcome.AMBIGUOUS, "events_received_differs")
        return all_of(batch, found, body.get("fbtrace_id"))

    def split(
        self, batch: ConversionBatch, results: Sequence[ConversionResult]
    ) -> list[ConversionBatch]:
        """Halve an upload that was refused for its content: one bad event fails them all.

        Subcode 33 says that the dataset itself is not there: halving would not find it.
        """
        refused = all(result.outcome is Outcome.PERMANENT for result in results)
        whole = any(result.detail == "33" for result in results)
        if not refused or whole or len(batch.items) < 2:
            return []
        return [self._batch(half) for half in halves(batch.items)]


def next_budget_change_at(changed_at: Sequence[datetime], now: datetime) -> datetime | None:
    """Return when a budget may change again by our own count, or None when it may now."""
    recent = sorted(at for at in changed_at if now - at < timedelta(hours=1))
    if len(recent) < MAX_BUDGET_CHANGES_PER_HOUR:
        return None
    return recent[-1] + timedelta(hours=1)


def verdict(answer: Answer, now: datetime) -> Verdict:
    """Read the Graph API's error table; an `error` object counts with HTTP 200 as well."""
    if isinstance(answer, TransportError):
        lost = answer.kind == "ambiguous"
        return Verdict(Outcome.AMBIGUOUS if lost else Outcome.RETRY, answer.reason)
    error = _body(answer).get("error")
    if isinstance(error, dict):
        return _error_verdict(answer, error, now)
    if answer.status == 200:
        return Verdict(Outcome.ACCEPTED, "200")
    if answer.status in (401, 403):
        return Verdict(Outcome.AUTH, str(answer.status))
    if answer.status == 429:
        return Verdict(Outcome.RETRY, "429", retry_at=resume_at(answer, now))
    is_refused = 400 <= answer.status < 500
    return Verdict(Outcome.PERMANENT if is_refused else Outcome.AMBIGUOUS, str(answer.status))


def _error_verdict(answer: Response, error: Mapping[str, Any], now: datetime) -> Verdict:
    code, subcode = error.get("code"), error.get("error_subcode")
    detail = str(subcode) if subcode is not None else None
    if code in AUTH_CODES:
        return Verdict(Outcome.AUTH, str(code), detail)
    if code in RETRY_CODES or error.get("is_transient") is True:
        return Verdict(Outcome.RETRY, str(code), detail, resume_at(answer, now))
    if answer.status >= 500:
        return Verdict(Outcome.AMBIGUOUS, str(code), detail)
    return Verdict(Outcome.PERMANENT, str(code), detail)


def resume_at(answer: Response, now: datetime) -> datetime | None:
    """Read X-Business-Use-Case-Usage: the longest `estimated_time_to_regain_access`, minutes.

    Meta sends no Retry-After.
    """
    try:
        usage = json.loads(answer.headers.get("x-business-use-case-usage", "{}"))
    except ValueError:
        return None
    entries = [entry for account in usage.values() for entry in account]
    minutes = max((entry.get("estimated_time_to_regain_access", 0) for entry in entries), default=0)
    return now + timedelta(minutes=minutes) if minutes else None


def user_data(conversion: Conversion) -> dict[str, Any]:
    """Return the match keys Meta may have: hashed ones only with granted consent."""
    data: dict[str, Any] = {}
    if conversion.consent == "granted":
        keys = match_keys("meta", conversion.person)
        data = {MATCH_KEY_NAMES[key]: [value] for key, value in keys.items()}
    if conversion.click_id_type == "fbclid" and conversion.click_id:
        clicked_at = conversion.clicked_at or conversion.occurred_at
        stamp = int(clicked_at.timestamp() * 1000)
        data["fbc"] = f"fb.1.{stamp}.{conversion.click_id}"
    if data and conversion.client_user_agent:
        data["client_user_agent"] = conversion.client_user_agent
    return data


def _refusal(conversion: Conversion, now: datetime) -> str | None:
    is_store = conversion.action_source == "physical_store"
    oldest = now - (STORE_MAX_AGE if is_store else timedelta(days=7))
    is_website = conversion.action_source == "website"
    checks = (
        ("unknown_action_source", conversion.action_source not in ACTION_SOURCES),
        ("event_too_old", conversion.occurred_at < oldest),
        ("event_in_future", conversion.occurred_at > now),
        ("missing_client_user_agent", is_website and not conversion.client_user_agent),
        ("missing_event_source_url", is_website and not conversion.event_source_url),
    )
    return next((code for code, fails in checks if fails), None)


def _event(conversion: Conversion) -> dict[str, Any]:
    event: dict[str, Any] = {
        "event_name": EVENT_NAMES.get(conversion.event_name, conversion.event_name),
        "event_time": int(conversion.occurred_at.astimezone(UTC).timestamp()),
        "event_id": conversion.conversion_id,
        "action_source": conversion.action_source,
        "user_data": user_data(conversion),
        "custom_data": {
            "value": float(conversion.value),
            "currency": conversion.currency,
            "order_id": conversion.conversion_id,
        },
        "data_processing_options": [],
    }
    if conversion.event_source_url:
        event["event_source_url"] = conversion.event_source_url
    if conversion.consent != "granted":
        # Limited data use, by the place that Meta finds itself (country 0, state 0).
        event |= {
            "data_processing_options": ["LDU"],
            "data_processing_options_country": 0,
            "data_processing_options_state": 0,
        }
    return event


def _graph_id(value: str) -> str:
    if not GRAPH_ID.fullmatch(value):
        raise ValueError(f"{value!r} is no id of the Graph API")
    return value


def _offset(currency: str) -> int:
    return 1 if currency in WHOLE_UNIT_CURRENCIES else 100


def _body(answer: Answer) -> dict[str, Any]:
    body = answer.json() if isinstance(answer, Response) else None
    return body if isinstance(body, dict) else {}
