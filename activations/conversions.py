"""Conversions: what happened after a click, told to the platform it came from, with consent.

Belongs here: who may be told about whom, the states of an upload, why one was left out.
Keep out: which conversions there are (dbt), match keys and wire formats (`platforms/`).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from activations import audit, consent
from activations.platforms.push import upload_conversions
from activations.platforms.seam import AdPlatform, Conversion, ConversionResult, Sender
from activations.providers.seam import Outcome
from warehouse import Warehouse

# In order of preference: a gclid names the click, the others only its campaign.
CLICK_IDS = {"meta": ("fbclid",), "google": ("gclid", "gbraid", "wbraid")}
# A conversion is a candidate once per kind of click before it; a platform hears of its own.
CANDIDATES = """
    select distinct on (conversion_id)
        candidates.*, array_position(%(clicks)s::text[], click_id_type) is not null as is_own_click
    from activation.conversion_candidates as candidates
    order by conversion_id, array_position(%(clicks)s::text[], click_id_type) nulls last, click_id
"""
STATUS = {
    Outcome.ACCEPTED: "uploaded",
    Outcome.DUPLICATE: "duplicate",
    Outcome.PERMANENT: "failed",
    Outcome.BLOCKED: "skipped",
    Outcome.RETRY: "planned",
    Outcome.AUTH: "planned",
    Outcome.AMBIGUOUS: "unknown",
}
MAX_ATTEMPTS = 5
# Repeat a lost upload only while the platform surely still knows its event ids.
DEDUP_MARGIN = timedelta(hours=1)


@dataclass(frozen=True)
class Uploads:
    """Conversions by status, skipped ones by reason, and requests made."""

    by_status: Mapping[str, int]
    by_reason: Mapping[str, int]
    requests: int = 0


def plan(warehouse: Warehouse, as_of: datetime, platform: AdPlatform) -> Uploads:
    """Write every new candidate as planned, or as skipped with its reason. Idempotent.

    Skipped: no click of this platform, older than the platform takes, nobody known, no consent
    for marketing on any address of the person.
    """
    with warehouse.transaction() as connection:
        rows = connection.execute(
            f"select candidates.* from ({CANDIDATES}) as candidates"
            " left join delivery.conversion_uploads as uploads"
            " on candidates.conversion_id = uploads.conversion_id and uploads.platform = %(name)s"
            " where uploads.conversion_id is null and candidates.occurred_at <= %(as_of)s"
            " order by candidates.conversion_id",
            {"clicks": _clicks(platform), "name": platform.name, "as_of": as_of},
        ).fetchall()
        granted = _granted(connection, [row["person_id"] for row in rows], as_of)
        reasons = [_skip_reason(row, platform, granted, as_of) for row in rows]
        if rows:
            table = _planned_table(rows, reasons, platform.name)
            warehouse.append("delivery.conversion_uploads", table, connection)
            audit.append(connection, as_of, "conversions", "plan", "conversions", platform.name)
    statuses = Counter("skipped" if reason else "planned" for reason in reasons)
    return Uploads(dict(statuses), dict(Counter(reason for reason in reasons if reason)))


def upload(
    warehouse: Warehouse, platform: AdPlatform, sender: Sender | None, now: datetime
) -> Uploads:
    """Upload what is planned; a lost upload goes again, unchanged, within the dedup window.

    Consent is read again first, and no revoke commits while requests are under way. Attempts
    are committed as `sending` before the first request. Without a `sender` (dry run) nothing
    is uploaded.
    """
    rows = _due(warehouse, platform, now)
    if sender is None or not rows:
        return Uploads(dict(Counter(row["status"] for row in rows)), {})
    requests: list[Any] = []

    def counted(request: Any) -> Any:
        requests.append(request.method)
        return sender(request)

    with warehouse.connect() as connection:
        connection.autocommit = True
        with consent.held_while_sending(connection):
            granted = _granted(connection, [row["person_id"] for row in rows], now)
            refused = [row for row in rows if row["person_id"] not in granted]
            allowed = [row for row in rows if row["person_id"] in granted]
            people = _people(connection, [row["person_id"] for row in allowed])
            _begin(connection, platform.name, allowed, now)
            items = [_conversion(row, people[row["person_id"]]) for row in allowed]
            results = upload_conversions(platform, items, counted, now)
        with connection.transaction():
            _finish(connection, platform.name, results, now)
            _skip(connection, platform.name, [row["conversion_id"] for row in refused])
    statuses = Counter(STATUS[result.outcome] for result in results)
    statuses.update({"skipped": len(refused)} if refused else {})
    reasons = Counter(str(one.code) for one in results if one.outcome is not Outcome.ACCEPTED)
    reasons.update({"no_consent": len(refused)} if refused else {})
    return Uploads(dict(statuses), dict(reasons), len(requests))


def _clicks(platform: AdPlatform) -> list[str]:
    return list(CLICK_IDS.get(platform.name, ()))


def _granted(connection: Any, person_ids: Sequence[str | None], at: datetime) -> set[str]:
    people = sorted({person for person in person_ids if person})
    rows = consent.best_addresses(connection, people, at)
    return {row["person_id"] for row in rows if row["is_granted"] and not row["is_suppressed"]}


def _skip_reason(
    row: Mapping[str, Any], platform: AdPlatform, granted: set[str], as_of: datetime
) -> str | None:
    oldest = platform.limits.max_age
    if not (row["click_id"] and row["is_own_click"]):
        return "no_click_id"
    if oldest is not None and row["occurred_at"] < as_of - oldest:
        return "too_old"
    if row["person_id"] is None:
        return "no_person"
    return None if row["person_id"] in granted else "no_consent"


def _planned_table(
    rows: Sequence[Mapping[str, Any]], reasons: Sequence[str | None], platform: str
) -> pa.Table:
    return pa.table(
        {
            "conversion_id": [row["conversion_id"] for row in rows],
            "platform": [platform] * len(rows),
            # The id is the event id: the same conversion never has two names on a platform.
            "event_id": [row["conversion_id"] for row in rows],
            "status": ["skipped" if reason else "planned" for reason in reasons],
            "attempts": [0] * len(rows),
            "diagnostics": [json.dumps({"reason": r} if r else {}) for r in reasons],
        }
    )


def _due(warehouse: Warehouse, platform: AdPlatform, now: datetime) -> list[dict[str, Any]]:
    window = platform.limits.dedup
    repeatable = now - (window - DEDUP_MARGIN) if window else now
    return warehouse.rows(
        f"""
        select
            candidates.*, uploads.status, uploads.attempts,
            to_jsonb(candidates) ->> 'client_user_agent' as user_agent,
            to_jsonb(candidates) ->> 'event_source_url' as source_url
        from delivery.conversion_uploads as uploads
        inner join ({CANDIDATES}) as candidates using (conversion_id)
        where
            uploads.platform = %(platform)s
            and uploads.attempts < %(most)s
            and coalesce((uploads.diagnostics ->> 'retry_at')::timestamptz, %(now)s) <= %(now)s
            and (
                uploads.status = 'planned'
                or (
                    uploads.status in ('sending', 'unknown')
                    and (uploads.diagnostics ->> 'attempted_at')::timestamptz > %(repeatable)s
                    and (uploads.diagnostics ->> 'attempted_at')::timestamptz < %(now)s
                )
            )
        order by candidates.conversion_id
        """,
        clicks=_clicks(platform),
        platform=platform.name,
        most=MAX_ATTEMPTS,
        now=now,
        repeatable=repeatable,
    )


def _people(connection: Any, person_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Raw match values per person: read behind the wall, handed to the platform's hashing only."""
    rows = connection.execute(
        """
        select
            people.person_id, profiles.first_name, profiles.last_name, profiles.city,
            profiles.region, profiles.postal_code, profiles.country,
            (array_agg(points.address order by points.is_primary desc, points.address)
                filter (where points.channel = 'email'))[1] as email,
            (array_agg(points.address order by points.is_primary desc, points.address)
                filter (where points.channel = 'sms'))[1] as phone
        from unnest(%s::text[]) as people (person_id)
        left join identity.profiles as profiles on people.person_id = profiles.person_id
        left join identity.contact_points as points on people.person_id = points.person_id
        group by people.person_id, profiles.first_name, profiles.last_name, profiles.city,
            profiles.region, profiles.postal_code, profiles.country
        """,
        [sorted(set(person_ids))],
    ).fetchall()
    return {row.pop("person_id"): row for row in rows}


