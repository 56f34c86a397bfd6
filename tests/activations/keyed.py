"""A provider that knows idempotency keys, and a vendor behind it that keeps them.

Belongs here: the smallest adapter with keys and batches, for tests of the outbox. Keep out: any
real vendor's format.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from activations.http import Answer, Request, Response, TransportError
from activations.providers.seam import (
    Batch,
    Channel,
    InboundEvent,
    Item,
    ItemResult,
    Limits,
    Outcome,
    RateState,
    batch_key,
    digest,
    each,
    retry_after,
)

LIMITS = Limits(
    max_items=10, max_bytes=1_000_000, requests_per_second=100.0, concurrency=4,
    partial="rows", has_key=True, dedup=timedelta(hours=24),
)  # fmt: skip


@dataclass(frozen=True)
class Keyed:
    """Ten messages a request, a key for each request, a row of the answer for each message."""

    base_url: str = "http://127.0.0.1:1/keyed"
    name: str = "sendgrid"  # the provider that plans e-mail name in delivery.messages
    channel: Channel = "email"
    limits: Limits = LIMITS
    version: Any = None

    def admit(self, item: Item) -> ItemResult | None:
        return None

    def plan(self, items: Iterable[Item]) -> list[Batch]:
        ordered = sorted(items, key=lambda item: item.message_key)
        parts = [ordered[at : at + 10] for at in range(0, len(ordered), 10)]
        return [_batch(part) for part in parts]

    def split(self, batch: Batch, results: Sequence[ItemResult]) -> list[Batch]:
        return []

    def request(self, batch: Batch) -> Request:
        return Request("POST", f"{self.base_url}/batch", {"Idempotency-Key": batch.key},
                       batch.content)  # fmt: skip

    def parse(self, batch: Batch, answer: Answer, now: datetime) -> list[ItemResult]:
        if isinstance(answer, TransportError):
            is_lost = answer.kind == "ambiguous"
            return each(batch, Outcome.AMBIGUOUS if is_lost else Outcome.RETRY, answer.reason)
        if answer.status == 429:
            return each(batch, Outcome.RETRY, "429", retry_at=self.rate(answer, now).resume_at)
        if answer.status in (401, 403):
            return each(batch, Outcome.AUTH, str(answer.status))
        told = answer.json()
        if answer.status != 200 or not isinstance(told, dict):
            return each(batch, Outcome.AMBIGUOUS, str(answer.status))
        return [_row(item, told.get(item.message_key)) for item in batch.items]

    def rate(self, response: Response, now: datetime) -> RateState:
        remaining = response.headers.get("x-remaining", "")
        left = int(remaining) if remaining.isdigit() else None
        return RateState(left, retry_after(response, now))

    def verify(self, *_args: Any) -> bool:
        return False

    def events(self, *_args: Any) -> list[InboundEvent]:
        return []


def _batch(items: Sequence[Item]) -> Batch:
    body = [{"key": item.message_key, "to": item.address, "text": item.text} for item in items]
    raw = json.dumps(body).encode()
    key = batch_key("keyed", "POST", "/batch", raw)
    return Batch(key, tuple(items), "POST", "/batch", "application/json", raw, digest(raw))


def _row(item: Item, told: Any) -> ItemResult:
    if told == "ok":
        return ItemResult(item.message_key, Outcome.ACCEPTED, code="200")
    if told is None:
        return ItemResult(item.message_key, Outcome.AMBIGUOUS, code="no_row")
    if told == "later":
        return ItemResult(item.message_key, Outcome.RETRY, code="later")
    return ItemResult(item.message_key, Outcome.PERMANENT, code=str(told))


@dataclass
class KeyedVendor:
    """Takes a batch once per key. `script` answers first: an answer, or "lost" after accepting."""

    script: list[Answer | str | None] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    delivered: list[str] = field(default_factory=list)
    refused: Mapping[str, str] = field(default_factory=dict)
    _kept: dict[str, Response] = field(default_factory=dict)

    def __call__(self, request: Request) -> Answer:
        self.requests.append(request)
        scripted = self.script.pop(0) if self.script else None
        if scripted is not None and scripted != "lost":
            assert not isinstance(scripted, str)
            return scripted
        answer = self._take(request)
        return TransportError("ambiguous", "ReadTimeout") if scripted == "lost" else answer

    def _take(self, request: Request) -> Response:
        key = request.headers["Idempotency-Key"]
        if key not in self._kept:
            keys = [part["key"] for part in json.loads(request.content)]
            self.delivered += [one for one in keys if one not in self.refused]
            told = {one: self.refused.get(one, "ok") for one in keys}
            self._kept[key] = Response(200, {}, json.dumps(told).encode())
        return self._kept[key]
