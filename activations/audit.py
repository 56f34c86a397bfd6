"""The audit log: a chain of SHA-256 hashes, one entry per batch of rows, verifiable offline.

Belongs here: which rows a subject covers, their digest, appending, verifying.
Keep out: why something was done; the rows say so themselves.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from warehouse import Warehouse

GENESIS = "0" * 64
# Any constant will do that no other lock of this database uses.
CHAIN_LOCK = 0x10095D84
# What each kind of subject covers: only columns that never change once written. The digest is
# made by the server at writing and at verifying alike, so both spell every value the same way.
COVERED = {
    "decisions": (
        "select decision_id as key, jsonb_build_array(decision_id, as_of, program, person_id,"
        " opportunity_id, step, assignment, arm, propensity, candidates, verdicts, outcome,"
        " reason, model_versions)::text as content from delivery.decisions"
        " where program = split_part(%(part)s, '@', 1)"
        " and as_of = split_part(%(part)s, '@', 2)::timestamptz"
    ),
    "messages": (
        "select message_key as key, jsonb_build_array(message_key, messages.decision_id,"
        " messages.person_id, channel, variant_id, content_hash, address_hash)::text as content"
        " from delivery.messages join delivery.decisions using (decision_id)"
        " where decisions.program = split_part(%(part)s, '@', 1)"
        " and decisions.as_of = split_part(%(part)s, '@', 2)::timestamptz"
    ),
    "attempts": (
        "select attempt_id as key, jsonb_build_array(attempt_id, message_key,"
        " send_attempts.batch_key, attempted_at, outcome, code, detail)::text as content"
        " from delivery.send_attempts join delivery.messages using (message_key)"
        " where messages.provider = split_part(%(part)s, '@', 1)"
        " and attempted_at = split_part(%(part)s, '@', 2)::timestamptz and is_sealed"
    ),
    "wallet": (
        "select entry_id as key, jsonb_build_array(entry_id, transaction_id, account,"
        " amount_minor, currency, occurred_at, reference)::text as content"
        " from delivery.wallet_entries where transaction_id = %(part)s"
    ),
    "review": (
        "select review_id as key, jsonb_build_array(review_id, kind, subject_id, requested_at,"
        " decided_at, decided_by, decision, note)::text as content"
        " from delivery.reviews where review_id = %(part)s"
    ),
    # By UTC day: one entry for a day's changes, however many moments they came at.
    "consent": (
        "select channel || address_hash || scope || source as key, jsonb_build_array(channel,"
        " address_hash, scope, status, source, recorded_at)::text as content"
        " from delivery.consent_changes"
        " where (recorded_at at time zone 'UTC')::date = %(part)s::date"
    ),
    "budgets": (
        "select plan_id as key, jsonb_build_array(plan_id, as_of, platform, campaign_id,"
        " previous_amount, proposed_amount, currency)::text as content"
        " from delivery.budget_plans"
        " where platform = split_part(%(part)s, '@', 1)"
        " and as_of = split_part(%(part)s, '@', 2)::timestamptz"
    ),
    "link_rule": (
        "select rule_id as key, jsonb_build_array(rule_id, action, left_type, left_value,"
        " right_type, right_value, created_by, reason)::text as content"
        " from identity.link_rules where rule_id = %(part)s"
    ),
    "merge": (
        "select merge_id as key, jsonb_build_array(merge_id, survivor_person_id,"
        " absorbed_person_id, merged_at, undone_at, undone_by)::text as content"
        " from identity.merges where merge_id = %(part)s"
    ),
    # What never changes of it: the moment of turning on again is an entry of its own.
    "switch": (
        "select switch_id as key, jsonb_build_array(switch_id, kind, name, off_at, off_by,"
        " reason)::text as content from delivery.kill_switches where switch_id = %(part)s"
    ),
    "conversions": (
        "select conversion_id as key,"
        " jsonb_build_array(conversion_id, platform, event_id)::text as content"
        " from delivery.conversion_uploads where platform = %(part)s"
    ),
}


@dataclass(frozen=True)
class Verification:
    """The head of an intact chain, or where it is broken and how."""

    is_intact: bool
    head: str
    entries: int
    broken_at: int | None = None
    reason: str | None = None


def moment(value: datetime) -> str:
    """How a time is spelled in subjects and hashes: ISO 8601 in UTC, to the microsecond."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def append(
    connection: Any, occurred_at: datetime, actor: str, action: str, kind: str, part: str
) -> str:
    """Chain one entry over all rows that `kind:part` covers now; returns its hash.

    Call it in the transaction that wrote the rows. Writers wait for each other at the chain's
    end, so call it last.
    """
    connection.execute("select pg_advisory_xact_lock(%s)", [CHAIN_LOCK])
    last = connection.execute(
        "select sequence, hash from delivery.audit_log order by sequence desc limit 1"
    ).fetchone()
    sequence, previous = (last["sequence"] + 1, last["hash"]) if last else (1, GENESIS)
    sealed, row_count = digest(connection, kind, part)
    subject = f"{kind}:{part}"
    link = _link(sequence, occurred_at, actor, action, subject, sealed, row_count, previous)
    connection.execute(
        "insert into delivery.audit_log values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [sequence, occurred_at, actor, action, subject, sealed, row_count, previous, link],
    )
    return link


def verify(warehouse: Warehouse) -> Verification:
    """Recompute the chain, and the digest of the rows behind the last entry of every subject."""
    previous, count = GENESIS, 0
    latest: dict[str, dict[str, Any]] = {}
    with warehouse.transaction() as connection:
        entries = connection.execute("select * from delivery.audit_log order by sequence")
        for count, entry in enumerate(entries, start=1):
            if entry["sequence"] != count or entry["previous_hash"] != previous:
                return Verification(False, previous, count - 1, count, "an entry is missing")
            link = _link(
                *(entry[name] for name in ("sequence", "occurred_at", "actor", "action")),
                *(entry[name] for name in ("subject", "digest", "row_count", "previous_hash")),
            )
            if link != entry["hash"]:
                return Verification(False, previous, count - 1, count, "an entry was changed")
            previous = entry["hash"]
            latest[entry["subject"]] = entry
        for entry in sorted(latest.values(), key=lambda held: held["sequence"]):
            kind, _, part = entry["subject"].partition(":")
            if digest(connection, kind, part) != (entry["digest"], entry["row_count"]):
                reason = f"rows of {kind} are not the ones that were written"
                return Verification(False, previous, count, entry["sequence"], reason)
    return Verification(True, previous, count)


def digest(connection: Any, kind: str, part: str) -> tuple[str, int]:
    """The digest and the number of the rows that `kind:part` covers now."""
    # Both settings decide how the server spells times and floats; pin them to this transaction.
    connection.execute("set local timezone to 'UTC'")
    connection.execute("set local extra_float_digits to 1")
    row = connection.execute(
        "select count(*) as row_count, encode(sha256(convert_to(coalesce("
        "string_agg(content, E'\\n' order by key collate \"C\", content collate \"C\"), ''),"
        f" 'UTF8')), 'hex') as digest from ({COVERED[kind]}) as covered",
        {"part": part},
    ).fetchone()
    return row["digest"], int(row["row_count"])


def _link(
    sequence: int,
    occurred_at: datetime,
    actor: str,
    action: str,
    subject: str,
    sealed: str,
    row_count: int,
    previous: str,
) -> str:
    parts = (sequence, moment(occurred_at), actor, action, subject, sealed, row_count, previous)
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()
