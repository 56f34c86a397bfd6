"""Decisions: one receipt per occasion, planned once, with every verdict and propensity."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from activations import decisions, persons, variants, wallet
from activations.choices import ChoiceError
from activations.programs import Approval, Budget
from tests.activations.world import AS_OF, LINK_KEY, World

NEXT = AS_OF + timedelta(days=1)


def digest(world: World) -> list[str]:
    tables = ("assignments", "decisions", "messages", "payloads", "wallet_entries", "audit_log")
    return [
        world.warehouse.rows(
            f"select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) as d"
            f" from delivery.{name} as t"
        )[0]["d"]
        for name in tables
    ]


def test_planning_twice_plans_nothing_new(world: World, audience) -> None:
    audience(12, sms=True)
    program = world.program("win_back")
    first = world.decide(program, arm="sms_10_discount")
    before = digest(world)
    assert first.sends == 12
    again = world.decide(program)
    assert (again.sends, again.silences) == (0, 0)
    assert digest(world) == before
    assert world.decide(program, as_of=NEXT).sends == 0


def test_a_recording_repeated_after_a_crash_writes_nothing(world: World, audience) -> None:
    audience(4)
    program = world.program("win_back")
    held = decisions.candidates(world.warehouse, program, AS_OF)
    chosen = np.zeros(4, dtype=np.int64)
    shares = np.zeros(held.eligible.shape)
    shares[:, 0] = 1
    for expected in (4, 0):
        recorded = decisions.record(
            world.warehouse, held, arm_indices=chosen, propensities=shares, brand=world.brand,
            link_key=LINK_KEY, model_versions={},
        )  # fmt: skip
        assert recorded.sends == expected


def test_groups_follow_their_own_policy(world: World) -> None:
    program = world.program("win_back")
    groups = {"policy": 5, "random": 40, "bau": 5, "holdout": 5}
    for group, count in groups.items():
        people = [f"{group}{number}" for number in range(count)]
        world.assign("win_back", group, people)
        for person in people:
            world.person(person)
            world.occasion("win_back", person)
    recorded = world.decide(program, arm="email_20_discount")
    assert recorded.by_assignment == groups
    rows = world.warehouse.rows("select * from delivery.decisions")
    arms = {group: {row["arm"] for row in rows if row["assignment"] == group} for group in groups}
    assert arms["policy"] == {"email_20_discount"}
    assert arms["bau"] == {program.bau}
    assert arms["holdout"] == {None}
    assert arms["random"] == {"email_none_news", "email_10_discount", "email_20_discount"}
    for row in rows:
        expected = {"policy": 1.0, "bau": 1.0, "random": 1 / 3, "holdout": None}
        assert row["propensity"] == pytest.approx(expected[row["assignment"]])
        assert set(row["verdicts"]) == set(program.arm_names)
        assert row["verdicts"]["sms_none_news"] == ["unreachable", "no_consent"]
        assert set(row["candidates"]) == {name for name in program.arm_names if "email" in name}
        if row["outcome"] == "send":
            assert sum(row["candidates"].values()) == pytest.approx(1)
        else:
            assert row["reason"] == "holdout"


def test_an_arm_no_guardrail_lets_through_is_refused(world: World, audience) -> None:
    audience(2)
    program = world.program("win_back")
    held = decisions.candidates(world.warehouse, program, AS_OF)
    sms = np.full(2, program.arm_names.index("sms_none_news"))
    shares = np.eye(len(program.arms))[sms]
    with pytest.raises(ChoiceError, match="no guardrail lets through"):
        decisions.record(
            world.warehouse, held, arm_indices=sms, propensities=shares, brand=world.brand,
            link_key=LINK_KEY, model_versions={},
        )  # fmt: skip
    email = np.zeros(2, dtype=np.int64)
    with pytest.raises(ChoiceError, match="sum to 1"):
        decisions.record(
            world.warehouse, held, arm_indices=email, propensities=shares * 0, brand=world.brand,
            link_key=LINK_KEY, model_versions={},
        )  # fmt: skip
    assert world.warehouse.rows("select 1 from delivery.decisions") == []


def test_consent_is_per_address_and_unknown_sends_nothing(world: World) -> None:
    program = world.program("win_back")
    for person, status in (("known", "granted"), ("asked", None), ("left", "revoked")):
        world.warehouse.execute(
            "insert into identity.profiles (person_id) values (%(p)s)", p=person
        )
        world.address(person, "email", f"{person}@example.com", status)
        world.occasion("win_back", person)
    world.address("asked", "sms", "+447700900001", "revoked")
    world.assign("win_back", "policy", ["known", "asked", "left"])
    world.decide(program)
    rows = world.warehouse.rows("select person_id, outcome, reason from delivery.decisions")
    verdicts = {row["person_id"]: (row["outcome"], row["reason"]) for row in rows}
    assert verdicts == {
        "known": ("send", "policy"),
        "asked": ("silence", "no_consent"),
        "left": ("silence", "no_consent"),
    }


def test_of_several_addresses_the_usable_one_is_taken(world: World, audience) -> None:
    audience(1)
    world.warehouse.execute("update marts.consents set status = 'revoked' where person_id = 'p000'")
    other = world.address("p000", "email", "second@example.com", "granted")
    assert world.decide(world.program("win_back")).sends == 1
    sent = world.warehouse.rows("select address_hash from delivery.messages")
    assert sent == [{"address_hash": other}]


def test_a_silence_is_written_again_only_when_its_reason_changes(world: World, audience) -> None:
    audience(1)
    program = world.program("win_back")
    world.warehouse.execute("update marts.consents set status = 'unknown'")
    written = []
    for day in range(4):
        if day == 2:
            world.warehouse.execute("delete from identity.contact_points")
        written.append(world.decide(program, as_of=AS_OF + timedelta(days=day)).silences)
    assert written == [1, 0, 1, 0]
    reasons = [
        row["reason"]
        for row in world.warehouse.rows("select reason from delivery.decisions order by as_of")
    ]
    assert reasons == ["no_consent", "unreachable"]


def test_a_message_of_an_earlier_program_counts_against_a_later_one(world: World) -> None:
    first, later = world.program("welcome"), world.program("win_back")
    world.person("p")
    for program in ("welcome", "win_back"):
        world.assign(program, "policy", ["p"])
        world.occasion(program, "p")
    assert world.decide(first).sends == 1
    assert world.decide(later).by_reason == {"frequency_cap": 1}
    before = digest(world)
    # A second run of the day sees the same: the later program's plans never touch the earlier's.
    world.decide(first)
    world.decide(later)
    assert digest(world) == before


def test_a_later_programs_plan_does_not_change_an_earlier_ones_silence(world: World) -> None:
    """A silence that stays as it was leaves no row of today; a second run judges it again."""
    first, later = world.program("welcome"), world.program("win_back")
    world.connection.execute(
        "update delivery.copy_variants set status = 'draft' where program = 'welcome'"
    )
    world.person("p")
    for program in ("welcome", "win_back"):
        world.assign(program, "policy", ["p"])
    world.occasion("welcome", "p")
    assert world.decide(first).by_reason == {"no_approved_copy": 1}
    world.occasion("win_back", "p")
    assert world.decide(first, as_of=NEXT).by_reason == {}
    assert world.decide(later, as_of=NEXT).sends == 1
    before = digest(world)
    assert world.decide(first, as_of=NEXT).by_reason == {}
    assert digest(world) == before


def test_messages_wait_for_the_local_morning(world: World) -> None:
    program = world.program("win_back")
    world.person("london")
    world.person("york", time_zone="America/New_York")
    world.person("tokyo", time_zone=None, country="JP")
    for person in ("london", "york", "tokyo"):
        world.occasion("win_back", person)
    world.assign("win_back", "policy", ["london", "york", "tokyo"])
    world.decide(program)
    rows = world.warehouse.rows("select person_id, send_at, expires_at from delivery.messages")
    times = {row["person_id"]: row["send_at"].astimezone(UTC) for row in rows}
    assert times == {
        "london": datetime(2026, 3, 2, 8, tzinfo=UTC),
        "york": datetime(2026, 3, 2, 13, tzinfo=UTC),
        "tokyo": AS_OF,  # 15:00 there
    }
    assert all(row["expires_at"] <= AS_OF + timedelta(hours=72) for row in rows)


def test_an_occasion_that_ends_before_the_morning_is_let_go(world: World, audience) -> None:
    audience(1)
    world.warehouse.execute(
        "update activation.act_win_back set expires_at = %(t)s", t=AS_OF + timedelta(hours=1)
    )
    assert world.decide(world.program("win_back")).by_reason == {"expires_first": 1}


def test_deep_offers_are_held_with_a_review(world: World, audience) -> None:
    audience(2)
    program = world.program("win_back", approval=Approval(offer_percent_over=15))
    recorded = world.decide(program, arm="email_20_discount")
    assert (recorded.sends, recorded.held) == (2, 2)
    waiting = world.warehouse.rows("select kind, subject_id from delivery.reviews order by 2")
    keys = world.warehouse.rows("select message_key from delivery.messages order by 1")
    assert [row["subject_id"] for row in waiting] == [row["message_key"] for row in keys]
    assert {row["kind"] for row in waiting} == {"offer"}


def test_without_approved_words_nothing_is_sent(world: World, audience) -> None:
    audience(1)
    world.warehouse.execute("update delivery.copy_variants set status = 'draft'")
    assert world.decide(world.program("win_back")).by_reason == {"no_approved_copy": 1}


def test_the_wallet_stops_paid_channels_and_keeps_the_books_even(world: World) -> None:
    program = world.program("win_back", budget=Budget(monthly_amount=0.03))
    people = [f"p{number}" for number in range(5)]
    world.assign("win_back", "policy", people)
    for number, person in enumerate(people):
        world.warehouse.execute(
            "insert into identity.profiles (person_id) values (%(p)s)", p=person
        )
        world.address(person, "sms", f"+4477009000{number:02d}")
        world.occasion("win_back", person)
    recorded = world.decide(program, arm="sms_none_news")
    assert recorded.by_reason == {"policy": 3, "wallet_empty": 2}
    assert wallet.imbalances(world.warehouse) == []
    with world.warehouse.transaction() as connection:
        assert persons.workspace(connection).currency == "GBP"
        assert wallet.balance(connection, "program:win_back", NEXT) == 0
        assert wallet.balance(connection, "reserved:win_back", NEXT) == 3
    # Whoever found the wallet empty finds it as empty in a second run of the day.
    assert world.decide(program).by_reason == {}


def test_the_payload_speaks_to_the_person_and_offers_a_way_out(world: World, audience) -> None:
    audience(1, sms=True)
    world.decide(world.program("win_back"), arm="email_20_discount")
    body = world.warehouse.rows("select body from delivery.payloads")[0]["body"]
    assert body["address"] == "p000@example.com"
    assert "Hi Ada," in body["text"]
    assert "Hi Ada," in body["html"]
    assert "WINBACK20" in body["html"]
    assert world.brand.postal_address in body["text"]
    headers = dict(body["headers"])
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert headers["List-Unsubscribe"].strip("<>") in body["text"]


def test_nothing_outside_the_payload_names_a_person(world: World, audience) -> None:
    audience(3, sms=True)
    world.decide(world.program("win_back"))
    for table in ("decisions", "messages", "assignments", "audit_log", "reviews"):
        rows = world.warehouse.rows(f"select to_jsonb(t)::text as row from delivery.{table} as t")
        text = json.dumps(rows)
        assert "@example.com" not in text
        assert "+447" not in text
        assert "Ada" not in text


def test_edited_words_wait_for_a_review(world: World, tmp_path) -> None:
    program = world.program("win_back")
    for name in ("win_back.yml", "approved.yml"):
        (tmp_path / name).write_text((variants.FOLDER / name).read_text())
    changed = (tmp_path / "win_back.yml").read_text().replace("Have a look", "Take a look")
    (tmp_path / "win_back.yml").write_text(changed)
    variants.publish_templates(world.warehouse, [program], world.brand, AS_OF, tmp_path)
    rows = world.warehouse.rows(
        "select variant_id, status from delivery.copy_variants where status <> 'approved'"
    )
    assert sorted(row["status"] for row in rows) == ["draft", "retired"]
    reviews = world.warehouse.rows("select kind, subject_id from delivery.reviews")
    draft = next(row["variant_id"] for row in rows if row["status"] == "draft")
    assert reviews == [{"kind": "copy", "subject_id": draft}]
    again = variants.publish_templates(world.warehouse, [program], world.brand, AS_OF, tmp_path)
    assert again == 0
