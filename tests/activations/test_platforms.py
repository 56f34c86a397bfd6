"""The contract both ad platforms fulfil, against stand-ins that speak their wire formats."""

import json
import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activations import http, platforms
from activations.http import Response, TransportError
from activations.platforms import (
    BudgetChange,
    Conversion,
    MissingAccountError,
    push_budget,
    upload_conversions,
)
from activations.platforms.seam import budget_amount
from activations.providers import Outcome
from sandbox import standins

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NAMES = ("meta", "google")
CLICK = {"meta": "fbclid", "google": "gclid"}
BUDGET_DOOR = {"meta": "meta", "google": "google-ads"}
UPLOAD_DOOR = {"meta": "meta", "google": "datamanager"}
PERSON = {
    "email": "John.Doe+x@Gmail.com", "phone": "+14155550100", "first_name": "John",
    "last_name": "Doe", "postal_code": "94025", "country": "us", "city": "Menlo Park",
}  # fmt: skip
every_platform = pytest.mark.parametrize("name", NAMES)


def conversion(number=1, **changes):
    made = Conversion(
        f"order-{number:06d}", "order_completed", NOW - timedelta(hours=20), Decimal("19.90"),
        "USD", "website", "granted", dict(PERSON), None, None, None, "Mozilla/5.0",
        "https://shop.example/thanks",
    )  # fmt: skip
    return replace(made, **changes)


def build(name, urls=None):
    tokens = {"meta": "meta_access_token", "google": "google_access_token"}
    return platforms.platform(
        name, standins.CREDENTIALS[tokens[name]], standins.ACCOUNTS[name], urls
    )


@pytest.fixture
def servers(tmp_path):
    with standins.serve(tmp_path) as running:
        running.set_clock(NOW)
        yield running


@pytest.fixture
def sender():
    with http.open_client("sandbox") as client:
        yield lambda request: http.send(client, request)


@pytest.fixture
def hasty_sender():
    with http.open_client("sandbox", timeout=httpx.Timeout(10.0, read=0.3)) as client:
        yield lambda request: http.send(client, request)


def rows(tmp_path, name):
    path = tmp_path / "sandbox" / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# -- budgets ----------------------------------------------------------------------------------
def change(amount="120.50", campaign="prospecting_1"):
    return BudgetChange("plan-1", campaign, Decimal(amount), "USD")


def test_every_registered_platform_is_in_this_suite():
    assert set(NAMES) == set(platforms.NAMES)


@every_platform
def test_a_budget_is_set_read_back_and_not_set_again(name, servers, sender, tmp_path):
    platform = build(name, servers.urls)
    first = push_budget(platform, change(), sender, NOW)
    assert (first.outcome, first.previous_amount) == (Outcome.ACCEPTED, None)
    assert first.confirmed_amount == Decimal("120.50")
    requests = servers.request_count
    again = push_budget(platform, change(), sender, NOW)
    assert (again.outcome, again.code) == (Outcome.ACCEPTED, "unchanged")
    assert servers.request_count == requests + 1
    later = push_budget(platform, change("99"), sender, NOW)
    assert (later.previous_amount, later.confirmed_amount) == (Decimal("120.5"), Decimal(99))
    stored = json.loads((tmp_path / "sandbox" / "budgets.json").read_text())
    entry = stored[name]["prospecting_1"]
    assert (entry["amount"], entry["since"]) == (99.0, "2026-03-02T09:00:00Z")
    assert [past["amount"] for past in entry["history"]] == [120.5, 99.0]


@every_platform
@pytest.mark.parametrize(
    ("fault", "skip", "outcome"),
    [
        ("rate_limited", 0, Outcome.RETRY),
        ("rate_limited", 1, Outcome.RETRY),
        ("unauthorized", 1, Outcome.AUTH),
        ("server_error", 0, Outcome.RETRY),
        ("server_error", 1, Outcome.RETRY),
        ("error_after_accept", 1, Outcome.ACCEPTED),
        ("reset_before", 1, Outcome.RETRY),
        ("reset_after_accept", 1, Outcome.ACCEPTED),
        ("reset_before", 2, Outcome.AMBIGUOUS),
    ],
)
def test_a_lost_answer_is_settled_by_reading_back(name, fault, skip, outcome, servers, sender):
    platform = build(name, servers.urls)
    push_budget(platform, change("50"), sender, NOW)
    servers.fail(BUDGET_DOOR[name], fault, skip=skip)
    result = push_budget(platform, change("60"), sender, NOW)
    assert result.outcome is outcome
    settled = push_budget(platform, change("60"), sender, NOW)
    assert settled.outcome is Outcome.ACCEPTED


@every_platform
def test_a_rate_limit_tells_when_to_come_back(name, servers, sender):
    servers.fail(BUDGET_DOOR[name], "rate_limited")
    result = push_budget(build(name, servers.urls), change(), sender, NOW)
    assert NOW < result.retry_at <= NOW + timedelta(hours=1)


