"""Link rules and proposals: one rule a pair, sure links by rule, others by a person's word.

Belongs here: what is written to identity.link_rules and link_proposals. Keep out: how likely a
link is (tests/ml/test_likeness.py), what a rule does (tests/ml/test_identity.py).
"""

import json
from typing import Any

import pytest

from activations import audit, link_proposals, link_rules, reviews
from activations.link_rules import Identifier, LinkRuleError
from tests.activations.world import AS_OF
from warehouse import Warehouse

ADA, BOB = Identifier("email", "ada@example.com"), Identifier("crm_contact_id", "C1")
WEIGHTS = {"first_name": {"level": "same", "bits": 5.2}, "email": {"level": "unknown", "bits": 0}}


def proposal(left: str, right: str, probability: float) -> dict[str, Any]:
    explanation = json.dumps({"bits": 4.0, "fields": WEIGHTS})
    return {
        "left_contact_id": left,
        "right_contact_id": right,
        "match_probability": probability,
        "explanation": explanation,
    }


def rules(warehouse: Warehouse) -> list[tuple[str, ...]]:
    rows = warehouse.rows("select * from identity.link_rules order by action, left_value")
    return [(row["action"], row["left_value"], row["right_value"]) for row in rows]


def statuses(warehouse: Warehouse) -> dict[str, str]:
    rows = warehouse.rows("select left_contact_id, status from identity.link_proposals")
    return {row["left_contact_id"]: row["status"] for row in rows}


def test_a_pair_has_one_rule_whoever_is_named_first(warehouse: Warehouse) -> None:
    with warehouse.transaction() as connection:
        one = link_rules.say(connection, "include", (ADA, BOB), "me", "why", AS_OF)
        two = link_rules.say(connection, "include", (BOB, ADA), "me", "again", AS_OF)
        contrary = link_rules.say(connection, "exclude", (ADA, BOB), "me", "no", AS_OF)
    assert (one.is_new, two.is_new, one.rule_id == two.rule_id) == (True, False, True)
    assert contrary.withdrawn == 1
    assert rules(warehouse) == [("exclude", "C1", "ada@example.com")]
    assert audit.verify(warehouse).is_intact


@pytest.mark.parametrize("text", ["ada@example.com", "email:", ":x", ""])
def test_an_identifier_is_typed_with_its_type(text: str) -> None:
    with pytest.raises(LinkRuleError, match="type:value"):
        link_rules.parse(text)
    assert link_rules.parse("email: Ada@Example.com") == ADA


def test_sure_links_become_rules_and_others_wait_for_a_person(warehouse: Warehouse) -> None:
    links = [proposal("C1", "C2", 0.995), proposal("C3", "C4", 0.9), proposal("C5", "C6", 0.85)]
    kept = link_proposals.keep(warehouse, links, 0.99, AS_OF)
    reviews.request(warehouse, "person", kept.waiting, AS_OF)
    assert rules(warehouse) == [("include", "C1", "C2")]
    waiting = {row["subject_id"]: row for row in reviews.open_reviews(warehouse)}
    assert set(waiting) == set(kept.waiting)
    one, two = (waiting[subject] for subject in kept.waiting)
    assert one["body"] == (
        "contacts C3 and C4 are one person with probability 0.900: first_name same +5.2"
    )
    reviews.decide(warehouse, one["review_id"], "approved", "me", AS_OF)
    reviews.decide(warehouse, two["review_id"], "rejected", "me", AS_OF)
    assert rules(warehouse) == [("include", "C1", "C2"), ("include", "C3", "C4")]
    assert statuses(warehouse) == {"C1": "accepted", "C3": "accepted", "C5": "rejected"}
    assert audit.verify(warehouse).is_intact
    again = link_proposals.keep(warehouse, links, 0.8, AS_OF)
    assert (again.accepted, again.waiting) == (0, [])
    assert len(rules(warehouse)) == 2, "what a person rejected was linked after all"


def test_a_proposal_that_became_sure_closes_its_review(warehouse: Warehouse) -> None:
    kept = link_proposals.keep(warehouse, [proposal("C1", "C2", 0.9)], 0.99, AS_OF)
    reviews.request(warehouse, "person", kept.waiting, AS_OF)
    link_proposals.keep(warehouse, [proposal("C1", "C2", 0.999)], 0.99, AS_OF)
    assert reviews.open_reviews(warehouse) == []
    assert rules(warehouse) == [("include", "C1", "C2")]


def test_a_withdrawn_link_is_rejected_and_its_rule_gone(warehouse: Warehouse) -> None:
    link_proposals.keep(warehouse, [proposal("C1", "C2", 0.999)], 0.99, AS_OF)
    with warehouse.transaction() as connection:
        gone = link_proposals.withdraw(connection, [("C2", "C1")], "me", "two accounts", AS_OF)
    assert (gone, rules(warehouse), statuses(warehouse)) == (1, [], {"C1": "rejected"})
