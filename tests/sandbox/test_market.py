"""The market repeats itself exactly, looks like its sources, and its planted truth can be seen."""

import gzip
import hashlib
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import phonenumbers
import pyarrow.parquet as pq
import pytest

from sandbox import market
from sandbox.market import ads, effects, faults, landing, zones
from sandbox.market.world import load

AS_OF = datetime(2025, 11, 17, 6, tzinfo=UTC)


@dataclass(frozen=True)
class Simulation:
    people: int = 300
    days: int = 60
    seed: int = 7


def _hashes(home: Path) -> dict[str, str]:
    folder = home / "landing"
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _events(home: Path, pattern: str = "*") -> list[dict]:
    return [
        json.loads(line)
        for path in sorted((home / "landing" / "segment").glob(f"{pattern}.jsonl.gz"))
        for line in gzip.open(path, "rt", encoding="utf-8")
    ]


def _people(home: Path):
    return pq.read_table(home / "truth" / "people.parquet")


def _accept(home: Path, arms: list[tuple[str, str]], at: datetime, program="win_back") -> int:
    """Let the providers accept one message per (address, arm); returns how many."""
    path = home / "sandbox" / "accepted.jsonl"
    rows = [
        {
            "provider": "sendgrid" if "@" in address else "twilio",
            "provider_message_id": f"pm-{at:%d%H}-{index}",
            "message_key": f"key-{at:%d%H}-{index}",
            "channel": "email" if "@" in address else "sms",
            "address": address,
            "program": program,
            "arm": arm,
            "accepted_at": at.isoformat(),
        }
        for index, (address, arm) in enumerate(arms)
    ]
    with path.open("a") as log:
        log.writelines(json.dumps(row) + "\n" for row in rows)
    return len(rows)


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("market")
    market.found(Simulation(), home, AS_OF)
    return home


@pytest.fixture
def home(founded: Path, tmp_path: Path) -> Path:
    """A copy of a founded market, to live on in."""
    return Path(shutil.copytree(founded, tmp_path / "home"))


