"""Budgets: a proposal becomes a plan, a plan that somebody or a rule approved becomes a budget.

Belongs here: the rule of approval, the plan's states, pushing and confirming, the reservation.
Keep out: how much a campaign deserves (`ml/budget.py`), wire formats (`platforms/`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from activations import audit, persons, reviews, wallet
from activations.keys import stable_id
from activations.platforms.push import push_budget
from activations.platforms.seam import AdPlatform, BudgetChange, BudgetResult, Sender
from activations.providers.seam import Outcome
from warehouse import Warehouse

# A change up to this share of yesterday's budget needs nobody: platforms relearn beyond it.
DAILY_STEP = Decimal("0.20")
STATUS = {
    Outcome.ACCEPTED: "confirmed",
    Outcome.DUPLICATE: "confirmed",
    Outcome.PERMANENT: "failed",
    Outcome.BLOCKED: "failed",
    Outcome.AUTH: "approved",
    Outcome.RETRY: "pushed",
    Outcome.AMBIGUOUS: "pushed",
}


@dataclass(frozen=True)
class Planned:
    """New plans by status, and those that wait for a person."""

    by_status: Mapping[str, int]
    waiting: int


@dataclass(frozen=True)
class Pushed:
    """What became of a platform's budgets, and how many requests it took."""

    by_status: Mapping[str, int]
    requests: int
    stopped: str | None = None


def plan(
    warehouse: Warehouse,
    as_of: datetime,
    proposals: pa.Table,
    daily_limit: Decimal | None = None,
) -> Planned:
    """Write proposals as plans, once per day, platform and campaign.

    `proposals`: platform, campaign_id, previous_amount, proposed_amount, reason, in the
    workspace's currency per day. A step of at most 20 % is approved by rule; a larger one, and
    every increase once the sum exceeds `daily_limit`, waits for a person.
    """
    rows = proposals.to_pylist()
    total = sum((_money(row["proposed_amount"]) for row in rows), Decimal(0))
    is_over = daily_limit is not None and total > daily_limit
    with warehouse.transaction() as connection:
        currency = persons.workspace(connection).currency
        plans = [_plan(row, as_of, currency, is_over) for row in rows]
        known = _known(connection, as_of)
        fresh = [one for one in plans if one["plan_id"] not in known]
        if fresh:
            warehouse.append("delivery.budget_plans", _table(fresh), connection)
            waiting = [one["plan_id"] for one in fresh if one["status"] == "proposed"]
            reviews.request(warehouse, "budget", waiting, as_of, connection)
            for platform in sorted({one["platform"] for one in fresh}):
                part = f"{platform}@{audit.moment(as_of)}"
                audit.append(connection, as_of, "budgets", "plan", "budgets", part)
    statuses = Counter(one["status"] for one in fresh)
    return Planned(dict(statuses), statuses["proposed"])


def push(
    warehouse: Warehouse,
    as_of: datetime,
    platform: AdPlatform,
    sender: Sender | None,
    now: datetime,
) -> Pushed:
    """Set every approved budget of the day's plan and read it back.

    A plan becomes `pushed` before its first request and `confirmed` when the platform shows the
    amount; absolute amounts make a second push after a crash harmless. Confirmed plans are left
    alone, so a second run makes no request. Without a `sender` (dry run) nothing is pushed.
    """
    rows = _due(warehouse, as_of, platform.name)
    if sender is None or not rows:
        return Pushed(dict(Counter(row["status"] for row in rows)), 0)
    _reserve(warehouse, as_of, platform.name, rows)
    counted = _Counted(sender)
    statuses: Counter[str] = Counter()
    for row in rows:
        warehouse.execute(
            "update delivery.budget_plans set status = 'pushed' where plan_id = %(plan)s",
            plan=row["plan_id"],
        )
        change = BudgetChange(
            row["plan_id"], row["campaign_id"], row["approved_amount"], row["currency"]
        )
        result = push_budget(platform, change, counted, now)
        statuses[_note(warehouse, result, row["reason"])] += 1
        if result.outcome is Outcome.AUTH:
            stopped = f"{platform.name} refuses our credentials"
            return Pushed(dict(statuses), counted.requests, stopped)
    return Pushed(dict(statuses), counted.requests)


class _Counted:
    """A sender that counts."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self.requests = 0

    def __call__(self, request: Any) -> Any:
        self.requests += 1
        return self._sender(request)


def _plan(row: Mapping[str, Any], as_of: datetime, currency: str, is_over: bool) -> dict[str, Any]:
    before, proposed = _money(row["previous_amount"]), _money(row["proposed_amount"])
    cent = Decimal("0.01")
    is_small = abs(proposed - before) <= before * DAILY_STEP + cent
    is_fine = is_small and not (is_over and proposed > before)
    reason = row["reason"]
    if not is_fine:
        reason = f"{reason}; {'over the daily limit' if is_small else 'a step over 20 %'}"
    return {
        "plan_id": stable_id("budget", audit.moment(as_of), row["platform"], row["campaign_id"]),
        "as_of": as_of,
        "platform": row["platform"],
        "campaign_id": row["campaign_id"],
        "previous_amount": str(before),
        "proposed_amount": str(proposed),
        "approved_amount": str(proposed) if is_fine else None,
        "currency": currency,
        "status": "approved" if is_fine else "proposed",
        "reason": reason,
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    columns: dict[str, Any] = {
        name: pa.array([row[name] for row in rows], pa.string())
        for name in rows[0]
        if name != "as_of"
    }
    moments = pa.array([row["as_of"] for row in rows], pa.timestamp("us", tz="UTC"))
    return pa.table(columns | {"as_of": moments})


def _known(connection: Any, as_of: datetime) -> set[str]:
    rows = connection.execute("select plan_id from delivery.budget_plans where as_of = %s", [as_of])
    return {row["plan_id"] for row in rows}


def _due(warehouse: Warehouse, as_of: datetime, platform: str) -> list[dict[str, Any]]:
    return warehouse.rows(
        "select * from delivery.budget_plans where as_of = %(as_of)s and platform = %(platform)s"
        " and status in ('approved', 'pushed') order by campaign_id",
        as_of=as_of,
        platform=platform,
    )


def _note(warehouse: Warehouse, result: BudgetResult, reason: str) -> str:
    status = STATUS[result.outcome]
    said = reason.split("; platform:")[0]
    if status != "confirmed":
        said = f"{said}; platform: {result.outcome} {result.code or ''}".rstrip()
    warehouse.execute(
        "update delivery.budget_plans set status = %(status)s, reason = %(reason)s"
        " where plan_id = %(plan)s",
        status=status,
        reason=said,
        plan=result.plan_id,
    )
    return status


def _reserve(
    warehouse: Warehouse, as_of: datetime, platform: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Reserve the day's budgets, and book the reservation before this one as spent."""
    currency = rows[0]["currency"]
    total = sum(wallet.minor_units(row["approved_amount"], currency) for row in rows)
    with warehouse.transaction() as connection:
        before = wallet.balance(connection, f"ads_reserved:{platform}", as_of)
        reservation = wallet.Transaction(
            stable_id("ads", platform, audit.moment(as_of)),
            {
                wallet.FUNDING: -total,
                f"ads_reserved:{platform}": total - before,
                f"ads_spent:{platform}": before,
            },
            currency,
            as_of,
            f"daily budgets {platform}",
        )
        wallet.post(warehouse, connection, reservation)


def _money(value: Any) -> Decimal:
    return Decimal(str(value)).quantize(Decimal("0.01"))