@every_platform
def test_an_amount_below_the_minimum_is_permanent(name, servers, sender):
    result = push_budget(build(name, servers.urls), change("0.30"), sender, NOW)
    assert result.outcome is Outcome.PERMANENT


@every_platform
@pytest.mark.parametrize("campaign", ["x'; DROP", "../me", "a b", ""])
def test_a_campaign_id_cannot_carry_anything_else(name, campaign):
    with pytest.raises(ValueError):
        build(name).read_budget(campaign)


@pytest.mark.parametrize(("amount", "currency", "expected"), [
    ("120.509", "USD", "120.50"), ("120.999", "JPY", "120"), ("0.001", "EUR", "0.00"),
])  # fmt: skip
def test_a_budget_is_rounded_down_to_the_unit_of_its_currency(amount, currency, expected):
    assert budget_amount(Decimal(amount), currency) == Decimal(expected)


def test_whole_unit_currencies_have_no_minor_units(tmp_path, sender):
    with standins.serve(tmp_path, currency="JPY") as servers:
        servers.set_clock(NOW)
        order = BudgetChange("p", "c", Decimal("5000.9"), "JPY")
        result = push_budget(build("meta", servers.urls), order, sender, NOW)
    assert result.confirmed_amount == Decimal(5000)


# -- conversions ------------------------------------------------------------------------------
@every_platform
def test_conversions_are_uploaded_once_each(name, servers, sender, tmp_path):
    platform = build(name, servers.urls)
    conversions = [conversion(number) for number in range(2300)]
    results = upload_conversions(platform, conversions, sender, NOW)
    assert [one.conversion_id for one in results] == [one.conversion_id for one in conversions]
    assert {one.outcome for one in results} == {Outcome.ACCEPTED}
    assert all(one.provider_ref for one in results)
    log = rows(tmp_path, "conversions.jsonl")
    assert sorted(row["conversion_id"] for row in log) == [one.conversion_id for one in results]
    assert {row["platform"] for row in log} == {name}
    assert servers.request_count == math.ceil(2300 / platform.limits.max_items)


@every_platform
def test_a_repeated_upload_is_recognised_by_its_ids(name, servers, sender, tmp_path):
    platform = build(name, servers.urls)
    for _ in range(2):
        upload_conversions(platform, [conversion()], sender, NOW)
    assert [row["duplicate"] for row in rows(tmp_path, "conversions.jsonl")] == [False, True]


@every_platform
@pytest.mark.parametrize("bad", [[0], [699], [3, 400], [0, 1, 2, 698, 699]])
def test_the_bad_ones_are_found_and_the_rest_goes_through(name, bad, servers, sender, tmp_path):
    platform = build(name, servers.urls)
    conversions = [
        conversion(number, currency="dollars" if number in bad else "USD") for number in range(700)
    ]
    results = upload_conversions(platform, conversions, sender, NOW)
    refused = [at for at, one in enumerate(results) if one.outcome is Outcome.PERMANENT]
    assert refused == bad
    assert Counter(one.outcome for one in results)[Outcome.ACCEPTED] == 700 - len(bad)
    assert len(rows(tmp_path, "conversions.jsonl")) == 700 - len(bad)
    assert servers.request_count <= 2 + 2 * len(bad) * math.ceil(math.log2(700))


@every_platform
def test_splitting_ends_when_everything_is_bad(name, servers, sender):
    conversions = [conversion(number, currency="dollars") for number in range(300)]
    results = upload_conversions(build(name, servers.urls), conversions, sender, NOW)
    assert {one.outcome for one in results} == {Outcome.PERMANENT}
    assert len(results) == 300
    assert servers.request_count <= 130


@every_platform
@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("rate_limited", Outcome.RETRY),
        ("unauthorized", Outcome.AUTH),
        ("server_error", Outcome.AMBIGUOUS),
        ("reset_after_accept", Outcome.AMBIGUOUS),
        ("slow", Outcome.AMBIGUOUS),
    ],
)
def test_a_fault_is_not_taken_for_bad_data(name, fault, outcome, servers, sender, hasty_sender):
    servers.fail(UPLOAD_DOOR[name], fault, seconds=1.0)
    platform = build(name, servers.urls)
    conversions = [conversion(number) for number in range(4)]
    used = hasty_sender if fault == "slow" else sender
    results = upload_conversions(platform, conversions, used, NOW)
    assert {one.outcome for one in results} == {outcome}
    assert servers.request_count == 1
    if fault == "rate_limited":
        assert all(one.retry_at > NOW for one in results)


@every_platform
@pytest.mark.parametrize(
    ("changes", "outcome", "code"),
    [
        ({"consent": "denied"}, Outcome.BLOCKED, "consent_denied"),
        ({"occurred_at": NOW + timedelta(hours=1)}, Outcome.PERMANENT, "event_in_future"),
        ({"occurred_at": NOW - timedelta(days=120)}, Outcome.PERMANENT, "event_too_old"),
        ({"person": {}}, Outcome.PERMANENT, "no_match_key"),
        ({"consent": "unspecified"}, Outcome.PERMANENT, "no_match_key"),
        ({"action_source": "billboard"}, Outcome.PERMANENT, "unknown_action_source"),
    ],
)
def test_what_cannot_be_uploaded_costs_no_request(name, changes, outcome, code, servers, sender):
    platform = build(name, servers.urls)
    (result,) = upload_conversions(platform, [conversion(**changes)], sender, NOW)
    assert (result.outcome, result.code) == (outcome, code)
    assert servers.request_count == 0


