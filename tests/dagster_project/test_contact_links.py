"""A week of links by likeness on a real database: kept, guarded, not done twice.

Belongs here: what is written and when. Keep out: how likely a link is (tests/ml/test_likeness.py).
"""

from datetime import timedelta
from types import SimpleNamespace

import pyarrow as pa

from activations import reviews
from dagster_project import contact_links
from tests.ml.test_likeness import AS_OF, planted
from warehouse import Warehouse

TWINS = 60


def workspace(warehouse: Warehouse, days: int = 0) -> SimpleNamespace:
    return SimpleNamespace(warehouse=warehouse, as_of=AS_OF + timedelta(days=days))


def land(warehouse: Warehouse) -> None:
    """Contacts, of which two double cards belong to different accounts."""
    cards = planted(400, TWINS)
    cards["birth_date"] = (
        cards["birth_date"].astype(object).where(cards["birth_date"].notna(), None)
    )
    cards = cards.assign(source="crm", updated_at=AS_OF - timedelta(days=1), batch_id=1)
    warehouse.append("raw.crm_contacts", pa.Table.from_pandas(cards, preserve_index=False))
    warehouse.execute(
        "create table identity.int_edges_observed (left_type text, left_value text,"
        " right_type text, right_value text, reason text)"
    )
    warehouse.execute(
        "insert into identity.int_edges_observed values"
        " ('crm_contact_id', 'C0', 'user_id', 'u1', null),"
        " ('crm_contact_id', 'C0-2', 'email', 'second@example.com', null),"
        " ('email', 'second@example.com', 'user_id', 'u2', null)"
    )


def test_links_are_kept_guarded_and_not_sought_again_the_same_week(warehouse: Warehouse) -> None:
    land(warehouse)
    found = contact_links.propose(workspace(warehouse))
    assert found["compared"]
    assert found["accepted"] >= 0.9 * TWINS
    assert found["refused_by_guards"] == 1, "two accounts were linked, or nothing was guarded"
    rules = warehouse.rows("select * from identity.link_rules")
    assert len(rules) == found["accepted"]
    assert {(rule["action"], rule["created_by"]) for rule in rules} == {
        ("include", "contact_links")
    }
    assert "C0-2" not in {rule["right_value"] for rule in rules}
    assert len(reviews.open_reviews(warehouse)) == found["waiting"]
    assert contact_links.propose(workspace(warehouse, days=6)) == {"compared": False}
    warehouse.execute(
        "insert into identity.int_edges_observed values"
        " ('crm_contact_id', 'C1', 'user_id', 'u3', null),"
        " ('crm_contact_id', 'C1-2', 'user_id', 'u4', null)"
    )
    later = contact_links.propose(workspace(warehouse, days=7))
    assert (later["withdrawn"], later["accepted"]) == (1, 0)
    assert len(warehouse.rows("select 1 from identity.link_rules")) == found["accepted"] - 1
