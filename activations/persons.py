"""Persons after merges: who survives, and which local facts the workspace lends them.

Belongs here: following identity.merges, the workspace's own row.
Keep out: resolving identities (`ml/`, dbt), anything that names a person.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Workspace:
    """What every rule may lean on when a person's own is missing.

    `guardrails` is that section of the configuration, for `programs.house`.
    """

    currency: str
    time_zone: str
    country: str
    guardrails: Mapping[str, Any] = field(default_factory=dict)


def workspace(connection: Any) -> Workspace:
    """The one row of raw.workspace. Raises LookupError before the first run has written it."""
    row = connection.execute(
        "select currency, time_zone, country, guardrails from raw.workspace limit 1"
    ).fetchone()
    if row is None:
        raise LookupError("raw.workspace is empty: `loopdrive run` writes it before it decides")
    return Workspace(row["currency"], row["time_zone"], row["country"], row["guardrails"])


def survivors(connection: Any) -> dict[str, str]:
    """Every absorbed person and who survives them now, merges of merges followed to the end."""
    rows = connection.execute(
        "select absorbed_person_id, survivor_person_id from identity.merges"
        " where undone_at is null order by merged_at, merge_id"
    ).fetchall()
    direct = {row["absorbed_person_id"]: row["survivor_person_id"] for row in rows}
    return {absorbed: _end_of(absorbed, direct) for absorbed in direct}


def _end_of(person: str, direct: dict[str, str]) -> str:
    seen = {person}
    while (following := direct.get(person)) is not None and following not in seen:
        seen.add(following)
        person = following
    return person
