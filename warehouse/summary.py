"""What a workspace holds, in figures: the numbers at the end of a run.

Belongs here: queries over contract tables that count. Keep out: printing, personal data.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from warehouse.warehouse import Warehouse

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Summary:
    """One run's figures, each a small list of rows."""

    as_of: datetime
    sources: Rows
    trouble: Rows
    persons: Rows
    models: Rows
    decisions: Rows
    messages: Rows
    budgets: Rows
    conversions: Rows
    audit: Rows


def summarise(warehouse: Warehouse) -> Summary:
    """Count what the workspace holds at its business time."""
    as_of = warehouse.rows("select as_of from raw.workspace")[0]["as_of"]
    answers = {name: warehouse.rows(query) for name, query in QUERIES.items()}
    return Summary(as_of=as_of, **answers)


QUERIES = {
    "sources": """
        select
            source,
            count(*) filter (where status = 'loaded') as files,
            sum(rows_read) as rows_read,
            sum(rows_loaded) as rows_loaded,
            sum(rows_duplicate) as rows_duplicate,
            sum(rows_rejected) as rows_rejected
        from raw.batches
        group by source
        order by source
    """,
    "trouble": """
        select batch_id, status, location, reason
        from raw.batches
        where status <> 'loaded'
        order by batch_id desc
        limit 10
    """,
    "persons": """
        select
            (select count(*) from identity.persons) as persons,
            (select count(*) from identity.person_identifiers) as identifiers,
            (select count(*) from identity.edges where verdict = 'rejected') as rejected_edges,
            (select count(*) from identity.merges where undone_at is null) as merges
    """,
    "models": """
        select distinct on (model) model, gate, reason, is_champion, as_of
        from ml.model_cards
        order by model asc, as_of desc, is_champion desc, model_version asc
    """,
    "decisions": """
        select
            decisions.program,
            decisions.assignment,
            count(*) filter (where decisions.outcome = 'send') as sends,
            count(*) filter (where decisions.outcome = 'silence') as silences
        from delivery.decisions as decisions
        group by decisions.program, decisions.assignment
        order by decisions.program, decisions.assignment
    """,
    "messages": """
        select status, coalesce(reason, '') as reason, channel, count(*) as messages
        from delivery.messages
        group by status, reason, channel
        order by status, messages desc, reason, channel
    """,
    "budgets": """
        select distinct on (platform, campaign_id)
            platform, campaign_id, previous_amount, proposed_amount, approved_amount, currency,
            status
        from delivery.budget_plans
        order by platform asc, campaign_id asc, as_of desc
    """,
    "conversions": """
        select
            platform, status, coalesce(diagnostics ->> 'reason', '') as reason,
            count(*) as conversions
        from delivery.conversion_uploads
        group by platform, status, reason
        order by platform, status, reason
    """,
    "audit": """
        select sequence, occurred_at, action, hash
        from delivery.audit_log
        order by sequence desc
        limit 1
    """,
}
