"""A small world for the activations' tests: the tables dbt makes, persons, a provider that answers.

Belongs here: building facts in the test database, scripted answers. Keep out: assertions.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import numpy as np
from psycopg import Connection

from activations import decisions, programs, variants
from activations.http import Answer, Request, Response, TransportError
from activations.keys import address_hash
from activations.programs import Program
from activations.providers import DEFAULT_BY_CHANNEL, MessageProvider, provider
from warehouse import Warehouse
from warehouse.settings import BrandSettings

AS_OF = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
BRAND = BrandSettings()
TABLES = """
    create schema if not exists marts;
    create schema if not exists activation;
    create table identity.contact_points (
        person_id text, channel text, address text, verified_at timestamptz, is_primary boolean,
        time_zone text, locale text
    );
    create table identity.profiles (
        person_id text, first_name text, last_name text, city text, region text, country text,
        postal_code text, birth_date date, time_zone text, locale text, provenance jsonb
    );
    create table marts.consents (
        person_id text, channel text, address_hash text, scope text, status text,
        regulation text, recorded_at timestamptz
    );
    create table marts.person_stats (person_id text, engagement_score double precision);
    create table activation.conversion_candidates (
        conversion_id text, person_id text, occurred_at timestamptz, value_amount numeric,
        currency text, click_id_type text, click_id text, action_source text, event_name text
    );
"""
ACT = """
    create table activation.act_{program} (
        person_id text, opportunity_id text, step integer, reason text, context jsonb,
        value_amount numeric, available_from timestamptz, expires_at timestamptz
    )
"""

LINK_KEY = b"a key that signs links"


@dataclass
class World:
    """A warehouse with the tables dbt would have made, and verbs to put people into it."""

    warehouse: Warehouse
    connection: Connection[Any]
    brand: BrandSettings = BRAND
    programs: dict[str, Program] = field(default_factory=dict)
    carriers: Mapping[str, str] = field(default_factory=lambda: DEFAULT_BY_CHANNEL)

    def _put(self, statement: str, **values: Any) -> None:
        self.connection.execute(statement, values or None)

    def person(self, person_id: str, *, sms: bool = False, **profile: Any) -> None:
        """A person with a granted e-mail address, and a granted phone when asked for."""
        values = {"first_name": "Ada", "time_zone": "Europe/London", "country": "GB"} | profile
        self._put(
            "insert into identity.profiles (person_id, first_name, time_zone, country, locale)"
            " values (%(p)s, %(n)s, %(z)s, %(c)s, 'en-GB')",
            p=person_id, n=values["first_name"], z=values["time_zone"], c=values["country"],
        )  # fmt: skip
        self.address(person_id, "email", f"{person_id}@example.com")
        if sms:
            number = int.from_bytes(person_id.encode()[-4:], "big") % 10**8
            self.address(person_id, "sms", f"+447{number:09d}")

    def address(
        self, person_id: str, channel: str, address: str, status: str | None = "granted"
    ) -> str:
        """An address, with a word of consent unless `status` is None; returns its hash."""
        hashed = address_hash(address)
        self._put(
            "insert into identity.contact_points (person_id, channel, address, is_primary)"
            " values (%(p)s, %(c)s, %(a)s, true)",
            p=person_id, c=channel, a=address,
        )  # fmt: skip
        if status is not None:
            self._put(
                "insert into marts.consents values"
                " (%(p)s, %(c)s, %(h)s, 'marketing', %(s)s, 'GDPR', %(t)s)",
                p=person_id, c=channel, h=hashed, s=status, t=AS_OF - timedelta(days=30),
            )  # fmt: skip
        return hashed

    def program(self, name: str = "win_back", **changes: Any) -> Program:
        """A shipped program with its audience table and its words published."""
        if name not in self.programs:
            self._put(ACT.format(program=name))
            shipped = programs.load(name)
            variants.publish_templates(self.warehouse, [shipped], self.brand, AS_OF)
            self.programs[name] = shipped
        return self.programs[name].model_copy(update=changes)

    def occasion(self, program: str, person_id: str, opportunity: str | None = None) -> None:
        """An occasion of a person in a program's audience."""
        self._put(
            f"insert into activation.act_{program} values (%(p)s, %(o)s, 1, 'test',"
            ' \'{"items": ["Blue mug"]}\', 10, %(a)s, null)',
            p=person_id, o=opportunity or f"{program}-{person_id}", a=AS_OF - timedelta(hours=3),
        )  # fmt: skip

    def decide(
        self, program: Program, as_of: datetime = AS_OF, arm: str | None = None, hour: int = -1
    ) -> decisions.Recorded:
        """Candidates, a policy that takes `arm` or the first eligible one, record."""
        held = decisions.candidates(self.warehouse, program, as_of)
        n = held.frame.num_rows
        chosen = np.where(held.eligible.any(axis=1), held.eligible.argmax(axis=1), -1)
        if arm is not None:
            wanted = program.arm_names.index(arm)
            chosen = np.where(held.eligible[:, wanted], wanted, chosen)
        shares = np.zeros(held.eligible.shape)
        shares[np.arange(n)[chosen >= 0], chosen[chosen >= 0]] = 1
        return decisions.record(
            self.warehouse, held, arm_indices=chosen, propensities=shares, brand=self.brand,
            link_key=LINK_KEY, model_versions={"policy": "test"}, send_hours=np.full(n, hour),
            carriers=self.carriers,
        )  # fmt: skip

    def statuses(self) -> dict[str, tuple[str, str | None]]:
        """Status and reason of every message by person."""
        rows = self.warehouse.rows("select person_id, status, reason from delivery.messages")
        return {row["person_id"]: (row["status"], row["reason"]) for row in rows}

    def assign(self, program: str, group: str, person_ids: Iterable[str]) -> None:
        """Put persons into a group before anything is decided."""
        for person in person_ids:
            self._put(
                "insert into delivery.assignments values (%(p)s, %(g)s, %(a)s, %(t)s, null)",
                p=person, g=program, a=group, t=AS_OF - timedelta(days=40),
            )  # fmt: skip


