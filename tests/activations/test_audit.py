"""The audit chain finds what was changed, taken away or put in; the wallet sums to zero."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activations import audit, wallet
from activations.wallet import Transaction, UnbalancedError
from tests.activations.world import AS_OF, World

TAMPERING = {
    "a decision's arm changed": (
        "update delivery.decisions set propensity = 0.5 where person_id = 'p001'", "decisions"
    ),
    "a decision removed": (
        "delete from delivery.assignments; delete from delivery.payloads;"
        " delete from delivery.messages; delete from delivery.decisions where person_id = 'p000'",
        "decisions",
    ),
    "a message redirected": ("update delivery.messages set address_hash = 'x'", "messages"),
    "money moved": (
        "update delivery.wallet_entries set amount_minor = amount_minor * 2", "wallet"
    ),
    "an entry changed": ("update delivery.audit_log set row_count = 1 where sequence = 1", "entry"),
    "an entry removed": ("delete from delivery.audit_log where sequence = 2", "entry"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(TAMPERING))
def test_tampering_is_found(world: World, audience, name: str) -> None:
    audience(3, sms=True)
    world.decide(world.program("win_back"), arm="sms_none_news")
    intact = audit.verify(world.warehouse)
    assert intact.is_intact
    assert intact.entries == 4  # allowance, reservation, decisions, messages
    statement, subject = TAMPERING[name]
    world.connection.execute(statement)
    found = audit.verify(world.warehouse)
    assert not found.is_intact
    assert found.broken_at is not None
    assert subject in (found.reason or "")


def test_a_row_slipped_in_is_found(world: World, audience) -> None:
    audience(2)
    world.decide(world.program("win_back"))
    world.connection.execute(
        "insert into delivery.decisions select decision_id || 'x', as_of, program, person_id,"
        " opportunity_id || 'x', step, assignment, arm, propensity, candidates, verdicts, outcome,"
        " reason, model_versions from delivery.decisions"
    )
    assert (
        audit.verify(world.warehouse).reason
        == "rows of decisions are not the ones that were written"
    )


def test_the_head_does_not_depend_on_the_session(world: World, audience) -> None:
    audience(2)
    world.decide(world.program("win_back"))
    head = audit.verify(world.warehouse).head
    world.connection.execute(
        "do $$ begin execute 'alter database ' || current_database()"
        " || ' set timezone to ''Asia/Tokyo'''; execute 'alter database ' || current_database()"
        " || ' set extra_float_digits to -5'; end $$"
    )
    assert audit.verify(world.warehouse).head == head


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=6))
def test_only_balanced_transactions_have_a_chance(amounts: list[int]) -> None:
    transaction = Transaction(
        "t", {f"a{n}": amount for n, amount in enumerate(amounts)}, "GBP", AS_OF, "r"
    )
    if sum(amounts) == 0:
        return
    with pytest.raises(UnbalancedError):
        wallet.post(None, None, transaction)  # type: ignore[arg-type]


def test_a_transaction_is_posted_once(world: World) -> None:
    moved = Transaction("t", {"a": -5, "b": 5}, "GBP", AS_OF, "r")
    for expected in (True, False):
        with world.warehouse.transaction() as connection:
            assert wallet.post(world.warehouse, connection, moved) is expected
    with world.warehouse.transaction() as connection:
        assert wallet.balance(connection, "b", AS_OF) == 0, "what happens at as_of is not before it"
        assert wallet.balance(connection, "b", AS_OF + timedelta(seconds=1)) == 5
    assert wallet.imbalances(world.warehouse) == []
    world.connection.execute("delete from delivery.wallet_entries where account = 'b'")
    assert wallet.imbalances(world.warehouse) == ["t"]


def test_minor_units_follow_the_currency() -> None:
    assert wallet.minor_units(12.345, "GBP") == 1234
    assert wallet.minor_units(1200, "JPY") == 1200
    assert str(wallet.major_units(1, "GBP")) == "0.01"
