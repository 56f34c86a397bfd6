"""What people do to the person graph: link, unlink, undo a merge, look at other rules.

Belongs here: reading for a command, one call of `ml`, one of `activations`. Keep out: printing
(the command line), which pairs part a merge and what rules would give (`ml`), writing rules and
delivery (`activations`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from activations import link_proposals, link_rules, unmerging
from activations.link_rules import Action, Identifier
from ml import identity_changes, identity_preview
from ml.identity_preview import Wording
from ml.identity_rules import PAIR, LinkRule, Rules, rules_from_frames
from warehouse import ConfigError, Settings, Warehouse
from warehouse.settings import IdentitySettings

CONTACT = link_proposals.CONTACT
ORDERS = """
    select orders.order_id, orders.person_id, orders.net_revenue_amount::float as
        net_revenue_amount, sets.*
    from marts.orders as orders
    inner join identity.int_orders_linked as linked using (order_id)
    inner join identity.int_identifier_sets_observed as sets using (set_id)
    where orders.person_id = any(%(persons)s)
    order by orders.order_id
"""
OPEN_DECISIONS = """
    select decisions.person_id from delivery.decisions as decisions
    inner join marts.bandit_feedback as feedback using (decision_id)
    where not feedback.is_matured and decisions.person_id = any(%(persons)s)
"""
PLANNED = """
    select person_id from delivery.messages
    where status in ('planned', 'held', 'reserved') and person_id = any(%(persons)s)
"""
EDGES_OF = """
    select left_type, left_value, right_type, right_value, verdict, reason, evidence_count
    from identity.edges
    where
        (left_type, left_value) in (select identifier_type, identifier_value from held)
        or (right_type, right_value) in (select identifier_type, identifier_value from held)
    order by left_type, left_value, right_type, right_value
"""
HELD = """
    with held as (
        select identifier_type, identifier_value from identity.person_identifiers
        where person_id = %(person_id)s
    )
"""
ASSIGNED = """
    select person_id, program, assignment from delivery.assignments
    where person_id = any(%(persons)s)
