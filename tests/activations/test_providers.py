"""The contract every message provider fulfils, against stand-ins that speak its wire format.

One suite, parametrised over providers; what is one vendor's own is in test_providers_<vendor>.py.
"""

import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activations import http, providers
from activations.http import Response, TransportError
from activations.providers import Item, MissingCredentialError, Outcome
from sandbox import standins

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """One provider and how its addresses and senders look."""

    name: str
    address: str
    sender: str

    def items(self, count, start=0):
        return [
            Item(
                f"key-{number:06d}", self.address.format(number), "welcome", "arm_none_reminder",
                self.sender, f"Hello {number}, good to have you.", f"Hello {number}",
                f"<p>Hello <b>{number}</b>, good to have you.</p>",
                headers=(("List-Unsubscribe", f"<https://shop.example/u/{number}>"),),
                status_callback="https://gate.example/webhooks/twilio?"
                f"message_key=key-{number:06d}&program=welcome&arm=arm_none_reminder",
            )
            for number in range(start, start + count)
        ]  # fmt: skip

    def provider(self, url="http://127.0.0.1:1"):
        return providers.provider(self.name, standins.CREDENTIALS, url)


CASES = [
    Case("sendgrid", "person{0}@example.com", "shop@example.com"),
    Case("twilio", "+1415{0:07d}", "+14155550000"),
]
BY_NAME = {case.name: case for case in CASES}
every_provider = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture
def servers(tmp_path):
    with standins.serve(tmp_path) as running:
        running.set_clock(NOW)
        yield running


@pytest.fixture
def client():
    with http.open_client("sandbox") as opened:
        yield opened


@pytest.fixture
def hasty_client():
    with http.open_client("sandbox", timeout=httpx.Timeout(10.0, read=0.3)) as opened:
        yield opened


def deliver(client, provider, items):
    results = []
    for batch in provider.plan(items):
        answer = http.send(client, provider.request(batch))
        results += provider.parse(batch, answer, NOW)
    return results


def accepted(tmp_path):
    path = tmp_path / "sandbox" / "accepted.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def planned_keys(batches):
    return Counter(item.message_key for batch in batches for item in batch.items)


def test_every_registered_provider_is_in_this_suite():
    assert {case.name for case in CASES} == set(providers.NAMES)


@every_provider
def test_planning_keeps_every_item_once_and_within_the_limits(case):
    provider = case.provider()
    items = case.items(2500 if provider.limits.max_items > 1 else 30)
    batches = provider.plan(items)
    assert planned_keys(batches) == Counter(item.message_key for item in items)
    assert max(len(batch.items) for batch in batches) <= provider.limits.max_items
    assert max(len(batch.content) for batch in batches) <= provider.limits.max_bytes
    assert len({batch.key for batch in batches}) == len(batches)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_planning_any_items_in_any_order_gives_the_same_requests(name, data):
    case = BY_NAME[name]
    texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1)
    number = data.draw(st.integers(1, 12))
    items = [
        replace(
            item, text=data.draw(texts), html=data.draw(st.none() | texts),
            subject=data.draw(texts), arm=data.draw(st.sampled_from("ab")),
            address=case.address.format(data.draw(st.integers(0, 8))),
        )
        for item in case.items(number)
    ]  # fmt: skip
    shuffled = data.draw(st.permutations(items))
    batches, again = case.provider().plan(items), case.provider().plan(shuffled)
    assert planned_keys(batches) == Counter(item.message_key for item in items)
    assert [(b.key, b.content, b.sha256) for b in batches] == [
        (b.key, b.content, b.sha256) for b in again
    ]


@every_provider
def test_another_word_or_another_member_is_another_key(case):
    provider = case.provider()
    items = case.items(3)
    worded = [*items[:2], replace(items[2], text="Something else.")]
    keys = [{batch.key for batch in provider.plan(one)} for one in (items, worded, items[:2])]
    assert keys[0] != keys[1]
    assert keys[0] != keys[2]


@every_provider
def test_credentials_are_in_the_request_and_nowhere_before(case):
    provider = case.provider()
    batch = provider.plan(case.items(1))[0]
    secrets = [value for name, value in standins.CREDENTIALS.items() if "sid" not in name]
    assert not any(secret in batch.content.decode() + batch.path for secret in secrets)
    assert not any(secret in repr(provider) + repr(provider.request(batch)) for secret in secrets)
    assert "authorization" in {name.lower() for name in provider.request(batch).headers}


