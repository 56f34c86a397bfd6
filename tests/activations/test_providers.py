"""The contract every message provider fulfils, against stand-ins that speak its wire format.

One suite, parametrised over providers; what is one vendor's own is in test_providers_<vendor>.py.
"""

import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activations import http, providers, versions
from activations.http import Response, TransportError
from activations.providers import Item, MissingCredentialError, Outcome
from sandbox import standins
from tests.signatures import SIGNERS

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


OPTIONS = standins.ACCOUNTS | {"webhook": {"channel": "push"}}


@dataclass(frozen=True)
class Case:
    """One provider, how its addresses and senders look, and a webhook of its own about key-1."""

    name: str
    address: str
    sender: str
    hook: bytes = b""

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
        options = OPTIONS.get(self.name)
        return providers.provider(self.name, standins.CREDENTIALS, url, options)


STATUS = {"id": "wamid.1", "status": "delivered", "timestamp": "1772442000",
          "recipient_id": "14155550100",
          "biz_opaque_callback_data": "message_key=key-1&program=welcome"}  # fmt: skip
CASES = [
    Case("sendgrid", "person{0}@example.com", "shop@example.com", json.dumps([
        {"event": "delivered", "sg_event_id": "e1", "timestamp": 1772442000, "message_key": "key-1"}
    ]).encode()),
    Case("twilio", "+1415{0:07d}", "+14155550000", b"MessageSid=SM1&MessageStatus=delivered"),
    Case("resend", "person{0}@example.com", "shop@example.com", json.dumps({
        "type": "email.delivered", "created_at": "2026-03-02T09:00:00.000Z",
        "data": {"email_id": "e1", "to": ["a@example.com"], "tags": {"message_key": "key-1"}},
    }).encode()),
    Case("whatsapp", "+1415{0:07d}", "", json.dumps({
        "object": "whatsapp_business_account",
        "entry": [{"id": "1", "changes": [{"field": "messages", "value": {"statuses": [STATUS]}}]}],
    }).encode()),
    Case("fcm", "fid:{0:04d}:APA91b", ""),
    Case("webhook", "device-{0}", "shop", json.dumps({"events": [
        {"event_id": "e1", "type": "delivered", "message_key": "key-1",
         "occurred_at": "2026-03-02T09:00:00Z"}
    ]}).encode()),
]  # fmt: skip
BY_NAME = {case.name: case for case in CASES}
HOOK_URL = "https://gate.example/webhooks/x?message_key=key-1"
every_provider = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
# FCM sends no webhooks: devices tell, as events of the app.
every_caller = pytest.mark.parametrize(
    "case", [case for case in CASES if case.hook], ids=lambda case: case.name
)


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
    names = {name.lower() for name in provider.request(batch).headers}
    assert not any(secret in batch.content.decode() + batch.path for secret in secrets)
    assert not any(secret in repr(provider) + repr(provider.request(batch)) for secret in secrets)
    assert names & {"authorization", "loopdrive-signature"}


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
        assert (result.outcome is Outcome.ACCEPTED) <= (status in (200, 201, 202))
        assert (result.outcome is Outcome.RETRY) == (status == 429)
        assert (result.outcome is Outcome.AMBIGUOUS) >= (status >= 500)
    not_sent = provider.parse(batch, TransportError("not_processed", "ConnectError"), NOW)
    lost = provider.parse(batch, TransportError("ambiguous", "ReadTimeout"), NOW)
    assert (not_sent[0].outcome, lost[0].outcome) == (Outcome.RETRY, Outcome.AMBIGUOUS)


@every_provider
def test_a_provider_without_keys_never_allows_a_blind_resend(case):
    limits = case.provider().limits
    assert limits.has_key == (limits.dedup is not None)


@every_provider
def test_what_a_key_promises_is_kept(case, servers, client, tmp_path):
    """With a key the same request twice is one message; without one it is two."""
    provider = case.provider(servers.urls[case.name])
    batch = provider.plan(case.items(3))[0]
    request = provider.request(batch)
    servers.fail(case.name, "reset_after_accept")
    lost = provider.parse(batch, http.send(client, request), NOW)
    again = provider.parse(batch, http.send(client, provider.request(batch)), NOW)
    assert {result.outcome for result in lost} == {Outcome.AMBIGUOUS}
    assert {result.outcome for result in again} <= {Outcome.ACCEPTED, Outcome.DUPLICATE}
    assert request == provider.request(batch), "the same bytes, headers and key"
    times = 1 if provider.limits.has_key else 2
    assert len(accepted(tmp_path)) == times * len(batch.items)


@every_provider
def test_splitting_keeps_every_item_once_and_ends_at_one(case):
    provider = case.provider()
    (batch, *_) = provider.plan(case.items(7))
    pending, alone = [batch], []
    while pending:
        part = pending.pop()
        parts = provider.split(part, provider.parse(part, Response(400, {}), NOW))
        assert not parts or planned_keys(parts) == planned_keys([part])
        assert all(len(smaller.items) < len(part.items) for smaller in parts)
        pending += parts
        alone += [] if parts else [part]
    assert planned_keys(alone) == planned_keys([batch])
    assert all(len(part.items) == 1 for part in alone)
    for status in (200, 401, 404, 405, 429, 503):  # nothing that one message brings on others
        assert provider.split(batch, provider.parse(batch, Response(status, {}), NOW)) == []