def _conversion(row: Mapping[str, Any], person: Mapping[str, Any]) -> Conversion:
    # Meta takes `website` only with the browser's user agent. Without one, where it happened is
    # all that is left unsaid.
    is_bare = row["action_source"] == "website" and not (row["user_agent"] and row["source_url"])
    return Conversion(
        conversion_id=row["conversion_id"],
        event_name=row["event_name"],
        occurred_at=row["occurred_at"],
        value=Decimal(str(row["value_amount"])),
        currency=row["currency"],
        action_source="other" if is_bare else row["action_source"],
        consent="granted",
        person={**person, "external_id": row["person_id"]},
        click_id_type=row["click_id_type"],
        click_id=row["click_id"],
        client_user_agent=row["user_agent"],
        event_source_url=row["source_url"],
    )


def _begin(
    connection: Any, platform: str, rows: Sequence[Mapping[str, Any]], now: datetime
) -> None:
    with connection.transaction():
        connection.execute(
            "update delivery.conversion_uploads set status = 'sending', attempts = attempts + 1,"
            " diagnostics = jsonb_build_object('attempted_at', %s::timestamptz)"
            " where platform = %s and conversion_id = any(%s)",
            [now, platform, [row["conversion_id"] for row in rows]],
        )


def _finish(
    connection: Any, platform: str, results: Sequence[ConversionResult], now: datetime
) -> None:
    connection.execute(
        """
        update delivery.conversion_uploads as held
        set
            status = news.status,
            uploaded_at = case when news.status in ('uploaded', 'duplicate') then %(now)s end,
            diagnostics = jsonb_strip_nulls(jsonb_build_object(
                'attempted_at', held.diagnostics -> 'attempted_at', 'code', news.code,
                'request', news.ref, 'retry_at', news.retry_at
            ))
        from unnest(
            %(id)s::text[], %(status)s::text[], %(code)s::text[], %(ref)s::text[],
            %(retry_at)s::timestamptz[]
        ) as news (conversion_id, status, code, ref, retry_at)
        where held.platform = %(platform)s and held.conversion_id = news.conversion_id
        """,
        {
            "now": now,
            "platform": platform,
            "id": [result.conversion_id for result in results],
            "status": [STATUS[result.outcome] for result in results],
            "code": [result.code for result in results],
            "ref": [result.provider_ref for result in results],
            "retry_at": [_retry_at(result, now) for result in results],
        },
    )


def _retry_at(result: ConversionResult, now: datetime) -> datetime | None:
    if STATUS[result.outcome] != "planned":
        return None
    return result.retry_at or now + timedelta(hours=1)


def _skip(connection: Any, platform: str, conversion_ids: Sequence[str]) -> None:
    connection.execute(
        "update delivery.conversion_uploads set status = 'skipped',"
        " diagnostics = jsonb_build_object('reason', 'no_consent')"
        " where platform = %s and conversion_id = any(%s)",
        [platform, list(conversion_ids)],
    )
