"""Link rules: somebody's word on two identifiers, together or never.

Belongs here: writing and withdrawing rows of identity.link_rules, with an entry in the audit log.
Keep out: what a rule does to the person graph (`ml.identity`), proposing links (`ml.likeness`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg

from activations import audit
from activations.keys import stable_id

Action = Literal["include", "exclude"]


class LinkRuleError(ValueError):
    """A rule that cannot be written; the text says why, without naming the identifier's value."""


@dataclass(frozen=True)
class Identifier:
    """One end of a rule."""

    type: str
    value: str


@dataclass(frozen=True)
class Written:
    """What `say` did: the rule's id, whether it is new, and how many contrary ones it ended."""

    rule_id: str
    is_new: bool
    withdrawn: int


def parse(text: str) -> Identifier:
    """An identifier as people type it, `type:value`; e-mails in lower case, as they are stored.

    Raises LinkRuleError without a type or a value.
    """
    kind, colon, value = (part.strip() for part in text.partition(":"))
    if not (kind and colon and value):
        raise LinkRuleError("write an identifier as type:value, such as email:ada@example.com")
    return Identifier(kind, value.lower() if kind == "email" else value)


def require_observed(connection: Any, ends: Sequence[Identifier]) -> None:
    """Refuse ends that no source ever named: a misspelt rule would wait for ever, unseen."""
    try:
        known = connection.execute(
            "select identifier_type, identifier_value from identity.int_identifiers_observed"
            " where identifier_value = any(%s)",
            [[end.value for end in ends]],
        ).fetchall()
    except psycopg.errors.UndefinedTable as error:
        raise LinkRuleError("no identifiers are known yet; run `loopdrive run` first") from error
    seen = {(row["identifier_type"], row["identifier_value"]) for row in known}
    for place, end in zip(("first", "second"), ends, strict=False):
        if (end.type, end.value) not in seen:
            raise LinkRuleError(f"the {place} identifier ({end.type}) has never been observed")


def say(
    connection: Any,
    action: Action,
    ends: tuple[Identifier, Identifier],
    by: str,
    reason: str,
    at: datetime,
) -> Written:
    """Write a rule once; the contrary rule about the same pair is withdrawn.

    Both ends in the order of type and value, so that a pair has one rule whoever is named first.
    The next build applies it.
    """
    if ends[0] == ends[1]:
        raise LinkRuleError("both ends are the same identifier")
    left, right = sorted(ends, key=lambda end: (end.type, end.value))
    pair = (left.type, left.value, right.type, right.value)
    contrary = "exclude" if action == "include" else "include"
    withdrawn = withdraw(connection, [stable_id("link_rule", contrary, *pair)], by, at)
    rule_id = stable_id("link_rule", action, *pair)
    written = connection.execute(
        "insert into identity.link_rules values (%s, %s, %s, %s, %s, %s, %s, %s)"
        " on conflict (rule_id) do nothing",
        [rule_id, action, *pair, by, reason],
    ).rowcount
    if written:
        audit.append(connection, at, by, action, "link_rule", rule_id)
    return Written(rule_id, bool(written), withdrawn)


def withdraw(connection: Any, rule_ids: Sequence[str], by: str, at: datetime) -> int:
    """Delete rules; returns how many there were."""
    rows = connection.execute(
        "delete from identity.link_rules where rule_id = any(%s) returning rule_id",
        [list(rule_ids)],
    ).fetchall()
    for row in sorted(rows, key=lambda gone: gone["rule_id"]):
        audit.append(connection, at, by, "withdrawn", "link_rule", row["rule_id"])
    return len(rows)