"""


class RuleChange(BaseModel):
    """One rule of a file for `preview`: two identifiers as type:value, together or apart."""

    model_config = ConfigDict(extra="forbid")
    action: Action
    left: str
    right: str


class RulesFile(BaseModel):
    """A file for `preview`: `identity` as in the configuration, `link_rules` beside it."""

    model_config = ConfigDict(extra="forbid")
    identity: IdentitySettings | None = None
    link_rules: tuple[RuleChange, ...] = ()


@dataclass(frozen=True)
class Undone:
    """What undoing a merge did: the merge, rules written, and what delivery took back."""

    merge: unmerging.Merge
    rules: int
    delivery: unmerging.Undone


def rule(
    warehouse: Warehouse, action: Action, ends: tuple[str, str], by: str, reason: str, at: datetime
) -> link_rules.Written:
    """Write one rule about two identifiers, `type:value` each."""
    left, right = (link_rules.parse(end) for end in ends)
    with warehouse.transaction() as connection:
        link_rules.require_observed(connection, (left, right))
        return _say(connection, action, (left, right), by, reason, at)


def _say(
    connection: Any,
    action: Action,
    ends: tuple[Identifier, Identifier],
    by: str,
    reason: str,
    at: datetime,
) -> link_rules.Written:
    written = link_rules.say(connection, action, ends, by, reason, at)
    if action == "exclude" and {end.type for end in ends} == {CONTACT}:
        pair = (ends[0].value, ends[1].value)
        link_proposals.withdraw(connection, [pair], by, "excluded by rule", at)
    return written


def undo(warehouse: Warehouse, prefix: str, by: str, at: datetime) -> Undone:
    """Undo the merge whose id begins with `prefix`, in one transaction; the next build parts them.

    Raises unmerging.UnmergeError when there is no such merge or it does not stand.
    """
    with warehouse.transaction() as connection:
        merge = unmerging.standing(connection, prefix)
        held = unmerging.parties(connection, merge)
        edges = pd.DataFrame(held.edges, columns=[*PAIR, "reason"])
        pairs = identity_changes.parting(held.founders, (held.survivor, held.absorbed), edges)
        for one, other in pairs:
            ends = Identifier(*one), Identifier(*other)
            _say(connection, "exclude", ends, by, f"undoes merge {merge.merge_id}", at)
        taken_back = unmerging.undo(connection, merge, at, by)
    return Undone(merge, len(pairs), taken_back)


def preview(warehouse: Warehouse, settings: Settings, path: Path, at: datetime) -> dict[str, Any]:
    """What the rules of a file would change in the person graph and what hangs on it.

    Reads only. `identity` of the file stands in for that of the configuration, its `link_rules`
    come on top of those there are.
    """
    file = _read(path)
    now = warehouse.table("ml.identity_clusters").to_pandas().dropna(subset="cluster_id")
    before = now.rename(columns={"cluster_id": "person_id"})
    after = _after(warehouse, settings, file, at)
    changes = identity_changes.compare(before, after)
    persons = sorted(changes.persons)
    orders = warehouse.read(ORDERS, persons=persons).to_pandas()
    delivery = {
        name: warehouse.read(query, persons=persons).to_pandas()
        for name, query in (
            ("open_decisions", OPEN_DECISIONS),
            ("planned_messages", PLANNED),
            ("assignments", ASSIGNED),
        )
    }
    moving = identity_preview.moved_orders(orders, after)
    return identity_preview.figures(changes, moving, delivery)


def _read(path: Path) -> RulesFile:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of rules")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return RulesFile.model_validate({} if content is None else content)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{path}: `{where}`: {first['msg']}") from error


def _after(warehouse: Warehouse, settings: Settings, file: RulesFile, at: datetime) -> pd.DataFrame:
    types, wording = _types(warehouse, file.identity), Wording()
    if file.identity is not None:
        blocked = [(one.identifier_type, one.pattern) for one in file.identity.blocked_values]
        wording = Wording(blocked, file.identity.linking_mailboxes)
    edges, identifiers, ledger, merges = (
        warehouse.table(f"identity.{name}").to_pandas()
        for name in (
            "int_edges_observed",
            "int_identifiers_observed",
            "person_id_ledger",
            "merges",
        )
    )
    edges, identifiers = identity_preview.judged(edges, identifiers, types, wording)
    rules = _rules(warehouse, types, file)
    key = settings.person_key
    return identity_preview.partition(edges, identifiers, rules, ledger, merges, key, at)


def _types(warehouse: Warehouse, overrides: IdentitySettings | None) -> pd.DataFrame:
    """The rules of the types: as they are, or the seed with what the file says of it."""
    if overrides is None:
        return warehouse.table("identity.int_identifier_rules").to_pandas()
    types = warehouse.table("identity.identifier_rules").to_pandas().astype(object)
    types = types.set_index("identifier_type")
    said: dict[str, Mapping[str, Any]] = {
        name: one.model_dump(exclude_unset=True) for name, one in overrides.types.items()
    }
    if overrides.largest_person is not None:
        said["*"] = {"max_per_person": overrides.largest_person}
    for name, limits in said.items():
        if name not in types.index:
            types.loc[name] = dict.fromkeys(types.columns) | UNLISTED
        for column, value in limits.items():
            types.loc[name, column] = value
    return types.reset_index()


# What the models take for a type that no seed lists.
UNLISTED = {"priority": 1000, "is_unique": False, "counts_in_size": True, "is_strong": False}


def _rules(warehouse: Warehouse, types: pd.DataFrame, file: RulesFile) -> Rules:
    held = rules_from_frames(types, warehouse.table("identity.link_rules").to_pandas())
    added = []
    for change in file.link_rules:
        left, right = link_rules.parse(change.left), link_rules.parse(change.right)
        added.append(LinkRule(change.action, left.type, left.value, right.type, right.value))
    return Rules(held.types, (*held.links, *added), held.largest_person)


def edges_of(warehouse: Warehouse, person_id: str) -> pd.DataFrame:
    """The edges at a person's identifiers: left, right, verdict, reason, evidence_count.

    Identifiers are named by kind and number (`email 1`), so that a picture of them shows nobody's
    address. Raises ConfigError for somebody without edges.
    """
    edges = pd.DataFrame(warehouse.rows(HELD + EDGES_OF, person_id=person_id))
    if edges.empty:
        raise ConfigError(f"no edges: {person_id} is nobody here, or has one identifier")
    ends = [
        list(zip(edges[f"{side}_type"], edges[f"{side}_value"], strict=True))
        for side in ("left", "right")
    ]
    known = pd.DataFrame(sorted({*ends[0], *ends[1]}), columns=["kind", "value"])
    numbers = (known.groupby("kind").cumcount() + 1).astype(str)
    keys = known.itertuples(index=False, name=None)
    names = dict(zip(keys, known["kind"] + " " + numbers, strict=True))
    for side, found in zip(("left", "right"), ends, strict=True):
        edges[side] = [names[end] for end in found]
    return edges[["left", "right", "verdict", "reason", "evidence_count"]]