def test_the_same_seed_makes_the_same_files_and_another_seed_others(founded, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    market.found(Simulation(), again, AS_OF)
    market.found(Simulation(seed=8), other, AS_OF)
    assert _hashes(again) == _hashes(founded)
    assert _hashes(other)["segment/history-2025-11-17.jsonl.gz"] not in _hashes(founded).values()


def test_founding_twice_changes_nothing(home):
    before = _hashes(home)
    assert market.found(Simulation(), home, AS_OF + timedelta(days=3)) == []
    assert _hashes(home) == before


def test_a_day_lived_already_is_not_lived_again(home):
    files = market.live(Simulation(), home, AS_OF + timedelta(days=1))
    assert {path.name for path in files} >= {"2025-11-18.jsonl.gz", "2025-11-18.csv"}
    before = _hashes(home)
    assert market.live(Simulation(), home, AS_OF + timedelta(days=1)) == []
    assert _hashes(home) == before


def test_a_crash_before_the_state_is_saved_repeats_the_same_bytes(home, tmp_path):
    kept = shutil.copytree(home / "sandbox" / "state", tmp_path / "kept")
    _accept(home, _addresses(home, 40), AS_OF + timedelta(hours=3))
    market.live(Simulation(), home, AS_OF + timedelta(days=1))
    before = _hashes(home)
    shutil.rmtree(home / "sandbox" / "state")
    shutil.copytree(kept, home / "sandbox" / "state")
    assert market.live(Simulation(), home, AS_OF + timedelta(days=1))
    assert _hashes(home) == before


def test_a_landing_file_that_says_something_else_is_left_alone(home):
    path = home / "landing" / "segment" / "2025-11-18.jsonl.gz"
    path.write_bytes(b"somebody else's")
    with pytest.raises(landing.LandingError, match=r"2025-11-18\.jsonl\.gz"):
        market.live(Simulation(), home, AS_OF + timedelta(days=1))
    assert path.read_bytes() == b"somebody else's"


def _addresses(home: Path, count: int, arm: str = "email_10_discount") -> list[tuple[str, str]]:
    cards = load(home / "sandbox" / "state").cards
    return [(card["email"], arm) for card in cards[:count]]


def test_the_market_goes_on_alike_without_the_truth(home, tmp_path):
    blind = Path(shutil.copytree(home, tmp_path / "blind"))
    for day in (1, 2, 3):
        shutil.rmtree(blind / "truth", ignore_errors=True)
        for folder in (home, blind):
            _accept(folder, _addresses(folder, 60), AS_OF + timedelta(days=day, hours=-18))
            market.live(Simulation(), folder, AS_OF + timedelta(days=day))
    assert _hashes(home) == _hashes(blind)


def test_history_at_once_equals_history_day_by_day(founded, tmp_path):
    short = Simulation(days=57)
    market.found(short, tmp_path, AS_OF - timedelta(days=3))
    for day in (2, 1, 0):
        market.live(short, tmp_path, AS_OF - timedelta(days=day))
    daily = Counter(json.dumps(event, sort_keys=True) for event in _events(tmp_path))
    at_once = Counter(json.dumps(event, sort_keys=True) for event in _events(founded))
    assert daily == at_once


def test_as_of_inside_a_day_neither_loses_nor_repeats_an_event(home, tmp_path):
    other = Path(shutil.copytree(home, tmp_path / "other"))
    for hours in (7, 24, 48):
        market.live(Simulation(), home, AS_OF + timedelta(hours=hours))
    for hours in (24, 48):
        market.live(Simulation(), other, AS_OF + timedelta(hours=hours))
    count = [Counter(event["messageId"] for event in _events(folder)) for folder in (home, other)]
    assert count[0] == count[1]
    rows = [
        sorted(line for path in (folder / "landing" / "crm_contacts").glob("*.csv")
               for line in path.read_text().splitlines()[1:])
        for folder in (home, other)
    ]  # fmt: skip
    assert rows[0] == rows[1]
    noon = _events(home, "2025-11-17T1300")
    assert noon
    assert max(event["receivedAt"] for event in noon) <= "2025-11-17T13:00:00.000Z"


def test_events_follow_the_segment_spec(founded):
    kinds = Counter()
    for event in _events(founded):
        kinds[event["type"]] += 1
        assert event["type"] in {"track", "identify", "page", "screen", "alias"}
        assert event.get("userId") or event.get("anonymousId")
        assert event["timestamp"] <= event["receivedAt"]
        assert datetime.fromisoformat(event["sentAt"]) <= datetime.fromisoformat(
            event["receivedAt"]
        )
        assert ("event" in event) == (event["type"] == "track")
        assert event["type"] != "alias" or (event["previousId"] and event["userId"])
        if event.get("event") == "Order Completed":
            order = event["properties"]
            goods = sum(line["price"] * line["quantity"] for line in order["products"])
            assert order["revenue"] == pytest.approx(goods - order["discount"], abs=0.011)
            assert order["currency"] in zones.CURRENCIES
    assert set(kinds) == {"track", "identify", "page", "screen", "alias"}


def test_history_has_the_dirt_of_real_sources(founded):
    events = _events(founded)
    ids = Counter(event["messageId"] for event in events)
    assert 0.002 < sum(count > 1 for count in ids.values()) / len(ids) < 0.02
    late = [e for e in events if e["receivedAt"][:10] > e["timestamp"][:10]]
    assert late
    assert any("bot" in event["context"].get("userAgent", "").lower() for event in events)
    emails = Counter(card["email"] for card in load(founded / "sandbox" / "state").cards)
    assert any(count > 1 for count in emails.values())


def test_phone_numbers_are_valid_and_carry_their_country(founded):
    cards = load(founded / "sandbox" / "state").cards
    nobodys = faults.ZERO_PHONES.values()
    phones = [(card["phone"], card["country"]) for card in cards if card["phone"]]
    phones = [(phone, country) for phone, country in phones if phone not in nobodys]
    assert len(phones) > 100
    for phone, country in phones:
        parsed = phonenumbers.parse(phone)
        assert phonenumbers.is_valid_number(parsed), phone
        assert parsed.country_code == {"GB": 44, "DE": 49, "FR": 33, "US": 1, "AU": 61}[country]


@pytest.mark.parametrize("place", zones.PLACES, ids=lambda place: place.zone)
def test_local_hours_follow_the_clock_changes(place):
    start = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
    instants = start + 1800 * np.arange(2 * 24 * 366)
    expected = []
    for instant in instants.tolist():
        local = datetime.fromtimestamp(instant, ZoneInfo(place.zone))
        expected.append(local.weekday() * 24 + local.hour)
    found = zones.local_hours_of_week(instants, place.zone)
    assert found.tolist() == expected


def test_visits_follow_local_hours_not_utc(founded):
    nights = Counter()
    for event in _events(founded):
        if event["type"] != "page":
            continue
        zone = event["context"]["timezone"]
        hour = datetime.fromisoformat(event["timestamp"]).astimezone(ZoneInfo(zone)).hour
        nights[zone, 2 <= hour < 6] += 1
    for zone in ("Europe/London", "America/Los_Angeles"):
        assert nights[zone, True] < 0.10 * nights[zone, False]


def test_amounts_and_events_grow_with_the_market(tmp_path):
    market.found(Simulation(people=500, days=120), tmp_path, AS_OF)
    events = _events(tmp_path)
    # 5,000 people and 365 days must give 400,000: 80 events a person and year.
    assert len(events) >= 80 * 500 * 120 / 365
    revenue = [e["properties"]["revenue"] for e in events if e.get("event") == "Order Completed"]
    assert 20 < np.median(revenue) < 80
    assert np.mean(revenue) > np.median(revenue)


def test_arms_are_answered_in_the_order_of_their_true_effect(tmp_path):
    market.found(Simulation(people=2_000, days=5), tmp_path, AS_OF)
    cards = load(tmp_path / "sandbox" / "state").cards
    arms = ("email_none_news", "email_10_discount", "email_20_discount")
    sent = [(card["email"], arms[row % 3]) for row, card in enumerate(cards)]
    _accept(tmp_path, sent, AS_OF + timedelta(hours=10))
    for day in (1, 2, 3):
        market.live(Simulation(people=2_000, days=5), tmp_path, AS_OF + timedelta(days=day))
    clicked = Counter()
    for path in (tmp_path / "landing" / "provider_events").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            payload = json.loads(line)["payload"]
            clicked[payload.get("arm")] += payload["event"] == "click"
    truth = pq.read_table(tmp_path / "truth" / "messages").to_pylist()
    for arm in arms:
        probabilities = [row["click_probability"] for row in truth if row["arm"] == arm]
        expected = sum(probabilities)
        # Scanners click too, on 2 % of the mailboxes; four standard errors around the truth.
        slack = 4 * np.sqrt(expected) + 0.03 * len(probabilities)
        assert abs(clicked[arm] - expected) < slack
    assert clicked["email_20_discount"] > 1.3 * clicked["email_none_news"]


def test_discounts_work_on_the_price_sensitive_only(founded):
    people = _people(founded)
    traits = {name: people[name].to_numpy().astype(float) for name in (
        "price_sensitivity", "forgetfulness", "novelty", "sociability", "email_taste",
        "sms_taste", "never_buys", "lapsed", "fatigue")}  # fmt: skip
    gain = effects.click_probability(traits, "win_back", "email_20_discount")
    gain = gain - effects.click_probability(traits, "win_back", "email_none_discount")
    sensitive = traits["price_sensitivity"] > 0.7
    assert gain[sensitive].min() > 0
    assert gain[traits["price_sensitivity"] < 0.05].max() < 0


def test_webhooks_are_in_the_providers_words_and_land_when_received(home):
    cards = [card for card in load(home / "sandbox" / "state").cards if card["phone"]]
    arms = [(card["email"], "email_10_discount") for card in cards]
    arms += [(card["phone"], "sms_10_discount") for card in cards]
    _accept(home, arms, AS_OF + timedelta(hours=12))
    for day in range(1, 5):
        market.live(Simulation(), home, AS_OF + timedelta(days=day))
    seen, machine = Counter(), 0
    for day in range(1, 5):
        end = (AS_OF + timedelta(days=day)).isoformat()
        start = (AS_OF + timedelta(days=day - 1)).isoformat()
        path = home / "landing" / "provider_events" / f"2025-11-{17 + day}.jsonl"
        for line in path.read_text().splitlines() if path.exists() else ():
            event = json.loads(line)
            assert start < event["received_at"].replace("Z", "+00:00") <= end
            payload = event["payload"]
            seen[event["provider"], payload.get("event") or payload.get("MessageStatus")] += 1
            machine += bool(payload.get("sg_machine_open"))
            if event["provider"] == "twilio" and "Body" not in payload:
                assert "message_key=key-" in event["url"]
    assert seen["sendgrid", "processed"] >= len(cards)
    assert {("sendgrid", "open"), ("sendgrid", "click"), ("twilio", "delivered"),
            ("links", "click")} <= set(seen)  # fmt: skip
    assert 0.2 < machine / len(cards) < 0.6


def test_clicks_land_with_the_programs_campaign_and_cause_orders(home):
    _accept(home, _addresses(home, 250), AS_OF + timedelta(hours=12), program="abandoned_cart")
    for day in (1, 2, 3):
        market.live(Simulation(), home, AS_OF + timedelta(days=day))
    landings = [
        event for event in _events(home, "2025-11-1[89]")
        if (event["context"].get("campaign") or {}).get("name") == "abandoned_cart"
    ]  # fmt: skip
    assert len(landings) > 10
    assert "utm_medium=email" in landings[0]["context"]["page"]["url"]
    causes = Counter(
        row["cause"]
        for path in (home / "truth" / "conversions").glob("2025*.parquet")
        for row in pq.read_table(path).to_pylist()
    )
    assert causes["email"] > 0


def test_money_for_ads_brings_more_but_less_and_less():
    campaign = ads.CAMPAIGNS[0]
    clicks = [ads.true_clicks(campaign, spend, 1.0) for spend in (20.0, 40.0, 80.0)]
    assert clicks[0] < clicks[1] < clicks[2]
    assert clicks[1] - clicks[0] > (clicks[2] - clicks[1]) / 2
    assert clicks[2] < 2 * clicks[1]


def test_a_budget_in_force_is_spent(home):
    path = home / "sandbox" / "budgets.json"
    entry = {"amount": 50.0, "since": (AS_OF + timedelta(hours=1)).isoformat()}
    path.write_text(json.dumps({"google": {"google_generic": entry}}))
    for day in (1, 2):
        market.live(Simulation(), home, AS_OF + timedelta(days=day))
    text = (home / "landing" / "ad_spend" / "2025-11-19.csv").read_text().splitlines()
    rows = [dict(zip(text[0].split(","), line.split(","), strict=True)) for line in text[1:]]
    spend = {row["campaign_id"]: float(row["spend_amount"]) for row in rows}
    assert 40 < spend["google_generic"] < 53
    assert spend["google_shopping"] < 3


def test_the_true_churn_probability_is_what_happens(tmp_path):
    size = Simulation(people=1_500, days=40)
    market.found(size, tmp_path / "now", AS_OF - timedelta(days=60))
    market.found(Simulation(people=1_500, days=100), tmp_path / "later", AS_OF)
    day = f"{AS_OF - timedelta(days=60):%Y-%m-%d}"
    truth = pq.read_table(tmp_path / "now" / "truth" / "churn" / f"{day}.parquet").to_pylist()
    since = (AS_OF - timedelta(days=60)).timestamp()
    buyers = {
        row["person"]
        for row in pq.read_table(tmp_path / "later" / "truth" / "conversions").to_pylist()
        if row["ordered_at"] > since
    }
    expected = np.mean([row["no_order_60d_probability"] for row in truth])
    happened = np.mean([row["person"] not in buyers for row in truth])
    # Revivals by ads and new bad experiences are left out of the truth: a few per cent.
    assert happened == pytest.approx(expected, abs=0.05)
    sure = [row["person"] not in buyers for row in truth if row["no_order_60d_probability"] < 0.2]
    assert np.mean(sure) < 0.3


@pytest.mark.verify
def test_a_year_of_five_thousand_people_has_four_hundred_thousand_events(tmp_path):
    market.found(Simulation(people=5_000, days=365), tmp_path, AS_OF)
    lines = sum(
        gzip.decompress(path.read_bytes()).count(b"\n")
        for path in (tmp_path / "landing" / "segment").glob("*.gz")
    )
    assert lines >= 400_000
    assert 4_500 < _people(tmp_path).num_rows < 5_500