CREDENTIALS = {
    "sendgrid_api_key": "SG.test", "twilio_account_sid": "AC1", "twilio_auth_token": "token",
}  # fmt: skip


def adapter(name: str) -> MessageProvider:
    """A real adapter with credentials of no account."""
    return provider(name, CREDENTIALS)


@dataclass
class Vendor:
    """Answers as SendGrid and Twilio do when all is well, and counts what it was asked.

    `script` answers first, one entry per request, None for the usual answer.
    """

    requests: list[Request] = field(default_factory=list)
    script: list[Answer | None] = field(default_factory=list)
    before: Callable[[Request], None] | None = None

    def __call__(self, request: Request) -> Answer:
        if self.before is not None:
            self.before(request)
        self.requests.append(request)
        scripted = self.script.pop(0) if self.script else None
        if scripted is not None:
            return scripted
        if "sendgrid" in request.url:
            return Response(202, {"x-message-id": f"id-{len(self.requests)}"})
        body = {"sid": f"SM{len(self.requests)}", "status": "queued"}
        return Response(201, {}, json.dumps(body).encode())

    @property
    def keys(self) -> list[str]:
        """The message keys of every message asked for, in order."""
        out: list[str] = []
        for request in self.requests:
            if "sendgrid" in request.url:
                parts = json.loads(request.content)["personalizations"]
                out += [part["custom_args"]["message_key"] for part in parts]
            else:
                callback = parse_qs(request.content.decode())["StatusCallback"][0]
                out += parse_qs(callback.split("?")[1])["message_key"]
        return out


LOST = TransportError("ambiguous", "ReadTimeout")
REFUSED = TransportError("not_processed", "ConnectError")
