"""Google: daily budgets by the Google Ads API, conversions by the Data Manager API.

Belongs here: the platform as the seam wants it, and the Google Ads half (budgets).
Keep out: the Data Manager's bodies and error table (`data_manager.py`), access tokens
(`google_token.py`), how much a budget should be.

Sources: google.ads.googleads.v26 (campaignBudgets:mutate, googleAds:searchStream, errors/*.proto),
developers.google.com/google-ads/api/docs/best-practices (understand-api-errors, quotas).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from activations.http import Answer, Request, Response, TransportError
from activations.platforms import data_manager
from activations.platforms.seam import (
    BudgetChange,
    BudgetReading,
    Conversion,
    ConversionBatch,
    ConversionResult,
    NoOwnBudgetError,
    Verdict,
    budget_amount,
)
from activations.providers.seam import Limits, Outcome
from activations.versions import ApiVersion

HOSTS = frozenset({"googleads.googleapis.com", "datamanager.googleapis.com"})
ADS_URL = "https://googleads.googleapis.com"
# No end announced yet; major versions live about twelve months.
ADS = ApiVersion("Google Ads API", "v26", None, date(2026, 11, 20))

MICROS = Decimal(1_000_000)
CAMPAIGN_ID = re.compile(r"[A-Za-z0-9_\-]+")
RETRY_ERRORS = frozenset({
    "RESOURCE_EXHAUSTED", "RESOURCE_TEMPORARILY_EXHAUSTED", "TRANSIENT_ERROR",
    "CONCURRENT_MODIFICATION",
})  # fmt: skip
AUTH_KINDS = frozenset({"authenticationError", "authorizationError"})


@dataclass(frozen=True)
class Google:
    """One Google Ads customer; conversions go to one conversion action of it."""

    access_token: str = field(repr=False)
    customer_id: str
    conversion_action_id: str
    login_customer_id: str | None = None
    ads_url: str = ADS_URL
    data_manager_url: str = data_manager.BASE_URL
    version: ApiVersion = ADS
    name: str = "google"
    limits: Limits = data_manager.LIMITS

    @property
    def versions(self) -> tuple[ApiVersion, ...]:
        return (self.version, data_manager.VERSION)

    def _ads(self, call: str, body: Mapping[str, Any]) -> Request:
        path = f"/{self.version.version}/customers/{self.customer_id}/{call}"
        headers = self._headers()
        if self.login_customer_id:
            headers["login-customer-id"] = self.login_customer_id
        return Request("POST", self.ads_url + path, headers, json.dumps(body).encode())

    def _headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.access_token}",
            "Content-Type": "application/json",
        }

    def read_budget(self, campaign_id: str) -> Request:
        """Ask for the campaign's budget and its resource name, which a change needs.

        A numeric id is the campaign's id; anything else is taken for its name.
        """
        if not CAMPAIGN_ID.fullmatch(campaign_id):
            raise ValueError(f"{campaign_id!r} is neither a campaign's id nor a plain name")
        is_id = campaign_id.isdigit()
        where = f"campaign.id = {campaign_id}" if is_id else f"campaign.name = '{campaign_id}'"
        query = (
            "SELECT campaign_budget.resource_name, campaign_budget.amount_micros "
            f"FROM campaign WHERE {where}"
        )
        return self._ads("googleAds:searchStream", {"query": query})

    def budget_of(self, answer: Answer, currency: str) -> BudgetReading:
        """Read the first row of the stream."""
        chunks = answer.json() if isinstance(answer, Response) else None
        rows = [row for chunk in _list(chunks) for row in chunk.get("results", [])]
        budget = rows[0].get("campaignBudget", {}) if rows else {}
        micros = budget.get("amountMicros")
        amount = Decimal(str(micros)) / MICROS if micros is not None else None
        return BudgetReading(amount, budget.get("resourceName"))

    def write_budget(self, change: BudgetChange, reading: BudgetReading) -> Request:
        """Set the absolute amount in micros; idempotent. Needs the reading's resource name."""
        if reading.resource is None:
            raise NoOwnBudgetError(f"campaign {change.campaign_id} has no budget of its own")
        micros = int(budget_amount(change.amount, change.currency) * MICROS)
        update = {"resourceName": reading.resource, "amountMicros": str(micros)}
        operation = {"updateMask": "amountMicros", "update": update}
        return self._ads("campaignBudgets:mutate", {"operations": [operation]})

    def budget_verdict(self, answer: Answer, now: datetime) -> Verdict:
        """Read the error table for a budget call."""
        return verdict(answer, now)

    def admit(self, conversion: Conversion, now: datetime) -> ConversionResult | None:
        """Refuse what would fail the whole upload, and what consent forbids."""
        return data_manager.admit(conversion, now)

    def plan(self, conversions: Iterable[Conversion]) -> list[ConversionBatch]:
        """Cut into uploads of at most 2,000 events, ordered by conversion id."""
        return data_manager.plan(conversions, self._destination())

    def _destination(self) -> data_manager.Destination:
        return data_manager.Destination(
            self.customer_id, self.conversion_action_id, self.login_customer_id
        )

    def request(self, batch: ConversionBatch) -> Request:
        """Aim an upload at events:ingest."""
        url = self.data_manager_url + batch.path
        return Request(batch.method, url, self._headers(), batch.content)

    def status_request(self, request_id: str) -> Request:
        """Ask what became of an accepted upload: Google processes it later."""
        url = f"{self.data_manager_url}{data_manager.STATUS_PATH}?requestId={request_id}"
        return Request("GET", url, self._headers())

    def parse(
        self, batch: ConversionBatch, answer: Answer, now: datetime
    ) -> list[ConversionResult]:
        """Read an upload's answer; `provider_ref` is the request id to ask about later."""
        return data_manager.parse(batch, answer, now)

    def parse_status(
        self, batch: ConversionBatch, answer: Answer, now: datetime
    ) -> list[ConversionResult]:
        """Read the answer to `status_request`, row by row."""
        return data_manager.parse_status(batch, answer, now)

    def split(
        self, batch: ConversionBatch, results: Sequence[ConversionResult]
    ) -> list[ConversionBatch]:
        """Leave out the named bad rows, or halve where none was named."""
        return data_manager.split(batch, results, self._destination())


