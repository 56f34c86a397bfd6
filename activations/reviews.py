"""Reviews: what waits for a person, and what the person said.

Belongs here: opening, listing, approving and rejecting, pinned to what was seen.
Keep out: which things need a review (`guardrails.py`, `variants.py`, `budgets.py`).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa

from activations import audit, link_proposals
from activations.keys import stable_id
from warehouse import Warehouse

Kind = Literal["copy", "offer", "person", "budget"]
Decision = Literal["approved", "rejected"]


class ReviewError(ValueError):
    """A review that cannot be decided; the text says why and what to do."""


def request(
    warehouse: Warehouse,
    kind: Kind,
    subject_ids: Sequence[str],
    requested_at: datetime,
    connection: Any = None,
) -> int:
    """Open a review per subject, once; returns how many were opened."""
    if not subject_ids:
        return 0
    rows = pa.table(
        {
            "review_id": [stable_id("review", kind, subject) for subject in subject_ids],
            "kind": [kind] * len(subject_ids),
            "subject_id": list(subject_ids),
            "requested_at": [requested_at] * len(subject_ids),
        }
    )
    return warehouse.insert_missing("delivery.reviews", rows, ["review_id"], connection)


def open_reviews(warehouse: Warehouse) -> list[dict[str, Any]]:
    """What waits, oldest first: id, kind, subject, since when, and `seen`, the hash to approve.

    `seen` is the content hash of words, of a message's words, or the plan id of a budget. Two
    contacts that may be one person are told in `body` by their ids and what speaks for it.
    """
    return warehouse.rows(
        "select review_id, kind, subject_id, requested_at, coalesce(variants.content_hash,"
        " messages.content_hash, plans.plan_id) as seen, variants.subject,"
        f" coalesce(variants.body, {link_proposals.TOLD}) as body,"
        " coalesce(variants.program, messages.program) as program"
        " from delivery.reviews"
        " left join delivery.copy_variants as variants on subject_id = variants.variant_id"
        " left join delivery.messages as messages on subject_id = messages.message_key"
        " left join delivery.budget_plans as plans on subject_id = plans.plan_id"
        " left join identity.link_proposals as proposals on subject_id = proposals.proposal_id"
        " where reviews.decided_at is null order by requested_at, review_id"
    )


def decide(
    warehouse: Warehouse,
    review_id: str,
    decision: Decision,
    decided_by: str,
    decided_at: datetime,
    seen: str | None = None,
    note: str | None = None,
) -> str:
    """Approve or reject one review; returns its kind.

    An approval of words names the content hash that was read (`seen`); if the words changed
    since, it is refused. Approving releases the message, the words or the budget, or makes two
    contacts one person from the next build on; rejecting ends them.
    """
    with warehouse.transaction() as connection:
        row = connection.execute(
            "select kind, subject_id, decided_at from delivery.reviews where review_id = %s"
            " for update",
            [review_id],
        ).fetchone()
        if row is None:
            raise ReviewError(f"no review {review_id}; `loopdrive review list` names the open ones")
        if row["decided_at"] is not None:
            raise ReviewError(f"review {review_id} is decided already")
        subject = row["subject_id"]
        if not link_proposals.decide(connection, subject, decision, decided_by, decided_at):
            _apply(connection, row["kind"], subject, decision, decided_by, seen)
        connection.execute(
            "update delivery.reviews set decided_at = %s, decided_by = %s, decision = %s,"
            " note = %s where review_id = %s",
            [decided_at, decided_by, decision, note, review_id],
        )
        audit.append(connection, decided_at, decided_by, decision, "review", review_id)
    return row["kind"]


def _apply(
    connection: Any, kind: str, subject: str, decision: Decision, by: str, seen: str | None
) -> None:
    if kind == "copy":
        if decision == "approved" and seen is None:
            raise ReviewError("approving words needs the content hash that was read")
        changed = connection.execute(
            "update delivery.copy_variants set status = %s, approved_by = %s"
            " where variant_id = %s and content_hash = coalesce(%s, content_hash)"
            " and (%s = 'rejected' or lint -> 'problems' = '[]'::jsonb)",
            [decision, by, subject, seen, decision],
        ).rowcount
        if not changed:
            raise ReviewError("the words changed since they were read, or fail their lint")
    elif kind in ("offer", "person"):
        status, reason = ("planned", None) if decision == "approved" else ("skipped", "rejected")
        connection.execute(
            "update delivery.messages set status = %s, reason = %s"
            " where message_key = %s and status = 'held'",
            [status, reason, subject],
        )
    else:
        connection.execute(
            "update delivery.budget_plans set status = %s, reason = %s,"
            " approved_amount = case when %s = 'approved' then proposed_amount end"
            " where plan_id = %s and status = 'proposed'",
            [decision, f"{decision} by a person", decision, subject],
        )
