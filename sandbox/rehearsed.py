"""What a rehearsal left behind: the loop's tables, the providers' log and the truth, read once.

Belongs here: reading, and knowing which true person is meant. Does not belong here: scoring.
"""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sandbox.market.truth import IDENTIFIER_COLUMNS
from warehouse import Warehouse

Row = dict[str, Any]


class Refusal(Exception):  # noqa: N818 - a refusal is a result here, not a failure
    """A part cannot be scored; the message says why."""


@dataclass(frozen=True)
class Rehearsed:
    """The warehouse and the truth at one instant, read once each."""

    warehouse: Warehouse
    folder: Path
    as_of: datetime

    def read(self, table: str, query: str, **parameters: object) -> pa.Table:
        """Read rows of a contract table.

        Raises:
            Refusal: the table is not there, or the query finds nothing.
        """
        there = self.warehouse.rows("select to_regclass(%(name)s) is not null as ok", name=table)
        if not there[0]["ok"]:
            raise Refusal(f"{table} is not there")
        found = self.warehouse.read(query, **parameters)
        if found.num_rows == 0:
            raise Refusal(f"{table} has nothing to score")
        return found

    def truth(self, name: str) -> pa.Table:
        """Read one part of the truth, one file or all files of a folder."""
        paths = sorted((self.folder / name).glob("*.parquet"))
        if not paths and (single := self.folder / f"{name}.parquet").exists():
            paths = [single]
        if not paths:
            raise Refusal(f"the truth has no {name}")
        return pa.concat_tables([pq.read_table(path) for path in paths], promote_options="default")

    @property
    def landing(self) -> Path:
        """The files that the market landed."""
        return self.folder.parent / "landing"

    @cached_property
    def owners(self) -> dict[tuple[str, str], int]:
        """True owner of each identifier that has exactly one and could be linked by now."""
        found = self._owners("linked_at <= $until", until=self.as_of.timestamp())
        return {key: owner for key, owner in found.items() if owner is not None}

    @cached_property
    def all_owners(self) -> dict[tuple[str, str], int | None]:
        """True owner of each identifier, linked or not; None where several people use it."""
        return self._owners("true")

    def _owners(self, condition: str, **parameters: float) -> dict[tuple[str, str], int | None]:
        table = self.truth("identifiers").select(list(IDENTIFIER_COLUMNS))
        query = f"""
            select identifier_type, lower(trim(identifier_value)) as value,
                case when count(distinct person) = 1 then min(person) end as owner
            from identifiers where {condition} group by 1, 2 order by 1, 2
        """
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.register("identifiers", table)
            rows = connection.sql(query, params=parameters).fetchall()
        return {(kind, value): owner for kind, value, owner in rows}

    @cached_property
    def resolved(self) -> list[tuple[str, str, str]]:
        """The loop's (person_id, identifier_type, value) rows."""
        query = """
            select person_id, identifier_type, lower(identifier_value) as value
            from identity.person_identifiers order by 1, 2, 3
        """
        found = self.read("identity.person_identifiers", query)
        return list(zip(*(found[name].to_pylist() for name in found.column_names), strict=True))

    @cached_property
    def persons(self) -> dict[str, int]:
        """True person behind each of the loop's persons, by majority of identifiers."""
        votes: dict[str, Counter[int]] = {}
        for person_id, kind, value in self.resolved:
            owner = self.owners.get((kind, value))
            if owner is not None:
                votes.setdefault(person_id, Counter())[owner] += 1
        return {
            person_id: min(count, key=lambda owner: (-count[owner], owner))
            for person_id, count in votes.items()
        }

    @cached_property
    def main_persons(self) -> dict[str, int]:
        """Of each true person the one of the loop's persons with most identifiers, once each."""
        held = Counter(person_id for person_id, _, _ in self.resolved)
        order = sorted(self.persons, key=lambda person_id: (-held[person_id], person_id))
        mains: dict[int, str] = {}
        for person_id in order:
            mains.setdefault(self.persons[person_id], person_id)
        return {person_id: owner for owner, person_id in mains.items()}

    @cached_property
    def people(self) -> pa.Table:
        """True traits and states, one row a person."""
        return self.truth("people")

    @cached_property
    def row_of(self) -> dict[int, int]:
        """Row of each true person in `people`."""
        return {person: row for row, person in enumerate(self.people["person"].to_pylist())}

    @cached_property
    def accepted(self) -> list[Row]:
        """What the providers accepted until now, in order."""
        path = self.folder.parent / "sandbox" / "accepted.jsonl"
        if not path.exists():
            return []
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        for row in rows:
            row["at"] = datetime.fromisoformat(row["accepted_at"]).astimezone(UTC)
        return rows

    def owner_of(self, message: Row) -> int | None:
        """True person behind a message's address."""
        kind = "phone" if message["channel"] in ("sms", "whatsapp") else "email"
        return self.owners.get((kind, message["address"].strip().lower()))