@every_provider
def test_addresses_and_copy_are_in_no_repr(case):
    items = case.items(2)
    shown = repr(items) + repr(case.provider().plan(items))
    assert case.address.format(1) not in shown
    assert "good to have you" not in shown


@every_provider
def test_a_batch_is_accepted_by_the_stand_in_and_logged_once(case, servers, client, tmp_path):
    provider = case.provider(servers.urls[case.name])
    items = case.items(1200 if provider.limits.max_items > 1 else 12)
    results = deliver(client, provider, items)
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert sorted(result.message_key for result in results) == [one.message_key for one in items]
    log = accepted(tmp_path)
    assert sorted(row["message_key"] for row in log) == [one.message_key for one in items]
    assert {(row["program"], row["arm"]) for row in log} == {("welcome", "arm_none_reminder")}
    assert {row["accepted_at"] for row in log} == {"2026-03-02T09:00:00Z"}
    assert {row["address"] for row in log} == {one.address for one in items}
    refs = {result.message_key: result.provider_ref for result in results}
    assert all(row["provider_message_id"].startswith(refs[row["message_key"]]) for row in log)


@every_provider
@pytest.mark.parametrize(
    ("fault", "outcome", "logged"),
    [
        ("rate_limited", Outcome.RETRY, 0),
        ("unauthorized", Outcome.AUTH, 0),
        ("server_error", Outcome.AMBIGUOUS, 0),
        ("error_after_accept", Outcome.AMBIGUOUS, 1),
        ("reset_before", Outcome.AMBIGUOUS, 0),
        ("reset_after_accept", Outcome.AMBIGUOUS, 1),
        ("slow", Outcome.AMBIGUOUS, 1),
    ],
)
def test_a_fault_gives_the_verdict_that_its_evidence_allows(
    case, servers, client, hasty_client, tmp_path, fault, outcome, logged
):
    provider = case.provider(servers.urls[case.name])
    servers.fail(case.name, fault, seconds=1.0)
    first = hasty_client if fault == "slow" else client
    (result,) = deliver(first, provider, case.items(1))
    assert result.outcome is outcome
    if fault == "rate_limited":
        assert NOW < result.retry_at <= NOW + timedelta(minutes=5)
    (after,) = deliver(client, provider, case.items(1, start=1))
    assert after.outcome is Outcome.ACCEPTED
    assert len(accepted(tmp_path)) == logged + 1


@every_provider
def test_every_answer_gives_one_result_per_item_in_order(case):
    provider = case.provider()
    batch = max(provider.plan(case.items(5)), key=lambda batch: len(batch.items))
    bodies = (b"", b"{}", b"[]", b"null", b"<html>", b'{"errors":"x"}', b'{"code":null}')
    answers = [Response(status, {}, body) for status in range(200, 600) for body in bodies]
    answers += [TransportError("not_processed", "ConnectError")]
    for answer in answers:
        results = provider.parse(batch, answer, NOW)
        assert [one.message_key for one in results] == [one.message_key for one in batch.items]


@every_provider
def test_only_a_success_is_accepted_and_only_proof_of_refusal_is_retried(case):
    provider = case.provider()
    batch = provider.plan(case.items(1))[0]
    for status in range(200, 600):
        (result,) = provider.parse(batch, Response(status, {}), NOW)
        assert (result.outcome is Outcome.ACCEPTED) <= (status in (201, 202))
        assert (result.outcome is Outcome.RETRY) == (status == 429)
        assert (result.outcome is Outcome.AMBIGUOUS) >= (status >= 500)
    not_sent = provider.parse(batch, TransportError("not_processed", "ConnectError"), NOW)
    lost = provider.parse(batch, TransportError("ambiguous", "ReadTimeout"), NOW)
    assert (not_sent[0].outcome, lost[0].outcome) == (Outcome.RETRY, Outcome.AMBIGUOUS)


@every_provider
def test_a_provider_without_keys_never_allows_a_blind_resend(case):
    limits = case.provider().limits
    assert limits.has_key or limits.dedup is None


def test_a_missing_credential_is_named():
    with pytest.raises(MissingCredentialError, match="SENDGRID_API_KEY"):
        providers.provider("sendgrid", {})
    with pytest.raises(MissingCredentialError, match="TWILIO_AUTH_TOKEN"):
        providers.provider("twilio", {"twilio_account_sid": "AC1"})
    with pytest.raises(KeyError, match="there are sendgrid, twilio"):
        providers.provider("pigeon", {})


def test_live_hosts_are_those_of_the_enabled_providers():
    assert providers.hosts(["twilio"]) == {"api.twilio.com"}
    assert providers.hosts([]) == frozenset()
