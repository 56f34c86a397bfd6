"""Explain: one person's story, from rows of the warehouse and nothing else.

Belongs here: which tables know something about a person, and in which order it is told.
Keep out: printing (the command line), judging.
"""

from dataclasses import dataclass
from typing import Any

from activations import persons
from warehouse import Warehouse

Rows = list[dict[str, Any]]


class UnknownPersonError(LookupError):
    """No table knows this person."""


@dataclass(frozen=True)
class Story:
    """What is known about a person, what was judged, decided, said, and what it cost.

    Identifiers are named by type and number only: their values stay behind the wall.
    """

    person_id: str
    absorbed: list[str]
    identifiers: Rows
    chronology: Rows
    scores: Rows
    consents: Rows
    assignments: Rows
    decisions: Rows
    messages: Rows
    money: Rows
    conversions: Rows


# One query per part; `people` is the person and whoever they absorbed.
PARTS = {
    "identifiers": (
        "identity.person_identifiers",
        "select identifier_type, count(*) as identifiers, min(first_seen_at) as first_seen_at,"
        " max(last_seen_at) as last_seen_at from identity.person_identifiers"
        " where person_id = any(%(people)s) group by identifier_type order by identifier_type",
    ),
    "chronology": (
        "marts.person_chronology",
        "select position, occurred_at, type, summary from marts.person_chronology"
        " where person_id = any(%(people)s) order by position",
    ),
    "consents": (
        "marts.consents",
        "select channel, scope, status, regulation, recorded_at, 'marts' as source"
        " from marts.consents"
        " where person_id = any(%(people)s) union all"
        " select changes.channel, changes.scope, changes.status, null, changes.recorded_at,"
        " changes.source from delivery.consent_changes as changes inner join ("
        " select distinct channel, address_hash from delivery.messages"
        " where person_id = any(%(people)s)) as known using (channel, address_hash)"
        " order by recorded_at, channel",
    ),
    "assignments": (
        "delivery.assignments",
        "select program, assignment, assigned_at, contaminated_by from delivery.assignments"
        " where person_id = any(%(people)s) order by program, assigned_at",
    ),
    "decisions": (
        "delivery.decisions",
        "select as_of, program, opportunity_id, step, assignment, outcome, arm, propensity,"
        " reason, candidates, verdicts, model_versions from delivery.decisions"
        " where person_id = any(%(people)s) order by as_of, program, opportunity_id",
    ),
    "messages": (
        "delivery.messages",
        "select messages.message_key, program, channel, status, reason, send_at, sent_at,"
        " variant_id, coalesce((select jsonb_agg(jsonb_build_object('type', events.type,"
        " 'at', events.occurred_at) order by events.occurred_at, events.provider_event_id)"
        " from raw.provider_events as events"
        " where events.message_key = messages.message_key), '[]') as events"
        " from delivery.messages where person_id = any(%(people)s)"
        " order by send_at, messages.message_key",
    ),
    "money": (
        "marts.orders",
        "select order_id, kind, ordered_at, net_revenue_amount::float8 as net_revenue_amount"
        " from marts.orders where person_id = any(%(people)s) order by ordered_at, order_id",
    ),
    "conversions": (
        "activation.conversion_candidates",
        "select uploads.platform, uploads.conversion_id, uploads.status, uploads.uploaded_at,"
        " uploads.diagnostics from delivery.conversion_uploads as uploads"
        " inner join activation.conversion_candidates using (conversion_id)"
        " where person_id = any(%(people)s) order by uploads.conversion_id, uploads.platform",
    ),
}
SCORES = """
    select 'churn_probability' as score, churn_probability as value, as_of, model_version
    from ml.churn_scores where person_id = any(%(people)s)
    union all
    select 'expected_revenue_amount', expected_revenue_amount, as_of, model_version
    from ml.lifetime_values where person_id = any(%(people)s)
    union all
    select 'persona ' || coalesce(persona_id, 'none'), membership_probability, as_of, null
    from ml.person_personas where person_id = any(%(people)s)
    order by score
"""


def explain(warehouse: Warehouse, person_id: str) -> Story:
    """Everything the warehouse holds about a person; an absorbed one is told by the survivor.

    Parts whose table dbt has not built yet are empty. Raises UnknownPersonError.
    """
    with warehouse.transaction() as connection:
        merged = persons.survivors(connection)
        survivor = merged.get(person_id, person_id)
        absorbed = sorted(gone for gone, kept in merged.items() if kept == survivor)
        people = {"people": [survivor, *absorbed]}
        parts: dict[str, Rows] = {"scores": connection.execute(SCORES, people).fetchall()}
        for name, (table, query) in PARTS.items():
            there = connection.execute("select to_regclass(%s) is not null as there", [table])
            is_there = there.fetchone()
            parts[name] = (
                connection.execute(query, people).fetchall()
                if is_there and is_there["there"]
                else []
            )
    if not any(parts.values()):
        raise UnknownPersonError(f"no table knows a person {person_id}")
    return Story(survivor, absorbed, **parts)
