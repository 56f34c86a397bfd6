"""Persons, for the site's own servers: who is it, what is known, what would be said now.

Belongs here: three look-ups by identifiers that come in the body and are never logged.
Keep out: contact points (behind the wall), deciding (`activations.decisions`).
"""

import json
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from activations import copy, programs
from gateway import access, bodies
from gateway.bodies import RefusedError
from gateway.state import (
    RETRY_SECONDS,
    Gateway,
    answer,
    answers_with,
    described,
    gateway_of,
    refusal,
    takes,
)

router = APIRouter(prefix="/v1/persons", tags=["persons"])
MAX_BYTES = 8 << 10
MAX_IDENTIFIERS = 10
# What names a person most surely comes first.
STRENGTH = ("user_id", "crm_contact_id", "email", "phone", "device_id", "anonymous_id")

RESOLVE = """
    select distinct held.person_id, held.identifier_type
    from unnest(%(types)s::text[], %(values)s::text[]) as given (type, value)
    inner join identity.person_identifiers as held
        on held.identifier_type = given.type and held.identifier_value = given.value
    where not held.is_shared
"""
CONTEXT = "select as_of, context from marts.person_context where person_id = %(person)s"
# A person's decisions include those made for whoever they absorbed.
NEXT = """
    with recursive family as (
        select %(person)s::text as person_id
        union
        select merges.absorbed_person_id
        from identity.merges inner join family on merges.survivor_person_id = family.person_id
        where merges.undone_at is null
    )

    select
        decisions.decision_id, decisions.program, decisions.step, decisions.arm, decisions.as_of,
        messages.send_at, messages.expires_at, messages.status
    from family
    inner join delivery.decisions as decisions using (person_id)
    inner join delivery.messages as messages using (decision_id)
    where
        decisions.outcome = 'send'
        and messages.status not in ('skipped', 'held', 'failed')
        and messages.expires_at > coalesce(
            %(now)s::timestamptz, (select workspace.as_of from raw.workspace as workspace)
        )
    order by decisions.as_of desc, messages.send_at desc, decisions.decision_id
    limit 1
"""

_IDENTIFIERS = {
    "type": "object",
    "required": ["identifiers"],
    "additionalProperties": False,
    "properties": {
        "identifiers": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_IDENTIFIERS,
            "items": {
                "type": "object",
                "required": ["type", "value"],
                "additionalProperties": False,
                "properties": {
                    "type": {"type": "string", "enum": list(STRENGTH)},
                    "value": {"type": "string", "minLength": 1, "maxLength": 320},
                },
            },
        }
    },
}
_PERSON = {"person_id": {"type": "string"}}
_REFUSALS = described(400, 401, 404, 408, 409, 413, 415, 429, 503)
_Identifiers = Sequence[tuple[str, str]]
_Connection = psycopg.Connection[dict[str, Any]]


def _documented(text: str, properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": ["person_id"], "properties": _PERSON | properties}
    return {
        "responses": answers_with(schema, text) | _REFUSALS,
        "openapi_extra": takes(_IDENTIFIERS) | {"security": [{"apiKey": []}]},
    }


@router.post("/resolve", **_documented("The person.", {}))
async def resolve(request: Request) -> Response:
    """Who the identifiers name. Phones in E.164."""
    return await _answered(request, lambda connection, person: {})


@router.post("/context", **_documented("What is known.", {"context": {"type": "object"}}))
async def context(request: Request) -> Response:
    """What is known of the person, without any contact point."""
    return await _answered(request, _context)


@router.post("/next", **_documented("What would be said.", {"decision": {"type": "object"}}))
async def next_decision(request: Request) -> Response:
    """The latest decision to speak that still stands, without its message; or none."""
    gateway = gateway_of(request)
    now = None if gateway.is_simulated else gateway.clock()
    return await _answered(request, lambda connection, person: _next(connection, person, now))


async def _answered(request: Request, look_up: Any) -> Response:
    gateway = gateway_of(request)
    try:
        key = access.name_of(gateway.api_keys, access.bearer(request))
        gateway.request_rate.take(f"api {key}", 1, time.monotonic())
        identifiers = _identifiers(await bodies.read(request, MAX_BYTES, gateway.body_seconds))
        return answer(await run_in_threadpool(_looked_up, gateway, identifiers, look_up))
    except RefusedError as error:
        return refusal(error)


def _looked_up(gateway: Gateway, identifiers: _Identifiers, look_up: Any) -> dict[str, Any]:
    def work(connection: _Connection) -> dict[str, Any]:
        person = _person(connection, identifiers)
        return {"person_id": person} | look_up(connection, person)

    try:
        return gateway.connections.read(work)
    except psycopg.Error as error:
        # Before the first run its tables are not there; a server may be away for a while.
        raise RefusedError(503, "not_available", RETRY_SECONDS) from error


def _identifiers(body: bytes) -> _Identifiers:
    try:
        given = json.loads(body)["identifiers"]
        found = [(one["type"], one["value"]) for one in given]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RefusedError(400, "identifiers_expected") from error
    is_fit = 0 < len(found) <= MAX_IDENTIFIERS and all(
        kind in STRENGTH
        and isinstance(value, str)
        and 0 < len(value) <= 320
        and _is_storable(value)
        for kind, value in found
    )
    if not is_fit:
        raise RefusedError(400, "identifiers_expected")
    return [(kind, _normal(kind, value)) for kind, value in found]


def _is_storable(value: str) -> bool:
    return "\x00" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _normal(kind: str, value: str) -> str:
    """As ingestion spells it: e-mails trimmed and lower-case, phones without their spacing."""
    if kind == "email":
        return value.strip().lower()
    return "".join(c for c in value if c.isdigit() or c == "+") if kind == "phone" else value


def _person(connection: _Connection, identifiers: _Identifiers) -> str:
    """The person of the strongest identifier that is known; two for one of a kind is refused."""
    types, values = [kind for kind, _ in identifiers], [value for _, value in identifiers]
    rows = connection.execute(RESOLVE, {"types": types, "values": values}).fetchall()
    if not rows:
        raise RefusedError(404, "unknown_person")
    strongest = min(STRENGTH.index(row["identifier_type"]) for row in rows)
    people = {
        row["person_id"] for row in rows if STRENGTH.index(row["identifier_type"]) == strongest
    }
    if len(people) > 1:
        raise RefusedError(409, "more_than_one_person")
    return people.pop()


def _context(connection: _Connection, person: str) -> dict[str, Any]:
    row = connection.execute(CONTEXT, {"person": person}).fetchone()
    if row is None:
        return {"context": {}}
    return {"as_of": row["as_of"].isoformat(), "context": row["context"]}


def _next(connection: _Connection, person: str, now: Any) -> dict[str, Any]:
    row = connection.execute(NEXT, {"person": person, "now": now}).fetchone()
    if row is None:
        return {"decision": None}
    arm = next((one for one in programs.load(row["program"]).arms if one.name == row["arm"]), None)
    told = {name: row[name] for name in ("decision_id", "program", "step", "arm", "status")}
    told |= {name: row[name].isoformat() for name in ("as_of", "send_at", "expires_at")}
    if arm is not None:
        told |= {"channel": arm.channel, "theme": arm.theme, "offer_percent": arm.offer_percent}
        told["offer_code"] = copy.offer_code(row["program"], arm)
    return {"decision": told}
