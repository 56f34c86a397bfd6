"""A week of links by likeness: contacts are read, compared, guarded, kept.

Belongs here: which rows are read, when it is due, what is written. Keep out: the model
(`ml.likeness`), the guards (`ml.identity_changes`), what an accepted link becomes
(`activations.link_proposals`).
"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from activations import link_proposals, reviews
from dagster_project import learning
from dagster_project.resources import Workspace
from ml import cards, identity_changes, likeness, plots
from ml.cards import Refusal

PAIR = likeness.PROPOSAL[:2]
# The latest word of each contact.
CONTACTS = """
    select distinct on (contact_id)
        contact_id, first_name, last_name, birth_date::text as birth_date, city, postal_code,
        properties ->> 'street' as street, email, phone
    from raw.crm_contacts
    where updated_at <= %(as_of)s
    order by contact_id, updated_at desc, batch_id desc, source
"""
# Accounts of a contact: those it names, else those that its addresses were seen with. Ends of an
# edge are in the order of their types.
ACCOUNTS = """
    with links as (
        select * from identity.int_edges_observed where reason is null
    ),

    named as (
        select left_value as contact_id, right_value as user_id from links
        where left_type = 'crm_contact_id' and right_type = 'user_id'
    ),

    by_address as (
        select cards.left_value as contact_id, accounts.right_value as user_id
        from links as cards
        inner join links as accounts
            on cards.right_type = accounts.left_type and cards.right_value = accounts.left_value
        where
            cards.left_type = 'crm_contact_id' and cards.right_type in ('email', 'phone')
            and accounts.right_type = 'user_id'
    )

    select * from named
    union
    select by_address.* from by_address
    where not exists (select 1 from named where named.contact_id = by_address.contact_id)
"""
APART = """
    select left_value, right_value from identity.link_rules
    where action = 'exclude' and left_type = 'crm_contact_id' and right_type = 'crm_contact_id'
"""
# What this model accepted before: the guards are asked again, for accounts appear later.
HELD = """
    select left_contact_id, right_contact_id, match_probability from identity.link_proposals
    where status = 'accepted' and decided_by = %(origin)s
    order by match_probability desc, left_contact_id, right_contact_id
"""


def propose(workspace: Workspace) -> dict[str, Any]:
    """Compare all contacts when it is due, once a week; returns what to show.

    Must come before the person graph of its day, so that a second run of the day finds the rules
    of the first.
    """
    as_of = workspace.as_of
    if not cards.due(as_of, _last(workspace)):
        return {"compared": False}
    contacts = workspace.warehouse.read(CONTACTS, as_of=as_of).to_pandas()
    found = likeness.link(contacts, as_of)
    if isinstance(found, Refusal):
        learning.record(workspace, found.card, is_champion=False)
        return {"compared": True, "reason": found.reason}
    shown = _keep(workspace, found)
    learning.record(workspace, found.card, is_champion=True)
    return {"compared": True, "reason": found.card.reason, **shown}


def _last(workspace: Workspace) -> Any:
    rows = learning.frame(workspace, learning.CARDS)
    own = rows[(rows["model"] == likeness.MODEL) & rows["is_champion"]]
    return None if own.empty else own["as_of"].iloc[0]


def _keep(workspace: Workspace, found: likeness.Likeness) -> dict[str, Any]:
    warehouse, as_of = workspace.warehouse, workspace.as_of
    held = warehouse.read(HELD, origin=link_proposals.ORIGIN).to_pandas()
    links = pd.concat([held, found.links], ignore_index=True).drop_duplicates(PAIR)
    apart = [(row["left_value"], row["right_value"]) for row in warehouse.rows(APART)]
    fine = identity_changes.allowed(links, _accounts(workspace), apart)
    is_held = links["explanation"].isna()
    gone = list(links.loc[is_held & ~fine, PAIR].itertuples(index=False, name=None))
    with warehouse.transaction() as connection:
        link_proposals.withdraw(connection, gone, link_proposals.ORIGIN, "two accounts", as_of)
    fresh = learning.records(links[fine & ~is_held])
    kept = link_proposals.keep(warehouse, fresh, likeness.ACCEPTED, as_of)
    opened = reviews.request(warehouse, "person", kept.waiting, as_of)
    return {
        "pairs_alike": len(found.links),
        "refused_by_guards": int((~fine & ~is_held).sum()),
        "withdrawn": len(gone),
        "accepted": kept.accepted,
        "waiting": len(kept.waiting),
        "reviews_opened": opened,
        **_pictured(found.links),
    }


def _pictured(links: pd.DataFrame) -> dict[str, Any]:
    """The weights of the least likely link: the one that most wants looking at."""
    if links.empty:
        return {}
    least = links.sort_values(["match_probability", *PAIR]).iloc[0]
    told = json.loads(least["explanation"])
    weights = {name: float(field["bits"]) for name, field in told["fields"].items()}
    ranked = dict(sorted(weights.items(), key=lambda item: (-item[1], item[0])))
    before = {"before looking": told["bits"] - sum(weights.values())}
    png = plots.match_weights(ranked | before, least["match_probability"])
    return {"least_likely_link": learning.picture(png)}


def _accounts(workspace: Workspace) -> Mapping[str, set[str]]:
    accounts: dict[str, set[str]] = {}
    for row in workspace.warehouse.rows(ACCOUNTS):
        accounts.setdefault(row["contact_id"], set()).add(row["user_id"])
    return accounts
