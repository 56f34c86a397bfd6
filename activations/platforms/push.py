"""Push a budget, upload conversions: the only order of requests both platforms share.

Belongs here: read, write and read back; plan, send, split and collect. I/O only through the
sender that is passed in.
Keep out: any vendor's field or code; which budget, which conversion; storage.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from activations.platforms.seam import (
    AdPlatform,
    BudgetChange,
    BudgetResult,
    Conversion,
    ConversionBatch,
    ConversionResult,
    NoOwnBudgetError,
    Sender,
    Verdict,
    budget_amount,
)
from activations.providers.seam import Outcome

# One bad conversion in 2,000 takes 22 further requests to find; beyond this something else is
# wrong than single conversions, and the rest keeps the verdict it has.
MAX_SPLITS = 64


def push_budget(
    platform: AdPlatform, change: BudgetChange, sender: Sender, now: datetime
) -> BudgetResult:
    """Set one absolute daily budget and read it back.

    No write where the platform shows the amount already. A lost answer is settled by the
    read-back: the new amount is ACCEPTED, the old one RETRY, anything else AMBIGUOUS.
    """
    target = budget_amount(change.amount, change.currency)
    asked = sender(platform.read_budget(change.campaign_id))
    found = platform.budget_verdict(asked, now)
    if found.outcome is not Outcome.ACCEPTED:
        return _unread(change, found)
    before = platform.budget_of(asked, change.currency)
    if before.amount == target:
        return BudgetResult(change.plan_id, Outcome.ACCEPTED, before.amount, target, "unchanged")
    try:
        request = platform.write_budget(change, before)
    except NoOwnBudgetError:
        return BudgetResult(change.plan_id, Outcome.PERMANENT, code="no_own_budget")
    written = platform.budget_verdict(sender(request), now)
    result = BudgetResult(
        change.plan_id, written.outcome, before.amount, None, written.code, written.retry_at
    )
    if written.outcome not in (Outcome.ACCEPTED, Outcome.AMBIGUOUS):
        return result
    return _read_back(platform, change, sender, now, result)


def _unread(change: BudgetChange, found: Verdict) -> BudgetResult:
    """A failed reading changed nothing: what is ambiguous for a write is a retry here."""
    lost = found.outcome is Outcome.AMBIGUOUS
    outcome = Outcome.RETRY if lost else found.outcome
    return BudgetResult(change.plan_id, outcome, code=found.code, retry_at=found.retry_at)


def _read_back(
    platform: AdPlatform,
    change: BudgetChange,
    sender: Sender,
    now: datetime,
    result: BudgetResult,
) -> BudgetResult:
    asked = sender(platform.read_budget(change.campaign_id))
    if platform.budget_verdict(asked, now).outcome is not Outcome.ACCEPTED:
        return replace(result, outcome=Outcome.AMBIGUOUS, code="no_read_back")
    amount = platform.budget_of(asked, change.currency).amount
    if amount == budget_amount(change.amount, change.currency):
        return replace(result, outcome=Outcome.ACCEPTED, confirmed_amount=amount)
    is_old = amount == result.previous_amount and result.outcome is Outcome.AMBIGUOUS
    outcome = Outcome.RETRY if is_old else Outcome.AMBIGUOUS
    return replace(result, outcome=outcome, code="read_back_differs")


def upload_conversions(
    platform: AdPlatform, conversions: Iterable[Conversion], sender: Sender, now: datetime
) -> list[ConversionResult]:
    """Upload conversions and return one result each, in the order of their ids.

    Inadmissible ones cost no request. A refused upload is split until the bad ones are found
    (at most MAX_SPLITS times). AMBIGUOUS uploads may go again unchanged within the platform's
    dedup window: same conversions, same bytes, same event ids.
    """
    results: dict[str, ConversionResult] = {}
    admitted: dict[str, Conversion] = {}
    for conversion in conversions:
        refusal = platform.admit(conversion, now)
        if refusal is None:
            admitted[conversion.conversion_id] = conversion
        else:
            results[conversion.conversion_id] = refusal
    pending: list[ConversionBatch] = platform.plan(admitted.values())
    splits = 0
    while pending:
        batch = pending.pop()
        answered = platform.parse(batch, sender(platform.request(batch)), now)
        parts = platform.split(batch, answered) if splits < MAX_SPLITS else []
        splits += bool(parts)
        pending += parts
        results |= {result.conversion_id: result for result in answered}
    return [results[key] for key in sorted(results)]