def verdict(answer: Answer, now: datetime) -> Verdict:
    """Read the Google Ads error table: the first GoogleAdsFailure error decides."""
    if isinstance(answer, TransportError):
        lost = answer.kind == "ambiguous"
        return Verdict(Outcome.AMBIGUOUS if lost else Outcome.RETRY, answer.reason)
    if answer.status == 200:
        return Verdict(Outcome.ACCEPTED, "200")
    kind, code, delay = _failure(answer)
    name = code or str(answer.status)
    if kind in AUTH_KINDS or answer.status in (401, 403):
        return Verdict(Outcome.AUTH, name, kind)
    if code in RETRY_ERRORS or answer.status == 429:
        return Verdict(Outcome.RETRY, name, kind, now + delay if delay else None)
    if 400 <= answer.status < 500:
        return Verdict(Outcome.PERMANENT, name, kind)
    return Verdict(Outcome.AMBIGUOUS, name, kind)


def _failure(answer: Response) -> tuple[str | None, str | None, timedelta | None]:
    """Return the first error's kind, code and retry delay; streams wrap the error in a list."""
    chunks = _list(answer.json())
    error = chunks[0].get("error", {}) if chunks else {}
    failures = [one for detail in error.get("details", []) for one in detail.get("errors", [])]
    if not failures:
        return None, error.get("status"), None
    kind, code = next(iter(failures[0].get("errorCode", {}).items()), (None, None))
    quota = failures[0].get("details", {}).get("quotaErrorDetails", {})
    seconds = str(quota.get("retryDelay", "")).removesuffix("s")
    delay = timedelta(seconds=float(seconds)) if seconds else None
    return kind, code, delay


def _list(body: Any) -> list[dict[str, Any]]:
    if isinstance(body, dict):
        return [body]
    return [entry for entry in body if isinstance(entry, dict)] if isinstance(body, list) else []
