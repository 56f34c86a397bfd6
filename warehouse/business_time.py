"""Business time: the one row that says what day it is for this workspace.

Belongs here: reading and advancing `raw.workspace`. Keep out: the clock; moments are arguments.
"""

import json
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from warehouse.settings import ConfigError, Settings
from warehouse.warehouse import Warehouse


def current(warehouse: Warehouse) -> datetime | None:
    """The workspace's last `as_of` (UTC), or None before its first day."""
    rows = warehouse.rows("select as_of from raw.workspace")
    return rows[0]["as_of"] if rows else None


def advance(warehouse: Warehouse, settings: Settings, as_of: datetime | None = None) -> datetime:
    """Set business time to `as_of` (None: keep the last one) and return it.

    Executing the last day again leaves the row as it is. Raises ConfigError for a moment before
    the workspace's last one: history is replayed by `rehearse`, never by going back.
    """
    last = current(warehouse)
    wanted = as_of or last or settings.as_of
    if wanted is None:
        raise ConfigError("no as_of yet: give one with --as-of, or as `as_of` in the configuration")
    if wanted.tzinfo is None:
        raise ConfigError(f"as_of {wanted.isoformat()} needs a time zone, for example a final Z")
    if last is not None and wanted < last:
        raise ConfigError(
            f"as_of {wanted.isoformat()} lies before this workspace's last one, "
            f"{last.isoformat()}; to replay history use `loopdrive rehearse`"
        )
    warehouse.execute(
        """
        insert into raw.workspace (
            workspace, as_of, previous_as_of, currency, time_zone, country, identity_rules,
            guardrails
        )
        values (
            %(workspace)s, %(as_of)s, null, %(currency)s, %(time_zone)s, %(country)s,
            %(identity_rules)s::jsonb, %(guardrails)s::jsonb
        )
        on conflict (is_only) do update set
            as_of = excluded.as_of,
            previous_as_of = case
                when excluded.as_of > workspace.as_of then workspace.as_of
                else workspace.previous_as_of
            end,
            workspace = excluded.workspace, currency = excluded.currency,
            time_zone = excluded.time_zone, country = excluded.country,
            identity_rules = excluded.identity_rules, guardrails = excluded.guardrails
        """,
        workspace=settings.workspace,
        as_of=wanted,
        currency=settings.currency,
        time_zone=settings.time_zone,
        country=settings.country,
        identity_rules=settings.identity.model_dump_json(exclude_unset=True),
        guardrails=json.dumps(settings.guardrails, sort_keys=True),
    )
    # Unanalysed, its one row passes for hundreds in the plan of every model that reads it.
    warehouse.execute("analyze raw.workspace")
    return wanted


def days_ending(last: datetime, days: int, time_zone: str) -> list[datetime]:
    """`days` moments a day apart ending at `last`, each at the same local hour of the workspace."""
    local = last.astimezone(ZoneInfo(time_zone))
    return [(local - timedelta(days=back)).astimezone(last.tzinfo) for back in range(days)][::-1]
