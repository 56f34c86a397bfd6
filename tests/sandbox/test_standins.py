"""The stand-ins: how strict they are, what they log, what they remember, how fast they are."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import httpx
import openai
import pytest

from sandbox import standins
from sandbox.standins import chat, datamanager, fcm, google_ads, meta, twilio

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
EVENT_AT = int((NOW - timedelta(hours=1)).timestamp())
HASH = "a" * 64


@pytest.fixture
def servers(tmp_path):
    with standins.serve(tmp_path) as running:
        running.set_clock(NOW)
        yield running


@pytest.fixture
def client():
    with httpx.Client(trust_env=False) as opened:
        yield opened


def rows(tmp_path, name):
    path = tmp_path / "sandbox" / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def mail(**changes):
    return {
        "personalizations": [person(1)],
        "from": {"email": "shop@example.com"},
        "content": [{"type": "text/plain", "value": "Hello"}],
        **changes,
    }


def person(number, **changes):
    return {"to": [{"email": f"p{number}@example.com"}], "subject": "Hi", **changes}


def send_mail(client, servers, body, key="SG.sandbox.key"):
    headers = {"Authorization": f"Bearer {key}"}
    return client.post(f"{servers.urls['sendgrid']}/v3/mail/send", json=body, headers=headers)


LATE = int((NOW + timedelta(hours=73)).timestamp())
MAIL_REFUSALS = [
    ("no_personalizations", mail(personalizations=[]), "personalizations"),
    ("1001_people", mail(personalizations=[person(n) for n in range(1001)]), "personalizations"),
    ("no_recipient", mail(personalizations=[{"to": []}]), "personalizations.0.to"),
    ("bad_address", mail(personalizations=[{"to": [{"email": "x"}], "subject": "Hi"}]),
     "personalizations.0.to.0.email"),
    ("no_subject", mail(personalizations=[{"to": [{"email": "a@b.example"}]}]),
     "personalizations.0.subject"),
    ("address_twice", mail(personalizations=[person(1), person(1)]), "personalizations"),
    ("no_sender", {k: v for k, v in mail().items() if k != "from"}, "from"),
    ("no_content", {k: v for k, v in mail().items() if k != "content"}, "content"),
    ("html_first", mail(content=[{"type": "text/html", "value": "x"},
                                 {"type": "text/plain", "value": "x"}]), "content"),
    ("eleven_categories", mail(categories=[f"c{n}" for n in range(11)]), "categories"),
    ("number_as_arg", mail(personalizations=[person(1, custom_args={"n": 1})]),
     "personalizations.0.custom_args.n"),
    ("long_substitutions", mail(personalizations=[person(1, substitutions={"-a-": "x" * 9999})]),
     "personalizations.0.substitutions"),
    ("reserved_header", mail(personalizations=[person(1, headers={"Reply-To": "x"})]),
     "personalizations.0.headers"),
    ("too_far_ahead", mail(personalizations=[person(1, send_at=LATE)]),
     "personalizations.0.send_at"),
    ("unknown_field", mail(colour="red"), "colour"),
    ("not_an_object", ["mail"], None),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field"), [row[1:] for row in MAIL_REFUSALS],
                         ids=[row[0] for row in MAIL_REFUSALS])  # fmt: skip
def test_mail_send_refuses_whole_requests(servers, client, tmp_path, body, field):
    answer = send_mail(client, servers, body)
    assert answer.status_code == 400
    assert field in [one["field"] for one in answer.json()["errors"]]
    assert rows(tmp_path, "accepted.jsonl") == []


def test_mail_send_answers_202_without_a_body_and_with_an_id(servers, client, tmp_path):
    known = {"message_key": "k1", "program": "welcome", "arm": "email_none_reminder"}
    answer = send_mail(client, servers, mail(personalizations=[person(1, custom_args=known)]))
    assert (answer.status_code, answer.content) == (202, b"")
    (row,) = rows(tmp_path, "accepted.jsonl")
    assert row == {
        "provider": "sendgrid", "provider_message_id": f"{answer.headers['x-message-id']}.0",
        "channel": "email", "address": "p1@example.com", "accepted_at": "2026-03-02T09:00:00Z",
        **known,
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(standins.STANDINS))
def test_every_stand_in_refuses_wrong_credentials(servers, client, name):
    paths = {
        "sendgrid": "/v3/mail/send", "twilio": twilio.PATH, "meta": f"/{meta.VERSION}/1",
        "google-ads": f"{google_ads.PREFIX}campaignBudgets:mutate",
        "datamanager": "/v1/events:ingest", "openai": "/chat/completions",
        "resend": "/emails/batch", "whatsapp": "/v26.0/1/messages", "fcm": fcm.PATH, "webhook": "",
    }  # fmt: skip
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = client.post(servers.urls[name] + paths[name], headers=headers)
        # Resend tells a missing key (401) from a wrong one (403).
        assert answer.status_code == (403 if name == "resend" and headers else 401)


def send_sms(client, servers, **changes):
    form = {"To": "+14155550100", "From": "+14155550000", "Body": "Hi", **changes}
    pair = f"{twilio.ACCOUNT_SID}:{twilio.AUTH_TOKEN}".encode()
    headers = {"Authorization": f"Basic {base64.b64encode(pair).decode()}",
               "Content-Type": "application/x-www-form-urlencoded"}  # fmt: skip
    content = urlencode({name: value for name, value in form.items() if value is not None})
    return client.post(servers.urls["twilio"] + twilio.PATH, content=content, headers=headers)


@pytest.mark.parametrize(("changes", "code"), [
    ({"To": None}, 21604), ({"To": "0415"}, 21211), ({"From": None}, 21603),
    ({"From": "a sender with a long name"}, 21212), ({"Body": None}, 21619),
    ({"Body": "x" * 1601}, 21617), ({"StatusCallback": "not a url"}, 21609),
    ({"ValidityPeriod": "36001"}, 21616), ({"Colour": "red"}, 20001),
    ({"MessagingServiceSid": "MGxyz"}, 21701),
])  # fmt: skip
def test_twilio_refuses_with_its_own_codes(servers, client, tmp_path, changes, code):
    answer = send_sms(client, servers, **changes)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert rows(tmp_path, "accepted.jsonl") == []


def test_twilio_answers_201_and_refuses_who_opted_out(servers, client, tmp_path):
    callback = "https://gate.example/webhooks/twilio?message_key=k1&program=welcome&arm=a"
    answer = send_sms(client, servers, StatusCallback=callback)
    assert answer.status_code == 201
    assert answer.json()["status"] == "queued"
    (row,) = rows(tmp_path, "accepted.jsonl")
    assert row == {
        "provider": "twilio", "provider_message_id": answer.json()["sid"], "message_key": "k1",
        "channel": "sms", "address": "+14155550100", "program": "welcome", "arm": "a",
        "accepted_at": "2026-03-02T09:00:00Z",
    }  # fmt: skip
    servers.block("+14155550100")
    assert send_sms(client, servers).json()["code"] == 21610


def graph(client, servers, path, body):
    headers = {"Authorization": f"Bearer {meta.ACCESS_TOKEN}"}
    return client.post(f"{servers.urls['meta']}/{path}", json=body, headers=headers)


def capi(**changes):
    return {
        "event_name": "Purchase", "event_time": EVENT_AT, "action_source": "other",
        "event_id": "o1", "user_data": {"em": [HASH]}, **changes,
    }  # fmt: skip


def days_ago(days):
    return int((NOW - timedelta(days=days)).timestamp())


@pytest.mark.parametrize(("events", "status"), [
    ([capi()], 200), ([], 400), ([capi(event_id=str(n)) for n in range(1001)], 400),
    ([capi(event_time=days_ago(8))], 400), ([capi(), capi(event_time=days_ago(8))], 400),
    ([capi(event_time=days_ago(61), action_source="physical_store")], 200),
    ([capi(event_time=days_ago(63), action_source="physical_store")], 400),
    ([capi(event_time=days_ago(-1))], 400), ([capi(event_time=str(EVENT_AT))], 400),
    ([capi(user_data={})], 400), ([capi(user_data={"em": ["a@example.com"]})], 400),
    ([capi(user_data={"client_user_agent": "x"})], 400), ([capi(action_source="web")], 400),
    ([capi(action_source="website")], 400), ([capi(surprise=1)], 400),
    ([capi(custom_data={"value": "1", "currency": "USD"})], 400),
])  # fmt: skip
def test_one_bad_event_fails_the_whole_upload(servers, client, tmp_path, events, status):
    answer = graph(client, servers, f"{meta.VERSION}/{meta.PIXEL_ID}/events", {"data": events})
    assert answer.status_code == status
    logged = rows(tmp_path, "conversions.jsonl")
    assert len(logged) == (len(events) if status == 200 else 0)
    if status == 200:
        assert answer.json()["events_received"] == len(events)
    else:
        assert answer.json()["error"]["code"] == 100


def test_the_first_event_of_an_id_wins_for_48_hours_and_across_restarts(tmp_path, client):
    verdicts = []
    for hours in (0, 47, 49):
        with standins.serve(tmp_path) as servers:
            servers.set_clock(NOW + timedelta(hours=hours))
            path = f"{meta.VERSION}/{meta.PIXEL_ID}/events"
            assert graph(client, servers, path, {"data": [capi()]}).status_code == 200
            verdicts.append(rows(tmp_path, "conversions.jsonl")[-1]["duplicate"])
    assert verdicts == [False, True, False]


def test_a_budget_changes_four_times_an_hour_and_no_more(servers, client):
    for amount in (1000, 1100, 1200, 1300):
        body = {"daily_budget": amount}
        assert graph(client, servers, f"{meta.VERSION}/c1", body).json() == {"success": True}
    fifth = graph(client, servers, f"{meta.VERSION}/c1", {"daily_budget": 1400})
    assert fifth.json()["error"]["code"] == 613
    assert "estimated_time" in fifth.headers["x-business-use-case-usage"]
    servers.set_clock(NOW + timedelta(minutes=61))
    again = graph(client, servers, f"{meta.VERSION}/c1", {"daily_budget": 1400})
    assert again.status_code == 200


@pytest.mark.parametrize("body", [
    {"daily_budget": "1000"}, {"daily_budget": -1}, {"daily_budget": 10}, {"daily_budget": 10.5},
    {"dayly_budget": 1000}, [],
])  # fmt: skip
def test_a_malformed_budget_changes_nothing(servers, client, tmp_path, body):
    assert graph(client, servers, f"{meta.VERSION}/c1", body).status_code == 400
    assert not (tmp_path / "sandbox" / "budgets.json").exists()


def test_an_old_graph_version_is_refused(servers, client):
    answer = graph(client, servers, "v19.0/c1", {"daily_budget": 1000})
    assert answer.json()["error"]["code"] == 2635


def google(client, url, body):
    headers = {"Authorization": f"Bearer {google_ads.ACCESS_TOKEN}"}
    return client.post(url, json=body, headers=headers)


def mutate(client, servers, micros, resource=None, mask="amountMicros"):
    resource = resource or google_ads.resource_name("brand")
    update = {"resourceName": resource, "amountMicros": micros}
    url = servers.urls["google-ads"] + google_ads.PREFIX + "campaignBudgets:mutate"
    return google(client, url, {"operations": [{"updateMask": mask, "update": update}]})


def test_google_budgets_are_found_by_search_and_set_in_micros(servers, client, tmp_path):
    url = servers.urls["google-ads"] + google_ads.PREFIX + "googleAds:searchStream"
    query = ("SELECT campaign_budget.resource_name, campaign_budget.amount_micros "
             "FROM campaign WHERE campaign.name = 'brand'")  # fmt: skip
    unknown = mutate(client, servers, "5000000")
    assert "RESOURCE_NOT_FOUND" in unknown.text
    (row,) = google(client, url, {"query": query}).json()[0]["results"]
    assert row["campaignBudget"] == {"resourceName": google_ads.resource_name("brand")}
    for micros, code in (("100", "BELOW_PER_DAY_MINIMUM"), ("5000001", "NON_MULTIPLE")):
        assert code in mutate(client, servers, micros).text
    assert "FIELD_NOT_FOUND" in mutate(client, servers, "5000000", mask="name").text
    assert mutate(client, servers, "5000000").status_code == 200
    (row,) = google(client, url, {"query": query}).json()[0]["results"]
    assert row["campaignBudget"]["amountMicros"] == "5000000"
    stored = json.loads((tmp_path / "sandbox" / "budgets.json").read_text())
    assert stored["google"]["brand"]["amount"] == 5.0
    broken = google(client, url, {"query": "SELECT everything"})
    assert "UNRECOGNIZED_FIELD" in json.dumps(broken.json()[0])


def ingest(*events, **changes):
    account = {"accountType": "GOOGLE_ADS", "accountId": google_ads.CUSTOMER_ID}
    destination = {"operatingAccount": account,
                   "productDestinationId": datamanager.CONVERSION_ACTION_ID}  # fmt: skip
    return {"destinations": [destination], "encoding": "HEX", "events": list(events), **changes}


def sale(**changes):
    return {
        "transactionId": "o1", "eventTimestamp": "2026-03-01T10:00:00Z", "eventSource": "WEB",
        "adIdentifiers": {"gclid": "c"}, **changes,
    }  # fmt: skip


IDENTIFIED = {"userIdentifiers": [{"emailAddress": HASH}]}


@pytest.mark.parametrize(("body", "field"), [
    (ingest(sale(), sale(eventTimestamp="yesterday")), "events.events[1].eventTimestamp"),
    (ingest(sale(adIdentifiers={})), "events.events[0]"),
    (ingest(sale(userData={"userIdentifiers": [{"emailAddress": "a@example.com"}]})),
     "events.events[0].userData.userIdentifiers[0].emailAddress"),
    (ingest(sale(userData={"userIdentifiers": [{"emailAddress": HASH}] * 11})),
     "events.events[0].userData.userIdentifiers"),
    (ingest(sale(userData={"userIdentifiers": [{"address": {"givenName": HASH}}]})),
     "events.events[0].userData.userIdentifiers[0].address.familyName"),
    (ingest(sale(conversionValue=1.5)), "events.events[0].currency"),
    (ingest(sale(consent={"adUserData": "YES"})), "events.events[0].consent.adUserData"),
    (ingest(sale(eventSource="SHOP")), "events.events[0].eventSource"),
    (ingest(*[sale()] * 2001), "events"), (ingest(), "events"),
    (ingest(sale(), destinations=[]), "destinations"),
    ({key: value for key, value in ingest(sale(userData=IDENTIFIED)).items() if key != "encoding"},
     "encoding"),
])  # fmt: skip
def test_data_manager_fails_fast_and_names_the_row(servers, client, tmp_path, body, field):
    answer = google(client, servers.urls["datamanager"] + "/v1/events:ingest", body)
    assert answer.status_code == 400
    (detail,) = answer.json()["error"]["details"]
    assert field in [one["field"] for one in detail["fieldViolations"]]
    assert rows(tmp_path, "conversions.jsonl") == []


def test_data_manager_tells_duplicates_and_denied_consent_later(servers, client):
    url = servers.urls["datamanager"]
    denied = sale(transactionId="o2", consent={"adUserData": "CONSENT_DENIED"})
    body = ingest(sale(userData=IDENTIFIED), denied, sale())
    request_id = google(client, url + "/v1/events:ingest", body).json()["requestId"]
    headers = {"Authorization": f"Bearer {google_ads.ACCESS_TOKEN}"}
    asked = f"{url}/v1/requestStatus:retrieve?requestId={request_id}"
    (told,) = client.get(asked, headers=headers).json()["requestStatusPerDestination"]
    assert told["requestStatus"] == "PARTIAL_SUCCESS"
    reasons = {one["reason"].split("REASON_")[1]: one["recordIndices"]
               for one in told["errorInfo"]["errorCounts"]}  # fmt: skip
    assert reasons == {"DUPLICATE_TRANSACTION_ID": [2], "DENIED_CONSENT": [1]}
    assert client.get(asked + "x", headers=headers).status_code == 404


def test_a_draft_is_the_same_for_the_same_prompt(servers):
    with openai.OpenAI(api_key=chat.API_KEY, base_url=servers.urls["openai"],
                       max_retries=0) as writer:  # fmt: skip

        def ask(prompt):
            told = writer.chat.completions.create(
                model="sandbox-writer", messages=[{"role": "user", "content": prompt}],
                response_format={"type": "json_object"}, temperature=0.2,
            )  # fmt: skip
            return json.loads(told.choices[0].message.content)

        drafts = [ask(f"Write about {topic}.") for topic in "abcdefgh"]
        assert ask("Write about a.") == drafts[0]
        assert all(draft["subject"] and draft["body"] for draft in drafts)
        assert len({draft["body"] for draft in drafts}) > 1
        assert [model.id for model in writer.models.list()] == ["sandbox-writer"]
        with pytest.raises(openai.BadRequestError):
            writer.chat.completions.create(model="m", messages=[])


def test_every_request_is_counted_and_logged_without_personal_data(servers, client, tmp_path):
    send_mail(client, servers, mail())
    send_mail(client, servers, {}, key="wrong")
    send_sms(client, servers)
    assert servers.request_count == 3
    assert servers.request_counts == {"sendgrid": 2, "twilio": 1}
    log = rows(tmp_path, "requests.jsonl")
    assert [(row["provider"], row["status"], row["items"]) for row in log] == [
        ("sendgrid", 202, 1), ("sendgrid", 401, 0), ("twilio", 201, 1),
    ]  # fmt: skip
    shown = (tmp_path / "sandbox" / "requests.jsonl").read_text()
    assert "@" not in shown
    assert "415555" not in shown


def test_nothing_is_accepted_before_the_clock_is_set(tmp_path, client):
    with standins.serve(tmp_path) as servers:
        answer = send_mail(client, servers, mail())
        assert answer.status_code == 503
        assert "set_clock" in answer.text
    assert rows(tmp_path, "accepted.jsonl") == []


def test_ids_repeat_with_the_run_but_not_with_the_request(tmp_path, client):
    def run(home):
        with standins.serve(home) as servers:
            servers.set_clock(NOW)
            return [send_mail(client, servers, mail()).headers["x-message-id"] for _ in "12"]

    first, second = run(tmp_path / "a"), run(tmp_path / "b")
    assert first == second
    assert first[0] != first[1]


def test_faults_are_taken_in_the_order_of_the_script(servers, client):
    servers.fail("sendgrid", "server_error", times=2, skip=1)
    servers.fail("sendgrid", "rate_limited")
    answers = [send_mail(client, servers, mail()) for _ in range(5)]
    assert [one.status_code for one in answers] == [202, 500, 500, 429, 202]
    assert answers[3].headers["x-ratelimit-reset"] == str(int(NOW.timestamp()) + 30)


def test_starting_takes_less_than_a_third_of_a_second(tmp_path):
    begun = time.perf_counter()
    with standins.serve(tmp_path):
        assert time.perf_counter() - begun < 0.3


def test_ten_thousand_messages_are_taken_within_seconds(servers, client, tmp_path):
    people = [person(n, custom_args={"message_key": str(n)}) for n in range(10_000)]
    begun = time.perf_counter()
    for at in range(0, len(people), 1000):
        body = mail(personalizations=people[at : at + 1000])
        assert send_mail(client, servers, body).status_code == 202
    assert time.perf_counter() - begun < 10.0
    assert len(rows(tmp_path, "accepted.jsonl")) == 10_000
