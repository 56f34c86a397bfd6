"""The market lies about identity in every way that sources do, and the truth knows.

Belongs here: that each fault is there to be found, and is told apart in the truth. Keep out: what
the loop makes of it (tests/loop/test_identity_truth.py).
"""

import csv
import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sandbox import market, sightings
from sandbox.market import faults
from sandbox.market.world import load
from tests.sandbox.test_market import AS_OF, Simulation

DAY = 86_400.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    market.found(Simulation(people=3_000, days=75), folder, AS_OF)
    return folder


@pytest.fixture(scope="module")
def events(home: Path) -> list[dict]:
    return [
        json.loads(line)
        for path in sorted((home / "landing" / "segment").glob("*.gz"))
        for line in gzip.open(path, "rt", encoding="utf-8")
    ]


@pytest.fixture(scope="module")
def contacts(home: Path) -> list[dict]:
    with (home / "landing" / "crm_contacts" / "history.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def identifiers(home: Path) -> list[dict]:
    return pq.read_table(home / "truth" / "identifiers").to_pylist()


def _owners(identifiers: list[dict], kind: str) -> Counter:
    owners = defaultdict(set)
    for row in identifiers:
        if row["identifier_type"] == kind:
            owners[row["identifier_value"]].add(row["person"])
    return Counter({value: len(people) for value, people in owners.items()})


@pytest.mark.parametrize("kind", ["anonymous_id", "email", "phone"])
def test_some_identifiers_have_two_owners(identifiers, kind):
    """Computers of households, mailboxes of families, phones that were used again."""
    counts = _owners(identifiers, kind)
    several = sum(count > 1 for count in counts.values())
    assert 3 <= several < 0.1 * len(counts)


def test_tablets_in_shops_are_used_by_many_and_belong_to_nobody(events, identifiers):
    users = defaultdict(set)
    for event in events:
        if event.get("userId", "null") != "null":
            users["anonymous_id", event.get("anonymousId")].add(event["userId"])
            users["device_id", event["context"].get("device", {}).get("id")].add(event["userId"])
    for kind in ("anonymous_id", "device_id"):
        tablets = {key[1] for key, seen in users.items() if key[0] == kind and len(seen) > 3}
        assert len(tablets - {faults.ZEROS, None}) >= 3
        assert not tablets & _owners(identifiers, kind).keys()


def test_placeholders_stand_in_every_source_and_belong_to_nobody(events, contacts, identifiers):
    seen = Counter()
    for event in events:
        traits = event.get("traits") or event.get("properties") or {}
        seen["user"] += event.get("userId") == "null"
        seen["cookie"] += event.get("anonymousId") == faults.ZEROS
        seen["device"] += event["context"].get("device", {}).get("id") == faults.ZEROS
        seen["email"] += str(traits.get("email")).strip().lower() in faults.TEST_MAILS
        seen["phone"] += traits.get("phone") in faults.ZERO_PHONES.values()
    seen["card without a user"] = sum(row["user_id"] == "null" for row in contacts)
    seen["role"] = sum(row["email"].strip().lower().startswith(
        tuple(f"{role}@" for role in faults.ROLES)) for row in contacts)  # fmt: skip
    expected = {"user", "cookie", "device", "email", "phone", "card without a user", "role"}
    assert {name for name, count in seen.items() if count} == expected
    assert not [
        row
        for row in identifiers
        if faults.names_nobody(row["identifier_type"], row["identifier_value"])
    ]


def test_forms_and_cards_have_slips_of_their_own(home, events, contacts):
    cards = load(home / "sandbox" / "state").cards
    typed = {card["form_email"] for card in cards if card["form_email"]}
    told = {
        event["properties"]["email"].strip().lower()
        for event in events
        if event.get("event") == "Signed Up"
    }
    assert len(typed & told) > 3
    account = {card["contact_id"]: card["email"] for card in cards}
    filed = {row["contact_id"]: row["email"].strip().lower() for row in contacts}
    wrong = sum(filed[contact] != email for contact, email in account.items() if contact in filed)
    assert 0.01 < wrong / len(filed) < 0.05
    assert sum(contact.endswith("-2") for contact in filed) > 10


def test_cards_and_log_ins_come_weeks_late(home, contacts, identifiers):
    signed_up = {
        row["contact_id"]: row["signed_up_day"]
        for row in pq.read_table(home / "truth" / "people.parquet").to_pylist()
    }
    world = load(home / "sandbox" / "state")
    alternatives = {card["contact_id"]: card["email_alt"] for card in world.cards}
    late = [card["contact_id"] for card in world.cards if card["card_days"] >= 14]
    there = [contact for contact in late if signed_up.get(contact, -9999) > -9000]
    assert len(there) > 50
    joining = [row for row in contacts if row["contact_id"] in there
               and row["email"].strip().lower() == alternatives[row["contact_id"]]]  # fmt: skip
    assert len(joining) > 3
    first, linked = {}, {}
    for row in identifiers:
        if row["identifier_type"] == "anonymous_id" and row["linked_at"]:
            key = row["person"], row["identifier_value"]
            first[key] = min(row["seen_at"], first.get(key, row["seen_at"]))
            linked[key] = min(row["linked_at"], linked.get(key, row["linked_at"]))
    assert sum(linked[key] - first[key] > 14 * DAY for key in first) > 10


def test_files_connect_what_rows_name_together(tmp_path):
    folder = tmp_path / "segment"
    folder.mkdir()
    rows = [
        {"userId": "u1", "anonymousId": "c1", "traits": {"email": " A@x.org "}},
        {"anonymousId": "c2", "traits": {"email": "a@x.org"}},
        {"anonymousId": "c3", "context": {"page": {"url": "https://x.org/?gclid=k1"}}},
        {"anonymousId": "tablet", "userId": "u1"},
        {"anonymousId": "tablet", "context": {"page": {"url": "https://x.org/?fbclid=k2"}}},
        {"anonymousId": "c4", "userId": "u2", "traits": {"phone": "+44 7400 1"}},
    ]
    with gzip.open(folder / "a.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    owners = {
        ("user_id", "u1"): 1, ("anonymous_id", "c1"): 1, ("anonymous_id", "c2"): 1,
        ("anonymous_id", "c3"): 1, ("email", "a@x.org"): 1, ("ad_click_id", "k1"): 1,
        ("ad_click_id", "k2"): 1, ("user_id", "u2"): 2, ("anonymous_id", "c4"): 2,
        ("phone", "+4474001"): 2, ("email", "never@x.org"): 2, ("anonymous_id", "tablet"): None,
    }  # fmt: skip
    found, unfair = defaultdict(set), set()
    for row in sightings.connected(tmp_path, owners).to_pylist():
        found[row["component"]].add(row["identifier_value"])
        unfair |= {row["identifier_value"]} if not row["is_fair"] else set()
    assert sorted(map(sorted, found.values())) == [
        ["+4474001", "c4", "u2"], ["a@x.org", "c1", "c2", "u1"], ["c3", "k1"], ["k2"],
    ]  # fmt: skip
    assert unfair == {"k2"}