@every_provider
def test_a_version_stands_in_the_registry_and_may_be_configured(case):
    options = {"api_version": "v99.0", "api_version_expires": "2027-03-01"}
    named = providers.version_of(case.name, options)
    assert (named.version, named.expires) == ("v99.0", date(2027, 3, 1))
    assert versions.outdated([named], date(2026, 10, 1)) == []
    assert versions.outdated([named], date(2027, 1, 1)) == [f"{named.api} v99.0 ends on 2027-03-01"]
    assert "ended on" in versions.outdated([named], date(2027, 3, 1))[0]
    assert case.provider().version == providers.version_of(case.name)


@every_caller
def test_a_webhook_is_believed_by_any_current_secret_and_no_other(case):
    signer, stranger = SIGNERS[case.name](), SIGNERS[case.name]()
    if case.name != "sendgrid":
        stranger = SIGNERS[case.name](b"another key" if case.name == "resend" else "another")
    provider, headers = providers.listener(case.name), signer.headers(HOOK_URL, case.hook, NOW)
    ask = partial(provider.verify, HOOK_URL, headers, case.hook)
    assert ask([signer.secret], NOW)
    assert ask([stranger.secret, signer.secret], NOW), "while secrets are rotated"
    assert not ask([stranger.secret], NOW)
    assert not ask([], NOW)
    assert not ask(["", "%%%"], NOW)


@every_caller
def test_any_change_breaks_a_webhook(case):
    signer, provider = SIGNERS[case.name](), providers.listener(case.name)
    headers, secrets = signer.headers(HOOK_URL, case.hook, NOW), [signer.secret]
    assert not provider.verify(
        HOOK_URL, headers, case.hook.replace(b"deliv", b"Deliv"), secrets, NOW
    )
    assert not provider.verify(HOOK_URL, {}, case.hook, secrets, NOW)
    for name, value in headers.items():
        if name == "Content-Type":
            continue
        for garbled in ("", "%%%", "é", value[:-2] + ("00" if value[-2:] != "00" else "11")):
            changed = headers | {name: garbled}
            assert not provider.verify(HOOK_URL, changed, case.hook, secrets, NOW), (name, garbled)


@every_caller
def test_an_old_webhook_is_a_replay_where_the_signature_covers_a_time(case):
    signer, provider = SIGNERS[case.name](), providers.listener(case.name)
    headers = signer.headers(HOOK_URL, case.hook, NOW)
    late = provider.verify(
        HOOK_URL, headers, case.hook, [signer.secret], NOW + timedelta(minutes=6)
    )
    # SendGrid repeats the first signature for a day; Twilio's and Meta's carry no time. There
    # the event's id tells a replay.
    assert late == (case.name in ("sendgrid", "twilio", "whatsapp"))


@every_caller
def test_an_event_read_twice_has_one_id_and_tells_its_message(case):
    provider, signer = providers.listener(case.name), SIGNERS[case.name]()
    later = NOW + timedelta(hours=1)
    first, again = (
        provider.events(HOOK_URL, signer.headers(HOOK_URL, case.hook, at), case.hook)
        for at in (NOW, later)
    )
    assert first == again
    (event,) = first
    assert (event.provider, event.type, event.message_key) == (case.name, "delivered", "key-1")
    assert event.event_id
    assert event.occurred_at in (NOW, None)


def test_a_missing_credential_or_account_is_named():
    with pytest.raises(MissingCredentialError, match="SENDGRID_API_KEY"):
        providers.provider("sendgrid", {})
    with pytest.raises(MissingCredentialError, match="TWILIO_AUTH_TOKEN"):
        providers.provider("twilio", {"twilio_account_sid": "AC1"})
    with pytest.raises(MissingCredentialError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        providers.provider("fcm", {}, options={"project_id": "p"})
    with pytest.raises(MissingCredentialError, match=r"providers\.whatsapp\.options\.template"):
        providers.provider("whatsapp", standins.CREDENTIALS, options={"phone_number_id": "1"})
    with pytest.raises(MissingCredentialError, match=r"providers\.webhook\.base_url"):
        providers.provider("webhook", standins.CREDENTIALS, options={"channel": "push"})
    with pytest.raises(ValueError, match="one of email, sms, push, whatsapp"):
        providers.provider("webhook", standins.CREDENTIALS, "https://x", {"channel": "pigeon"})
    with pytest.raises(KeyError, match="there are sendgrid, twilio"):
        providers.provider("pigeon", {})


def test_live_hosts_are_those_of_the_enabled_providers():
    assert providers.hosts(["twilio"]) == {"api.twilio.com"}
    assert providers.hosts([]) == frozenset()
    own = {"webhook": "https://hooks.example/in", "twilio": "https://evil.example"}
    assert providers.hosts(["webhook"], own) == {"hooks.example"}
    assert providers.hosts(["twilio"], own) == {"api.twilio.com"}
    assert providers.hosts(["webhook"], {"webhook": "http://hooks.example/in"}) == frozenset()


def test_a_channel_goes_by_the_first_enabled_provider_that_carries_it():
    defaults = {"email": "sendgrid", "sms": "twilio", "whatsapp": "whatsapp", "push": "fcm"}
    assert providers.carriers({}) == defaults
    assert providers.carriers({"meta": {}, "resend": {}, "sendgrid": {}})["email"] == "resend"
    assert providers.carriers({"webhook": {"channel": "sms"}}) == defaults | {"sms": "webhook"}