@pytest.mark.parametrize(("changes", "code"), [
    ({"occurred_at": NOW - timedelta(days=7, seconds=1)}, "event_too_old"),
    ({"occurred_at": NOW - timedelta(days=6, hours=23)}, None),
    ({"occurred_at": NOW - timedelta(days=61), "action_source": "physical_store"}, None),
    ({"occurred_at": NOW - timedelta(days=63), "action_source": "physical_store"},
     "event_too_old"),
    ({"client_user_agent": None}, "missing_client_user_agent"),
    ({"event_source_url": None}, "missing_event_source_url"),
    ({"client_user_agent": None, "event_source_url": None, "action_source": "other"}, None),
])  # fmt: skip
def test_meta_rules_are_those_of_the_stand_in(changes, code, servers, sender):
    """What we admit the stand-in takes; what we refuse it refuses too."""
    platform = build("meta", servers.urls)
    one = conversion(**changes)
    refusal = platform.admit(one, NOW)
    assert (refusal.code if refusal else None) == code
    (batch,) = platform.plan([one])
    answer = sender(platform.request(batch))
    assert (answer.status == 200) == (code is None), answer.json()


@every_platform
def test_without_granted_consent_only_the_click_travels(name, servers, sender):
    platform = build(name, servers.urls)
    one = conversion(consent="unspecified", click_id_type=CLICK[name], click_id="Cj0-click")
    (batch,) = platform.plan([one])
    sent = batch.content.decode()
    assert "Cj0-click" in sent
    granted = platform.plan([replace(one, consent="granted")])[0].content.decode()
    assert len(granted) > len(sent) + 64
    assert "userData" not in sent
    assert '"em"' not in sent
    (result,) = upload_conversions(platform, [one], sender, NOW)
    assert result.outcome is Outcome.ACCEPTED


@every_platform
def test_raw_personal_data_never_travels(name):
    (batch,) = build(name).plan([conversion()])
    sent = batch.content.decode().lower()
    for value in ("john", "doe", "4155550100", "menlo"):
        assert value not in sent
    assert "john" not in repr(batch).lower()


@given(data=st.data())
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("name", NAMES)
def test_planning_and_splitting_keep_every_conversion_once(name, data):
    platform = build(name)
    numbers = data.draw(st.lists(st.integers(0, 9999), unique=True, min_size=1, max_size=40))
    conversions = [conversion(number) for number in numbers]
    batches = platform.plan(conversions)
    again = platform.plan(data.draw(st.permutations(conversions)))
    assert [(one.key, one.sha256) for one in batches] == [(one.key, one.sha256) for one in again]
    for batch in batches:
        refused = platform.parse(batch, Response(400, {}, b"{}"), NOW)
        parts = platform.split(batch, refused) or [batch]
        kept = Counter(item.conversion_id for part in parts for item in part.items)
        assert kept == Counter(item.conversion_id for item in batch.items)
        assert all(len(part.items) < len(batch.items) for part in parts) or len(parts) == 1


@every_platform
def test_every_answer_gives_one_result_per_conversion(name):
    platform = build(name)
    (batch,) = platform.plan([conversion(number) for number in range(3)])
    answers = [
        Response(status, {}, body)
        for status in range(200, 600)
        for body in (b"", b"{}", b"[]", b'{"error":{}}', b'{"error":{"code":1}}')
    ]
    for answer in [*answers, TransportError("ambiguous", "ReadTimeout")]:
        results = platform.parse(batch, answer, NOW)
        assert [one.conversion_id for one in results] == [one.conversion_id for one in batch.items]
        assert all(one.outcome is not Outcome.ACCEPTED for one in results)


def test_a_missing_account_is_named():
    with pytest.raises(MissingAccountError, match=r"meta\.pixel_id"):
        platforms.platform("meta", "token", {})
    with pytest.raises(MissingAccountError, match=r"google\.access_token"):
        platforms.platform("google", None, {"customer_id": "1"})
    with pytest.raises(KeyError, match="there are meta, google"):
        platforms.platform("myspace", "token", {})


def test_versions_are_reported_before_they_end_and_when_nobody_looked_for_half_a_year():
    versions = [version for name in NAMES for version in build(name).versions]
    today = max(version.checked_on for version in versions)
    assert platforms.outdated(versions, today) == []
    assert len(platforms.outdated(versions, today + timedelta(days=183))) == len(versions)
    ending = replace(versions[0], expires=date(2027, 1, 1))
    assert platforms.outdated([ending], date(2026, 11, 1)) != []
